"""Post one message to many connections, fast.

boto3 spends over a millisecond of CPU on each `post_to_connection` and waits for its response. Threads around it gain
little, because only one computes at a time. Here one thread drives all HTTP connections to API Gateway:

    posting             the event loop: which post is sent next, and what became of each
    pacing              how fast, whose fault a 429 is, what is retried
    http_connections    HTTP over TLS without blocking, and how many connections pay off
    sigv4               the signatures
"""

from fanout.posting import Fanout, Outcome

__all__ = ["Fanout", "Outcome"]
