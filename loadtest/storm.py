"""A storm: everybody is dropped at once, and comes back by a policy.

docs/loadtest.md, `--storm`, has what is measured. chatlab/storm.py computes the same for AWS's quotas.
"""

import math
import random
from typing import Any, NamedTuple

import numpy as np

from loadtest.results import Json, Result, quantiles

STAYING = 0.1
"""Share of the connections that are not dropped, so that a result shows what they notice."""


class Policy(NamedTuple):
    """How long a client waits before it tries again: twice as long after each failure, being dropped among them."""

    base_s: float
    """After the first failure."""
    cap_s: float
    """At most."""
    has_jitter: bool = False
    """Whether it waits any time up to that, at random, so that clients form no waves ("full jitter").

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    def pause_s(self, failures: Any, generator: Any = random) -> Any:
        """Seconds to wait after this many failures in a row; for an array, an array, with a generator of numpy's."""
        longest_s = np.minimum(self.cap_s, self.base_s * 2.0 ** np.minimum(failures - 1, 30))
        return generator.uniform(0, longest_s) if self.has_jitter else longest_s


POLICIES = {
    "at-once": Policy(0, 0),
    "fixed": Policy(1, 1),
    # AWS's SDKs wait 20 s at most: https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
    "exponential": Policy(1, 20),
    "exponential-jitter": Policy(1, 20, has_jitter=True),
    "page": Policy(1, 8, has_jitter=True),  # BACKOFF_BASE_MS and BACKOFF_CAP_MS of frontend/src/connection.ts
}
"""By the name that `--storm` takes."""


def measure(result: Result) -> Json | None:
    """What became of the people whom a test with `--storm` dropped: the summary's `storm`; None if it dropped nobody.

    Returns:
        `dropped`, `stayed` and `back` are people; `back_s` has the seconds from the drop until half, 99 % and all of
        the dropped were back, None if they never were; `handshakes_per_person`: made for one that was let in;
        `missed_while_away`: deliveries that the dropped would have had; `missing_after_return`: of what was sent after
        each one's return; `stayed_ms`: latency for those who stayed, before the drop, until all were back, and later.
    """
    connections, broadcasts, deliveries = result.connections, result.broadcasts, result.measured()
    if not (dropped := int(connections["left"].sum())):
        return None
    dropped_ns = int(connections["closed_ns"][connections["left"]].min())
    returning = connections[connections["started_ns"] >= dropped_ns]
    opened_ns = np.sort(returning["opened_ns"].dropna().to_numpy(dtype=np.int64))
    sent_ns = broadcasts["sent_ns"][~broadcasts["refused"]].dropna().to_numpy(dtype=np.int64)
    away = dropped - np.searchsorted(opened_ns, sent_ns[sent_ns > dropped_ns], side="right")

    def back_s(share: float) -> float | None:
        number = math.ceil(share * dropped)
        return round((int(opened_ns[number - 1]) - dropped_ns) / 1e9, 3) if number <= len(opened_ns) else None

    stayed = connections[~connections["left"] & (connections["opened_ns"] < dropped_ns)]["connection"]
    heard = deliveries[deliveries["connection"].isin(stayed)]
    due_ns = heard["broadcast"].map(broadcasts.set_index("broadcast")["intended_ns"])
    over_ns = opened_ns[-1] if len(opened_ns) == dropped else np.inf
    parts = {"before": due_ns < dropped_ns, "during": due_ns.between(dropped_ns, over_ns), "after": due_ns > over_ns}
    handshakes = len(returning) + int(returning["refused"].sum())
    return {
        "policy": result.summary["settings"]["storm"],
        "dropped": dropped,
        "stayed": len(stayed),
        "back": len(opened_ns),
        "back_s": {"half": back_s(0.5), "p99": back_s(0.99), "all": back_s(1)},
        "handshakes_per_person": round(handshakes / max(1, len(opened_ns)), 2),
        "missed_while_away": int(away.sum()),
        "missing_after_return": int(returning[["missing", "dropped"]].to_numpy().sum()),
        "stayed_ms": {name: quantiles(heard["latency_ms"][rows], (0.5, 0.99)) for name, rows in parts.items()},
    }
