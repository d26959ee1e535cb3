"""What the generators report to the coordinator during one test, and the result of it."""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from hdrh.histogram import HdrHistogram

from loadtest import clock, exchange, protocols, records, results, storm, verdict
from loadtest.arguments import Settings
from loadtest.records import DeliveryLog
from loadtest.results import Json


class Collector:
    """The messages of all generators.

    Args:
        is_running: whether a generator, given its client id, still runs.
    """

    def __init__(self, is_running: Callable[[str], bool]) -> None:
        self._is_running = is_running
        self._progress: dict[str, exchange.Progress] = {}  # the newest of each generator
        self._snapshots: dict[str, exchange.Snapshot] = {}  # the newest of each generator
        self._deliveries: dict[str, DeliveryLog] = {}
        self._intended_ns = np.empty(0, np.int64)  # of each broadcast
        self._is_warm_up = np.empty(0, bool)
        # Microseconds to an hour, to three digits: so the live metrics need no more memory in a long test.
        self._latencies_us = HdrHistogram(1, 3_600_000_000, 3)

    def add_plan(self, plan: exchange.Plan) -> None:
        """Add the broadcasts of a plan, before generators report their deliveries."""
        self._intended_ns = np.concatenate([self._intended_ns, np.array(plan.intended_ns, np.int64)])
        self._is_warm_up = np.concatenate([self._is_warm_up, np.array(plan.is_warm_up, bool)])

    # Messages

    def add_progress(self, progress: exchange.Progress) -> None:
        self._progress[progress.client_id] = progress

    def add_snapshot(self, snapshot: exchange.Snapshot) -> None:
        self._snapshots[snapshot.client_id] = snapshot

    def add_deliveries(self, deliveries: exchange.Deliveries) -> None:
        rows = deliveries.rows
        self._deliveries.setdefault(deliveries.client_id, DeliveryLog()).extend(rows)
        broadcast = rows["broadcast"].to_numpy()
        latency_ns = rows["arrived_ns"].to_numpy() + deliveries.offset_ns - self._intended_ns[broadcast]
        measured_us = latency_ns[~self._is_warm_up[broadcast]] // 10_000 * 10  # 10 µs are precise enough here
        for latency_us, count in zip(*np.unique(measured_us.clip(min=10), return_counts=True), strict=True):
            self._latencies_us.record_value(int(latency_us), int(count))

    # The state while the test runs

    @property
    def clients(self) -> set[str]:
        """The generators that have reported."""
        return set(self._progress)

    def clients_with_connections(self) -> list[str]:
        """The generators that have open connections, in the order in which they first reported."""
        return [client_id for client_id, progress in self._progress.items() if progress.open]

    def total(self, count: str) -> int:
        """A count of `exchange.Progress`, of all generators together."""
        return sum(getattr(progress, count) for progress in self._progress.values())

    def why(self) -> str:
        """Why connections could not be made, or closed: a colon and the first few reasons, or "" if there are none."""
        reasons = sorted({error for progress in self._progress.values() for error in progress.errors})
        return f": {'; '.join(reasons)}" if reasons else ""

    def refusals(self) -> dict[str, int]:
        """How many handshakes were refused because the server had too much to do, by status."""
        return _sum(progress.refusals for progress in self._progress.values())

    def is_synchronised(self) -> bool:
        """Whether all clocks have been compared with the master's."""
        return all(progress.synchronised for progress in self._running())

    def is_drained(self, until_ns: int) -> bool:
        """Whether every delivery of the broadcasts that were due by `until_ns` has arrived."""
        due = int((self._intended_ns <= until_ns).sum())
        all_sent = all(progress.due == due for progress in self._running())
        return all_sent and not self.total("sending") and self.total("in_flight") <= 0

    def have_departed(self) -> bool:
        """Whether no connection is open any more."""
        return not any(progress.open for progress in self._running())

    def is_complete(self) -> bool:
        """Whether each generator that still runs has handed over its last records."""
        return not any(map(self._is_running, self.unfinished()))

    def unfinished(self) -> set[str]:
        """The generators that have not handed over their last records."""
        finished = {client_id for client_id, snapshot in self._snapshots.items() if snapshot.final}
        return self.clients - finished

    def latency_ms(self, percentile: float) -> float | None:
        """A percentile of the latencies so far, without the warm-up's, to 10 µs; None before the first delivery."""
        if not self._latencies_us.get_total_count():
            return None
        return float(self._latencies_us.get_value_at_percentile(percentile) / 1e3)

    def _running(self) -> list[exchange.Progress]:
        return [progress for client_id, progress in self._progress.items() if self._is_running(client_id)]

    # The end

    def tables(self) -> dict[str, pd.DataFrame]:
        """All records of all generators, by table, with times by the clock of this process."""
        parts = {name: [records.table(name, [])] for name in results.TABLES}
        for client_id, snapshot in self._snapshots.items():
            offset = clock.Offset(snapshot.exchanges)
            of_client = {
                "deliveries": self._deliveries.get(client_id, DeliveryLog()).table(),
                "connections": snapshot.connections if snapshot.final else _closed_when_lost(snapshot),
                "broadcasts": snapshot.broadcasts,
            }
            for name, tables in parts.items():
                tables.append(records.on_masters_clock(of_client[name], offset))
        return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}

    def _processes(self, started_ns: int) -> list[Json]:
        offsets = [clock.Offset(snapshot.exchanges) for snapshot in self._snapshots.values()]
        return [
            {
                "process": number,
                "connections": len(snapshot.connections),
                "cpu": results.quantiles(pd.Series(snapshot.cpu, dtype=float), (0.5, 0.9), with_max=True),
                "memory_kb_per_connection": round(snapshot.bytes_per_connection / 1e3, 1),
                "clock_offset_ms": round(offset.at(started_ns) / 1e6, 3),
                "clock_uncertainty_ms": round(offset.uncertainty_ns / 1e6, 3),
            }
            for number, (snapshot, offset) in enumerate(zip(self._snapshots.values(), offsets, strict=True))
        ]

    def result(self, run: str, settings: Settings, started_ns: int, problem: str | None) -> results.Result:
        """The result of all records. The arguments are a part of its summary."""
        snapshots = self._snapshots.values()
        result = results.assemble(
            **self.tables(),
            requested=settings.total_broadcasts,
            users=settings.phases[-1],
            drain_s=settings.drain_time,
            hears_itself=protocols.find(settings.protocol).hears_itself,
            metadata={
                "run": run,
                "target": settings.url,
                "started": pd.Timestamp(started_ns, unit="ns").strftime("%Y-%m-%dT%H:%M:%SZ"),
                "settings": settings.as_json(),
                "processes": self._processes(started_ns),
                "refusals": _sum(snapshot.refusals for snapshot in snapshots),
                "error_frames": _sum(snapshot.error_frames for snapshot in snapshots),
                "problem": problem,
            },
        )
        result.summary["storm"] = storm.measure(result)
        result.summary["verdict"] = verdict.judge(result)
        return result


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _closed_when_lost(snapshot: exchange.Snapshot) -> pd.DataFrame:
    """A lost worker's connections. They count as closed at its last snapshot: nobody knows what happened after it."""
    connections = snapshot.connections.copy()
    still_open = connections["opened_ns"].notna() & connections["closed_ns"].isna()
    connections.loc[still_open, "closed_ns"] = snapshot.taken_ns
    connections.loc[still_open, "error"] = "its worker was lost"
    return connections
