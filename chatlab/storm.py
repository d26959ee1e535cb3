"""How long everybody takes to come back after all were dropped at once, computed for AWS's quotas.

    storm.come_back(10_000, POLICIES["page"]).p99_s

A handshake first needs a token of API Gateway's bucket of new connections, else it is refused with 429, and then a free
invocation of Lambda for `$connect`, else with 500. Each person tries again as the policy says. The load test's
`--storm` measures the same, and docs/loadtest.md has both.
"""

from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatlab.limits import DEFAULT_CONNECTS_PER_S
from loadtest.storm import Policy

CROWD = 2_000
"""More people are computed as this many, with their share of all quotas: what becomes of one is the same."""
STEPS = 2_000


class Return(NamedTuple):
    """What became of them. Times are seconds after all were dropped."""

    half_s: float
    p99_s: float
    all_s: float
    handshakes_per_person: float


def come_back(
    people: int,
    policy: Policy,
    connects_per_s: float = DEFAULT_CONNECTS_PER_S,
    concurrency: float = 1_000,
    connect_s: float = 0.03,
    attempt_s: float = 0.1,
    handshakes_per_s: float = inf,
) -> Return:
    """Simulate the return of a crowd.

    Args:
        connects_per_s: API Gateway's quota of new connections. Its bucket holds as many, which is assumed.
        concurrency: of Lambda, with nothing else under way.
        connect_s: how long `$connect` takes; assumed.
        attempt_s: four round trips, from a handshake's beginning to its answer without `$connect`; assumed. People
            differ by half of it, so that no wave comes at one moment.
        handshakes_per_s: what the clients' machine can make, if they share one.
    """
    share, random = min(1.0, CROWD / people), np.random.default_rng(1)
    size = round(people * share)
    per_s = np.array([connects_per_s, concurrency / connect_s, handshakes_per_s])
    step_s = min(0.1, max(0.02, people / per_s.min() / STEPS))
    # Buckets, after the first two of which the crowd is let in. Of a share of a person, some steps make one.
    most = np.maximum(share * np.array([connects_per_s, concurrency, 0]), np.maximum(1, share * per_s * step_s))
    most += 1e-9  # ten tenths of a token are one, whatever floats say
    tokens, failures, back_s, now_s = most.copy(), np.ones(size), np.full(size, inf), 0.0

    def next_s(failures: NDArray[np.float64]) -> NDArray[np.float64]:
        on_its_way_s = attempt_s * random.uniform(0.5, 1.5, len(failures))
        return np.asarray(now_s + on_its_way_s + policy.pause_s(failures, random))

    due_s = next_s(failures)
    while (first_s := due_s.min()) < inf:
        passed_s = max(step_s, first_s - now_s)
        now_s += passed_s
        tokens = np.minimum(most, tokens + share * per_s * passed_s)
        trying = np.flatnonzero(due_s <= now_s)
        trying = trying[np.argsort(due_s[trying], kind="stable")][: int(min(tokens[2], size))]
        passing = min(len(trying), int(tokens[0]))
        let_in, refused = np.split(trying, [min(passing, int(tokens[1]))])
        tokens -= [passing, len(let_in), len(trying)]
        back_s[let_in], due_s[let_in] = now_s + connect_s, inf
        failures[refused] += 1
        due_s[refused] = next_s(failures[refused])
    half_s, p99_s, all_s = np.quantile(back_s, [0.5, 0.99, 1], method="inverted_cdf")
    return Return(float(half_s), float(p99_s), float(all_s), float(failures.mean()))
