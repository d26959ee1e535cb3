"""How a server says that it has too much to do: it refuses a handshake, or answers with API Gateway's error frame."""

import random

BUSY = frozenset({429, 500, 502, 503, 504})
"""Statuses of a refused handshake that the server may accept a moment later. API Gateway answers 429 beyond its quota
of new connections, and 5xx if the integration failed: the function fails, or Lambda has no free invocation."""

BASE_BACKOFF_S, MAX_BACKOFF_S = 0.5, 8.0


def busy_status(error: BaseException) -> int | None:
    """The status of a handshake that was refused with this error and may be tried again; None for any other error."""
    status = getattr(error, "status_code", None)
    return status if status in BUSY else None


def backoff_s(refusals: int) -> float:
    """Seconds to wait after so many refusals in a row: exponential with full jitter, so that clients form no waves.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random.uniform(0, min(MAX_BACKOFF_S, BASE_BACKOFF_S * 2 ** (refusals - 1)))


def explain(refusals: dict[str, int], error_frames: dict[str, int]) -> str:
    """What the server refused and what the reason may be, in sentences; "" if it refused nothing.

    Args:
        refusals: how many handshakes were refused, tried again or not, by the answer, such as "status 500".
        error_frames: how many frames said that the server could not handle a message, by their text.
    """
    sentences = []
    if refusals:
        sentences.append(
            f"{sum(refusals.values()):,} handshakes were refused because of too much load ({_list(refusals)})."
        )
    if error_frames:
        sentences.append(
            f"{sum(error_frames.values()):,} messages were answered with an error ({_list(error_frames)})."
        )
    reasons = " ".join([*refusals, *error_frames])
    if "status 429" in reasons:
        sentences.append(
            "API Gateway allows 500 new connections a second, its stage perhaps fewer: lower --spawn-rate."
        )
    if "Too Many Requests" in reasons:
        sentences.append("The stage allows only so many messages a second: lower --broadcast-rate.")
    if "status 5" in reasons or "Internal server error" in reasons:
        sentences.append(
            "At API Gateway the reason is Lambda, which runs as many invocations as it may (a new account's 10 at a "
            "time), or a function that fails, which its log says: connect and broadcast more slowly, or ask AWS for "
            "more concurrency."
        )
    if "timed out" in reasons:
        sentences.append("API Gateway waits 29 s for a function, and this one took longer.")
    return " ".join(sentences)


def _list(counts: dict[str, int]) -> str:
    return "; ".join(f"{count:,} x {reason}" for reason, count in sorted(counts.items()))
