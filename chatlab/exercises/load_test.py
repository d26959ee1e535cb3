"""The exercises of notebook 06: how much is enough, what counts, and what a client that waits doesn't see."""

from collections.abc import Callable, Sequence

import pandas as pd

from chatlab.exercises import Answer, forgiving, not_yet, right
from chatlab.lab import Lab
from loadtest.intervals import sufficient_groups


def check_broadcasts(lab: Lab, number: object) -> Answer:
    """The fewest broadcasts for a 95 % interval of p99, if each counts once."""
    needed = sufficient_groups(0.99) - 1
    if not isinstance(number, int):
        return not_yet("give a whole number.")
    if number < needed:
        return not_yet(f"of {number:,} broadcasts, all lie below the true p99 in {0.99**number:.0%} of all cases.")
    if number > needed + 1:
        return not_yet(f"{number:,} are enough, and so are fewer: solve 0.99**n <= 0.025.")
    return right(
        f"with {number} broadcasts the slowest lies above the true p99 in 97.5 % of all cases, so it is an upper end."
    )


@forgiving
def check_share_within(lab: Lab, share_within: Callable[[pd.DataFrame, float], float]) -> Answer:
    """`share_within(deliveries, ms)`: of the first copies, without the warm-up's, the share that took no longer."""
    rows = pd.DataFrame(
        {
            "latency_ms": [5.0, 10.0, 20.0, 40.0, 1.0, 1.0],
            "copy": [0, 0, 0, 0, 1, 0],
            "warm_up": [False, False, False, False, False, True],
        }
    )
    for ms, share in ((20, 0.75), (10, 0.5), (4, 0.0), (100, 1.0)):
        found: object = share_within(rows.copy(), ms)
        if not isinstance(found, int | float):
            return not_yet(f"it returned {found!r}: return a number between 0 and 1.")
        if abs(found - share) > 1e-9:
            return not_yet(
                f"of four deliveries of 5, 10, 20 and 40 ms, {share:.0%} took no longer than {ms} ms, and it says "
                f"{found:.0%}; a second copy, and what is of the warm-up, don't count."
            )
    return right("a promise such as “99 % within 200 ms” is this number, and a quantile is its inverse.")


@forgiving
def check_latencies(lab: Lab, latencies_s: Callable[[Sequence[float], Sequence[float]], Sequence[float]]) -> Answer:
    """`latencies_s(due_s, service_s)`: of messages that one server handles in turn, each from when it was due."""
    cases = [
        ([0.0, 1.0, 2.0], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]),
        ([0.0, 1.0, 2.0, 3.0], [2.5, 0.1, 0.1, 0.1], [2.5, 1.6, 0.7, 0.1]),
        ([0.5, 0.5, 0.5], [0.1, 0.1, 0.1], [0.1, 0.2, 0.3]),
    ]
    for due_s, service_s, expected in cases:
        found = [float(each) for each in latencies_s(list(due_s), list(service_s))]
        if len(found) != len(expected) or any(abs(a - b) > 1e-9 for a, b in zip(found, expected, strict=True)):
            times = f"messages due at {due_s} s that take {service_s} s"
            if found == service_s:
                return not_yet(f"of {times} it leaves out how long each waits for the one before.")
            return not_yet(f"of {times} the latencies are {expected} s, and it says {[round(s, 3) for s in found]}.")
    return right(
        "one slow message makes those behind it late. A client that waits for each answer would have sent them later, "
        "and would never know: that is coordinated omission."
    )
