"""Post one message to many connections, fast.

boto3 spends over a millisecond of CPU on each `post_to_connection` and waits for its response. Threads around it gain
little, because they compute one at a time. Here one thread drives all connections to the API:

    event_loop      the posts: which are sent next, and what became of them
    pacing          how fast, whose fault a 429 is, what is tried again
    connections     HTTP over TLS on which nobody waits, and how many connections pay off
    sigv4           the signatures
"""

from fanout.event_loop import Fanout, Outcome

__all__ = ["Fanout", "Outcome"]
