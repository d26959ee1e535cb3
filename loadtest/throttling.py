"""What a server says that has too much to do: a handshake that is refused for now, or API Gateway's error frame."""

import random

BUSY = frozenset({429, 500, 502, 503, 504})
"""Statuses of a handshake that may be taken a moment later. API Gateway answers 429 beyond its quota of new
connections, and 5xx when the integration failed: where Lambda has no invocation free, as where the function fails."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0


def is_busy(error: BaseException) -> bool:
    """Whether a handshake that was refused with this error may be tried again."""
    return getattr(error, "status_code", None) in BUSY


def backoff_s(refusals: int) -> float:
    """Seconds to wait after so many refusals in a row: exponential, with full jitter, so that nobody comes in waves.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (refusals - 1)))


def explain(refusals: dict[str, int], error_frames: dict[str, int]) -> str:
    """What was refused and why that may be, in sentences; "" if nothing was.

    Args:
        refusals: how many handshakes were refused, tried again or not, by what was answered, such as "status 500".
        error_frames: how many frames said that a message could not be handled, by their text.
    """
    said = []
    if refusals:
        said.append(f"{sum(refusals.values()):,} handshakes were refused because of too much load ({_list(refusals)}).")
    if error_frames:
        said.append(f"{sum(error_frames.values()):,} messages were answered with an error ({_list(error_frames)}).")
    reasons = " ".join([*refusals, *error_frames])
    if "status 429" in reasons:
        said.append(
            "API Gateway takes 500 new connections a second, and its stage no more than it says: lower --spawn-rate."
        )
    if "Too Many Requests" in reasons:
        said.append("The stage takes only so many messages a second: lower --broadcast-rate.")
    if "status 5" in reasons or "Internal server error" in reasons:
        said.append(
            "At API Gateway that is Lambda, where it runs as many invocations as it may (a new account's 10 at a "
            "time), or a function that fails, as its log would say: connect and broadcast more slowly, or ask AWS for "
            "more concurrency."
        )
    if "timed out" in reasons:
        said.append("API Gateway waits 29 s for a function, and this one took longer.")
    return " ".join(said)


def _list(counts: dict[str, int]) -> str:
    return "; ".join(f"{count:,} x {reason}" for reason, count in sorted(counts.items()))
