"""What the generators tell the coordinator during one test, and the result that it comes to."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
from hdrh.histogram import HdrHistogram

from loadtest import clock, protocol, records, results, verdict
from loadtest.arguments import Settings


class Collector:
    """The reports of all generators.

    Args:
        is_there: tells of a generator, by its id, whether it still runs.
    """

    def __init__(self, is_there: Callable[[str], bool]):
        self._is_there = is_there
        self._progress: dict[str, protocol.Progress] = {}  # the newest of each generator
        self._accounts: dict[str, protocol.Account] = {}
        self._deliveries: dict[str, list[pd.DataFrame]] = {}
        self._intended_ns = np.empty(0, np.int64)  # of each broadcast
        self._is_warm_up = np.empty(0, bool)
        # Microseconds to an hour, to three digits: the running figures need no more memory in a long test.
        self._latencies_us = HdrHistogram(1, 3_600_000_000, 3)

    def add_plan(self, plan: protocol.Plan) -> None:
        """Know of a plan's broadcasts before they are reported."""
        self._intended_ns = np.concatenate([self._intended_ns, np.array(plan.intended_ns, np.int64)])
        self._is_warm_up = np.concatenate([self._is_warm_up, np.array(plan.is_warm_up, bool)])

    # What they tell

    def add_progress(self, progress: protocol.Progress) -> None:
        self._progress[progress.client] = progress

    def add_account(self, account: protocol.Account) -> None:
        self._accounts[account.client] = account

    def add_deliveries(self, told: protocol.Deliveries) -> None:
        self._deliveries.setdefault(told.client, []).append(told.rows)
        broadcast = told.rows["broadcast"].to_numpy()
        latency_ns = told.rows["arrived_ns"].to_numpy() + told.offset_ns - self._intended_ns[broadcast]
        measured_us = latency_ns[~self._is_warm_up[broadcast]] // 10_000 * 10  # 10 µs do for a look
        for latency_us, count in zip(*np.unique(measured_us.clip(min=10), return_counts=True), strict=True):
            self._latencies_us.record_value(int(latency_us), int(count))

    # What it comes to while the test runs

    @property
    def clients(self) -> set[str]:
        """The generators that have reported."""
        return set(self._progress)

    def with_connections(self) -> list[str]:
        """The generators that have open connections, in the order in which they first reported."""
        return [client for client, progress in self._progress.items() if progress.open]

    def total(self, figure: str) -> int:
        """A figure of `protocol.Progress`, of all generators together."""
        return sum(getattr(progress, figure) for progress in self._progress.values())

    def errors(self) -> list[str]:
        """Why connections could not be made, or closed: the first few reasons."""
        return sorted({error for progress in self._progress.values() for error in progress.errors})

    def refusals(self) -> dict[str, int]:
        """How many handshakes were refused because of too much load, by status."""
        return _sum(progress.refusals for progress in self._progress.values())

    def synchronised(self) -> bool:
        """Whether all clocks have been compared."""
        return all(progress.synchronised for progress in self._there())

    def is_drained(self, until_ns: int) -> bool:
        """Whether everything has arrived that was to leave by `until_ns`."""
        due = int((self._intended_ns <= until_ns).sum())
        level = all(progress.due == due for progress in self._there())
        return level and not self.total("sending") and self.total("outstanding") <= 0

    def have_left(self) -> bool:
        """Whether no connection is open any more."""
        return not any(progress.open for progress in self._there())

    def is_complete(self) -> bool:
        """Whether each generator has handed over its last records, but for those that do not run any more."""
        return not any(map(self._is_there, self.lost()))

    def lost(self) -> set[str]:
        """The generators that have not handed over their last records."""
        return {client for client in self._progress if client not in self._accounts or not self._accounts[client].final}

    def latency_ms(self, percentile: float) -> float | None:
        """A percentile of the latencies so far, without the warm-up's, to 10 µs; None before the first."""
        if not self._latencies_us.get_total_count():
            return None
        return self._latencies_us.get_value_at_percentile(percentile) / 1e3

    def _there(self) -> list[protocol.Progress]:
        return [progress for client, progress in self._progress.items() if self._is_there(client)]

    # What it comes to at the end

    def records(self) -> dict[str, pd.DataFrame]:
        """All records of all generators, by table, put on the clock of this process."""
        tables = {name: [records.table(name, [])] for name in results.TABLES}
        for client, account in self._accounts.items():
            offset = clock.Offset(account.exchanges)
            told = {
                "deliveries": pd.concat([records.table("deliveries", []), *self._deliveries.get(client, [])]),
                "connections": account.connections if account.final else _closed_when_lost(account),
                "broadcasts": account.broadcasts,
            }
            for name, of_all in tables.items():
                of_all.append(records.on_masters_clock(told[name], offset))
        return {name: pd.concat(of_all, ignore_index=True) for name, of_all in tables.items()}

    def _processes(self, started_ns: int) -> list[dict]:
        offsets = [clock.Offset(account.exchanges) for account in self._accounts.values()]
        return [
            {
                "process": number,
                "connections": len(account.connections),
                "cpu": results.quantiles(pd.Series(account.cpu, dtype=float), (0.5, 0.9), with_max=True),
                "memory_kb_per_connection": round(account.bytes_per_connection / 1e3, 1),
                "clock_offset_ms": round(offset.at(started_ns) / 1e6, 3),
                "clock_uncertainty_ms": round(offset.uncertainty_ns / 1e6, 3),
            }
            for number, (account, offset) in enumerate(zip(self._accounts.values(), offsets, strict=True))
        ]

    def result(self, run: str, settings: Settings, started_ns: int, problem: str | None) -> results.Result:
        """What the records come to; the arguments go into the summary."""
        result = results.assemble(
            **self.records(),
            asked=settings.broadcasts_in_all,
            users=settings.phases[-1],
            drain_s=settings.drain_time,
            facts={
                "run": run,
                "target": settings.url,
                "started": pd.Timestamp(started_ns, unit="ns").strftime("%Y-%m-%dT%H:%M:%SZ"),
                "settings": settings.plain(),
                "processes": self._processes(started_ns),
                "refusals": _sum(account.refusals for account in self._accounts.values()),
                "error_frames": _sum(account.error_frames for account in self._accounts.values()),
                "problem": problem,
            },
        )
        result.summary["verdict"] = verdict.judge(result)
        return result


def _sum(counts) -> dict[str, int]:
    return dict(sum(map(Counter, counts), Counter()))


def _closed_when_lost(account: protocol.Account) -> pd.DataFrame:
    """A lost worker's connections, taken for closed when it last reported: nobody knows what came after."""
    connections = account.connections.copy()
    still_open = connections["opened_ns"].notna() & connections["closed_ns"].isna()
    connections.loc[still_open, "closed_ns"] = account.reported_ns
    connections.loc[still_open, "error"] = "its worker was lost"
    return connections
