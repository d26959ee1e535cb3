"""What must be true of the load test's readings."""

from collections.abc import Callable
from typing import NamedTuple

from loadtest.results import Json

Rows = list[Json]
"""`Reading.metrics` of each case that the load test ran."""


class Bound(NamedTuple):
    """A limit for a number over all cases."""

    name: str
    measured: Callable[[Rows], float]
    limit: float
    at_most: bool = True

    def check(self, rows: Rows) -> Json:
        """The bound, what was measured and whether it holds, as JSON."""
        measured = self.measured(rows)
        holds = measured <= self.limit if self.at_most else measured >= self.limit
        return {"bound": self.name, "measured": round(measured, 3), "limit": self.limit, "holds": bool(holds)}


def _max_error_ms(quantile: str) -> Callable[[Rows], float]:
    return lambda rows: max(abs(row["error_ms"][quantile]) for row in rows if row["connections"] == 1000)


def _max_without_loss(rows: Rows, metric: Callable[[Json], float], processes: int) -> float:
    """The largest value of a metric over the cases with so many processes and no missing delivery."""
    lossless = (row for row in rows if not row["missing"] and len(row["processes"]) == processes)
    return max(map(metric, lossless), default=0)


BOUNDS = [
    Bound("error of p50, ms", _max_error_ms("p50"), 0.3),
    Bound("error of p99, ms", _max_error_ms("p99"), 0.3),
    Bound(
        "deliveries wrongly taken for dropped, doubled or reordered, or not found",
        lambda rows: sum(fault["wrong"] for row in rows for fault in row["detected_faults"].values()),
        0,
    ),
    Bound(
        "deliveries a second, one process, no loss",
        lambda rows: _max_without_loss(rows, lambda row: row["connections"] * row["broadcasts_per_s"], processes=1),
        20_000,
        at_most=False,
    ),
    Bound(
        "connections, two processes, no loss",
        lambda rows: _max_without_loss(rows, lambda row: row["connections"], processes=2),
        5_000,
        at_most=False,
    ),
    Bound(
        "memory, KB a connection (wss:// adds what OpenSSL needs)",
        lambda rows: max(
            process["memory_kb_per_connection"] for row in rows if not row["tls"] for process in row["processes"]
        ),
        40,
    ),
]
