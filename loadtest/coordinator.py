"""The coordinator, in the process that Locust is steered from. It leads one test through its phases.

For each phase: wait for the connections, plan the broadcasts, wait for their deliveries. Every wait has an end.
"""

import json
import logging
import os
import sys
import time
import uuid
from collections import Counter

import gevent
import numpy as np
import pandas as pd
from gevent.event import Event
from hdrh.histogram import HdrHistogram
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner

from loadtest import clock, records, results, shapes, throttling, verdict
from loadtest.arguments import Settings

logger = logging.getLogger(__name__)

POLL_S = 0.05
LEAD_S = 0.5
"""From telling the plan to its first broadcast."""
SETTLE_S = 0.5
"""After the last expected delivery of all: time for a second copy to show up."""
HALT_S = 2.0
"""How long deliveries under way are waited for when somebody ends the test."""
COLLECT_S = 20.0
LEAVE_S = 10.0
"""How much longer than their rate asks for the connections may take to leave."""
SYNCHRONISE_S = 10.0


class Problem(Exception):
    """Why a test ended early, in one sentence."""


class Coordinator:
    def __init__(self, environment: Environment):
        self.environment = environment
        self.runner = environment.runner
        self.finishing = True
        self.finished = Event()
        """Set unless a test is under way: records are taken until then."""
        self.finished.set()
        self.live: dict = {}
        self.runner.register_message("loadtest.ping", self._on_ping)
        self.runner.register_message("loadtest.progress", self._on_progress)
        self.runner.register_message("loadtest.records", self._on_records)
        environment.events.worker_report.add_listener(self._on_worker_report)
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stopping.add_listener(self._on_stop)
        environment.events.quitting.add_listener(self._on_stop)

    # A test's beginning and end

    def prepare(self) -> None:
        """Check the arguments, and give Locust the load shape that was asked for. Exits if they cannot be used."""
        try:
            settings = self._settings()
        except ValueError as error:
            if not self.environment.parsed_options.headless or isinstance(self.runner, MasterRunner):
                # The test's start checks again: the web page may put it right, and workers want to be told to quit.
                return
            logger.error(error)
            sys.exit(1)
        if settings.shape == "ramp":
            seconds = float(settings.with_warm_up()[-1])
            self.environment.shape_class = shapes.Ramp(settings.users, seconds, settings.max_connection_rate)
        elif settings.shape == "steps":
            self.environment.shape_class = shapes.Steps(settings.steps[0], self._connection_rate(settings))
        if self.environment.shape_class:
            self.environment.shape_class.runner = self.runner

    def _settings(self) -> Settings:
        options = self.environment.parsed_options
        # A shape begins with fewer than --users; the runner knows better only what the web page was told.
        users = (not self.environment.shape_class and self.runner.target_user_count) or options.num_users or 1
        return Settings.from_options(options, self.environment.host, users)

    def _connection_rate(self, settings: Settings) -> float:
        if settings.shape == "ramp":
            return settings.max_connection_rate
        return min(self.environment.parsed_options.spawn_rate or 1, settings.max_connection_rate)

    def _on_test_start(self, **_) -> None:
        self.finishing = self.stopped = False
        self.finished.clear()
        self.problem: str | None = None
        self.state = "connecting"
        self.missing: int | None = None
        self.run = uuid.uuid4().hex[:12]
        self.started_ns = clock.now_ns()
        self.progress: dict[str, dict] = {}
        self.deliveries: dict[str, list[pd.DataFrame]] = {}
        self.accounts: dict[str, dict] = {}  # the newest of each generator
        self.collected: set[str] = set()
        self.halted_ns = 1 << 63
        self.intended_ns: list[int] = []  # of each broadcast
        self.is_warm_up: list[bool] = []
        # Microseconds to an hour, to three digits: the running figures need no more memory in a long test.
        self.latencies_us = HdrHistogram(1, 3_600_000_000, 3)
        self.settings: Settings | None = None
        try:
            settings = self._settings()
            results.prepare(settings.results)
            self.settings = settings
            workers = len(self.runner.clients) if isinstance(self.runner, MasterRunner) else 1
            self.runner.send_message(
                "loadtest.start", {"connection_rate": self._connection_rate(settings) / max(1, workers)}
            )
        except ValueError as error:
            self.problem = str(error)
            self.live = {"state": "refused", "message": self.problem}
        self._conductor = gevent.spawn(self._conduct)
        gevent.spawn(self._watch)

    def _conduct(self) -> None:
        try:
            if self.problem:
                raise Problem(self.problem)
            for phase, target in enumerate(self.settings.phases):
                self._connect(target)
                self._broadcast(phase)
                self._drain(self.settings.drain_time)
            gevent.sleep(SETTLE_S)
        except Problem as problem:
            self.problem = str(problem)
        self._finish()
        web_ui, options = self.environment.web_ui, self.environment.parsed_options
        if web_ui is None:
            self.runner.quit()
            return
        self.runner.stop()
        if options.autostart and options.autoquit != -1:
            gevent.sleep(options.autoquit)
            self.runner.quit()
            web_ui.stop()

    def _on_stop(self, **_) -> None:
        """Somebody else ends the test: Ctrl-C, --run-time, Locust's stop button."""
        self.stopped = True
        if not self.finishing:
            self._conductor.kill()
            self.problem = self.problem or "The test was stopped before its end."
            if self.settings:
                self.halted_ns = clock.now_ns()
                self.runner.send_message("loadtest.halt")
                self._drain(min(HALT_S, self.settings.drain_time))
                gevent.sleep(SETTLE_S)
        self._finish()

    # Phases

    def _connect(self, target: int) -> None:
        self.state = "connecting"
        settings, shape = self.settings, self.environment.shape_class
        deadline = (
            time.monotonic()
            + target / self._connection_rate(settings)
            + settings.connect_timeout
            + settings.retry_time
            + 10
        )
        if isinstance(shape, shapes.Steps):
            shape.grow_to(target)
        enough = min(target, settings.speakers) if settings.shape == "ramp" else target
        while (there := self._total("opened") - self._total("left")) + (failed := self._total("failed")) < enough:
            if not there and failed >= min(target, 20):
                break
            if time.monotonic() > deadline:
                break
            self._keep_bounds()
            gevent.sleep(POLL_S)
        if not self._total("open"):
            reasons = sorted({reason for report in self.progress.values() for reason in report["errors"]})
            why = f": {'; '.join(reasons)}" if reasons else ""
            none = f"None of the first {there + failed} connections to {settings.url} could be made{why}."
            raise Problem(f"{none} {throttling.explain(self._counts('refusals', self.progress), {})}".rstrip())
        deadline = time.monotonic() + SYNCHRONISE_S
        while not all(report["synchronised"] for report in self.progress.values()):
            if time.monotonic() > deadline:
                raise Problem(f"A worker's clock could not be compared with the master's within {SYNCHRONISE_S:g} s.")
            gevent.sleep(POLL_S)

    def _broadcast(self, phase: int) -> None:
        settings = self.settings
        clients = [client for client, report in self.progress.items() if report["open"]]
        speakers = min(settings.speakers, self._total("open"))
        offsets_ns = np.rint(settings.with_warm_up(phase) * 1e9).astype(np.int64).tolist()
        plan = {
            "run": self.run,
            "phase": phase,
            "first": len(self.intended_ns),
            "start_ns": clock.now_ns() + round(LEAD_S * 1e9),
            "offsets_ns": offsets_ns,
            "warm_up": settings.warm_up,
            "speaker_count": speakers,
            "speakers": {client: list(range(speakers))[k :: len(clients)] for k, client in enumerate(clients)},
            "payload_bytes": settings.payload_bytes,
            "churn": settings.churn,
            "seed": settings.seed,
        }
        self.intended_ns += [plan["start_ns"] + offset_ns for offset_ns in offsets_ns]
        self.is_warm_up += [k < settings.warm_up for k in range(len(offsets_ns))]
        self.state = "broadcasting"
        self.runner.send_message("loadtest.plan", plan)
        while clock.now_ns() < self.intended_ns[-1]:
            if not self._total("open"):
                raise Problem("Every connection was closed before the last broadcast.")
            self._keep_bounds()
            gevent.sleep(POLL_S)

    def _keep_bounds(self) -> None:
        most = self.settings.max_handshakes
        if most and sum(map(self._total, ("opened", "failed", "refused"))) > most:
            raise Problem(f"The test was stopped: more than {most:,} connections were tried (--max-handshakes).")

    def _drain(self, at_most_s: float) -> None:
        self.state = "draining"
        deadline = time.monotonic() + at_most_s
        while time.monotonic() < deadline:
            due = sum(intended_ns <= min(clock.now_ns(), self.halted_ns) for intended_ns in self.intended_ns)
            level = all(report["due"] == due for client, report in self.progress.items() if self._is_there(client))
            if level and not self._total("sending") and self._total("outstanding") <= 0:
                return
            gevent.sleep(POLL_S)

    def _leave(self) -> None:
        """Let everybody leave as fast as they came: all at once they would be too much for what is told of each.

        A function behind `$disconnect` that Lambda can't run loses that news, and the connection stays in the chat's
        table. Whoever stops a test by hand does not wait for this.
        """
        if self.stopped:
            return
        self.state = "leaving"
        deadline = time.monotonic() + self._total("open") / self._connection_rate(self.settings) + LEAVE_S
        self.runner.send_message("loadtest.leave")
        while not self.stopped and time.monotonic() < deadline:
            if not any(report["open"] for client, report in self.progress.items() if self._is_there(client)):
                return
            gevent.sleep(POLL_S)

    # What the generators tell

    def _total(self, figure: str) -> int:
        return sum(report[figure] for report in self.progress.values())

    @staticmethod
    def _counts(figure: str, reports: dict[str, dict]) -> dict[str, int]:
        """Counts of all generators, by what they are of."""
        return dict(sum((Counter(report[figure]) for report in reports.values()), Counter()))

    def _is_there(self, client: str) -> bool:
        """Whether a generator still runs, as far as Locust knows from its workers' heartbeats."""
        clients = getattr(self.runner, "clients", None)
        return clients is None or (client in clients and clients[client].state != STATE_MISSING)

    def _on_ping(self, msg, **_) -> None:
        self.runner.send_message("loadtest.pong", msg.data | {"answered_ns": clock.now_ns()}, msg.node_id)

    def _on_progress(self, msg, **_) -> None:
        self.progress[msg.data["client"]] = msg.data

    def _on_records(self, msg, **_) -> None:
        self._keep(msg.data)

    def _on_worker_report(self, data: dict, **_) -> None:
        if "loadtest" in data:
            self._keep(data["loadtest"])

    def _keep(self, data: dict) -> None:
        if self.finished.is_set():
            return
        rows = records.unpack(data["deliveries"])
        self.deliveries.setdefault(data["client"], []).append(rows)
        if "connections" in data:
            tables = {name: records.unpack(data[name]) for name in ("connections", "broadcasts")}
            self.accounts[data["client"]] = data | tables
        if data["final"]:
            self.collected.add(data["client"])
        broadcast = rows["broadcast"].to_numpy()
        latency_ns = rows["arrived_ns"].to_numpy() + data["offset_ns"] - np.array(self.intended_ns, np.int64)[broadcast]
        measured_us = latency_ns[~np.array(self.is_warm_up, bool)[broadcast]] // 10_000 * 10  # 10 µs do for a look
        for latency_us, count in zip(*np.unique(measured_us.clip(min=10), return_counts=True), strict=True):
            self.latencies_us.record_value(int(latency_us), int(count))

    # What it tells

    def _watch(self) -> None:
        delivered, seen_at = 0, time.monotonic()
        while not self.finishing:
            gevent.sleep(0.5)
            if self.settings:
                now, total = time.monotonic(), self._total("delivered")
                rate, delivered, seen_at = (total - delivered) / (now - seen_at), total, now
                self._write_progress(rate)

    def _write_progress(self, deliveries_per_s: float) -> None:
        """The state of the test as the small file that `loadtest.live` reads, replaced in one piece."""
        any_yet = self.latencies_us.get_total_count() > 0
        quantile_ms = lambda q: self.latencies_us.get_value_at_percentile(q) / 1e3 if any_yet else None  # noqa: E731
        self.live = {
            "state": self.state,
            "users": self.settings.phases[-1],
            "broadcasts": self.settings.broadcasts_in_all,
            **{
                name: self._total(name)
                for name in ("open", "opened", "failed", "refused", "sent", "expected", "delivered")
            },
            "deliveries_per_s": round(deliveries_per_s, 1),
            "p50_ms": quantile_ms(50),
            "p99_ms": quantile_ms(99),
            "outstanding": max(0, self._total("outstanding")),
            "missing": self.missing,
            "message": self.problem or "",
        }
        path = self.settings.results / "progress.json"
        path.with_suffix(".tmp").write_text(json.dumps(self.live))
        os.replace(path.with_suffix(".tmp"), path)

    def _finish(self) -> None:
        """Collect what there is and write it. Happens once, whoever asks; who asks again waits for it."""
        if self.finishing:
            self.finished.wait()
            return
        self.finishing = True
        self.environment.process_exit_code = 1
        try:
            if self.settings:
                self._collect()
                self._leave()
                self._conclude(self._assemble())
            if self.problem:
                logger.error(self.problem)
            else:
                self.environment.process_exit_code = 0
        finally:
            self.finished.set()

    def _collect(self) -> None:
        """Wait for the last records of each generator."""
        self.state = "collecting"
        self.runner.send_message("loadtest.collect")
        with gevent.Timeout(COLLECT_S, False):
            while any(map(self._is_there, set(self.progress) - self.collected)):
                gevent.sleep(POLL_S)
        if lost := set(self.progress) - self.collected:
            self.problem = f"{len(lost)} of {len(self.progress)} workers did not hand over their last records."
            for client in lost & set(self.accounts):
                self._close(self.accounts[client])

    def _conclude(self, result: results.Result) -> None:
        """Write the results, and say what is to be said about them."""
        self.missing = result.summary["missing"]
        self.state = "complete" if result.summary["complete"] else "incomplete"
        self.problem = self.problem or results.shortfall(result.summary)
        try:
            results.write(result, self.settings.results)
            self._write_progress(0.0)
        except OSError as error:
            self.problem = f"The results could not be written to {self.settings.results}: {error.strerror}."
        self._fire_missing(result.summary["missing"])
        for warning in result.summary["verdict"]["warnings"]:
            logger.warning(warning)
        logger.info("Results are in %s", self.settings.results)

    def _assemble(self) -> results.Result:
        """All records of all generators, put on the clock of this process."""
        processes = []
        tables = {name: [records.table(name, [])] for name in results.TABLES}
        for number, (client, account) in enumerate(self.accounts.items()):
            offset = clock.Offset(account["exchanges"])
            account["deliveries"] = pd.concat(self.deliveries[client])
            for name, of_all in tables.items():
                of_all.append(records.on_masters_clock(account[name], offset))
            processes.append(
                {
                    "process": number,
                    "connections": len(account["connections"]),
                    "cpu": results.quantiles(pd.Series(account["cpu"], dtype=float), (0.5, 0.9), with_max=True),
                    "memory_kb_per_connection": round(account["bytes_per_connection"] / 1e3, 1),
                    "clock_offset_ms": round(offset.at(self.started_ns) / 1e6, 3),
                    "clock_uncertainty_ms": round(offset.uncertainty_ns / 1e6, 3),
                }
            )
        result = results.assemble(
            **{name: pd.concat(of_all, ignore_index=True) for name, of_all in tables.items()},
            asked=self.settings.broadcasts_in_all,
            users=self.settings.phases[-1],
            drain_s=self.settings.drain_time,
            facts={
                "run": self.run,
                "target": self.settings.url,
                "started": pd.Timestamp(self.started_ns, unit="ns").strftime("%Y-%m-%dT%H:%M:%SZ"),
                "settings": self.settings.plain(),
                "processes": processes,
                "refusals": self._counts("refusals", self.accounts),
                "error_frames": self._counts("error_frames", self.accounts),
                "problem": self.problem,
            },
        )
        result.summary["verdict"] = verdict.judge(result)
        return result

    def _close(self, account: dict) -> None:
        """Take a lost worker's connections for closed when it last reported, since nobody knows what came after."""
        connections = account["connections"]
        still_open = connections["opened_ns"].notna() & connections["closed_ns"].isna()
        connections.loc[still_open, "closed_ns"] = account["reported_ns"]
        connections.loc[still_open, "error"] = "its worker was lost"

    def _fire_missing(self, missing: int) -> None:
        """Let Locust's own report show what never arrived."""
        for _ in range(missing):
            self.environment.events.request.fire(
                request_type="WS",
                name="delivery",
                response_time=None,
                response_length=0,
                exception=TimeoutError("not delivered within the drain time"),
                context={},
            )
