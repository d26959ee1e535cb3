"""The coordinator: the part in the process that Locust is steered from. It leads one test through its phases.

For each phase: wait for the connections, plan the broadcasts, wait for their deliveries. Every wait has an end.
"""

import json
import logging
import os
import sys
import time
import uuid
from pathlib import Path

import gevent
import numpy as np
import pandas as pd
from locust.env import Environment
from locust.runners import MasterRunner

from loadtest import clock, records, results, shapes
from loadtest.arguments import Settings

logger = logging.getLogger(__name__)

POLL_S = 0.05
LEAD_S = 0.5
"""From telling the plan to its first broadcast."""
SETTLE_S = 0.5
"""After the last expected delivery: time for a second copy to show up."""
COLLECT_S = 20.0
LIVE_WINDOW_S = 10.0


class Problem(Exception):
    """Why a test ended early, in one sentence."""


class Coordinator:
    def __init__(self, environment: Environment):
        self.environment = environment
        self.runner = environment.runner
        self.finished = True
        self.live: dict = {}
        self.runner.register_message("loadtest.progress", self._on_progress)
        self.runner.register_message("loadtest.records", self._on_records)
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stopping.add_listener(self._on_stop)
        environment.events.quitting.add_listener(self._on_stop)

    @property
    def distributed(self) -> bool:
        return isinstance(self.runner, MasterRunner)

    # A test's beginning and end

    def prepare(self) -> None:
        """Check the arguments, and give Locust the load shape that was asked for. Exits if they cannot be used."""
        options = self.environment.parsed_options
        try:
            settings = Settings.from_options(options, self.environment.host, self._users_asked())
        except ValueError as error:
            if not options.headless:
                return  # the web page's form may put it right; the test's start checks again
            logger.error(error)
            sys.exit(1)
        rate = min(self.environment.parsed_options.spawn_rate or 1, settings.max_connection_rate)
        if settings.shape == "ramp":
            seconds = float(settings.with_warm_up()[-1])
            self.environment.shape_class = shapes.Ramp(settings.users, seconds, settings.max_connection_rate)
        elif settings.shape == "steps":
            self.environment.shape_class = shapes.Steps(settings.steps[0], rate)
        if self.environment.shape_class:
            self.environment.shape_class.runner = self.runner

    def _users_asked(self) -> int:
        return self.runner.target_user_count or self.environment.parsed_options.num_users or 1

    def _broadcasts_asked(self) -> int:
        """Without the warm-up's."""
        return len(self.settings.schedule()) * len(self.settings.phases)

    def _on_test_start(self, **_) -> None:
        self.finished = False
        self.problem: str | None = None
        self.state = "connecting"
        self.missing: int | None = None
        self.run = uuid.uuid4().hex[:12]
        self.started_ns = clock.now_ns()
        self.progress: dict[str, dict] = {}
        self.deliveries: list[pd.DataFrame] = []
        self.connections: dict[str, pd.DataFrame] = {}
        self.broadcasts: dict[str, pd.DataFrame] = {}
        self.plans: list[dict] = []
        self.settings: Settings | None = None
        try:
            settings = Settings.from_options(
                self.environment.parsed_options, self.environment.host, self._users_asked()
            )
            results.prepare(settings.results)
            self.settings = settings
        except (ValueError, OSError) as error:
            self.problem = str(error)
        self._conductor = gevent.spawn(self._conduct)
        self._watcher = gevent.spawn(self._watch)

    def _conduct(self) -> None:
        try:
            if self.problem:
                raise Problem(self.problem)
            for phase, target in enumerate(self.settings.phases):
                self._connect(target)
                self._broadcast(phase)
                self._drain()
        except Problem as problem:
            self.problem = str(problem)
        self._finish()
        if self.environment.web_ui:
            self.runner.stop()
        else:
            self.runner.quit()

    def _on_stop(self, **_) -> None:
        """Somebody else ends the test: Ctrl-C, --run-time, Locust's stop button."""
        if not self.finished and gevent.getcurrent() is not self._conductor:
            self._conductor.kill()
            self.problem = self.problem or "The test was stopped before its end."
            self._finish()

    # Phases

    def _connect(self, target: int) -> None:
        self.state = "connecting"
        settings, shape = self.settings, self.environment.shape_class
        rate = min(self.environment.parsed_options.spawn_rate or 1, settings.max_connection_rate)
        deadline = time.monotonic() + target / rate + settings.connect_timeout + 10
        if isinstance(shape, shapes.Steps):
            shape.users = target
        enough = min(target, settings.speakers) if settings.shape == "ramp" else target
        while (opened := self._total("opened")) + (failed := self._total("failed")) < enough:
            if not opened and failed >= min(target, 20):
                break
            if time.monotonic() > deadline:
                break
            gevent.sleep(POLL_S)
        if not self._total("open"):
            reasons = sorted({reason for report in self.progress.values() for reason in report["errors"]})
            why = f": {'; '.join(reasons)}" if reasons else ""
            raise Problem(f"None of the first {opened + failed} connections to {settings.url} could be made{why}.")

    def _broadcast(self, phase: int) -> None:
        settings = self.settings
        clients = [client for client, report in self.progress.items() if report["open"]]
        speakers = min(settings.speakers, self._total("open"))
        offsets_ns = np.round(settings.with_warm_up() * 1e9).astype(np.int64)
        plan = {
            "run": self.run,
            "phase": phase,
            "first": sum(len(plan["offsets_ns"]) for plan in self.plans),
            "start_ns": clock.now_ns() + round(LEAD_S * 1e9),
            "offsets_ns": offsets_ns.tolist(),
            "warm_up": settings.warm_up,
            "speaker_count": speakers,
            "speakers": {client: list(range(speakers))[k :: len(clients)] for k, client in enumerate(clients)},
            "payload_bytes": settings.payload_bytes,
        }
        self.plans.append(plan)
        self.state = "broadcasting"
        self.runner.send_message("loadtest.plan", plan)
        while clock.now_ns() < plan["start_ns"] + offsets_ns[-1]:
            if not self._total("open"):
                raise Problem("Every connection was closed before the last broadcast.")
            gevent.sleep(POLL_S)

    def _drain(self) -> None:
        self.state = "draining"
        planned = sum(len(plan["offsets_ns"]) for plan in self.plans)
        deadline = time.monotonic() + self.settings.drain_time
        while time.monotonic() < deadline:
            due = all(report["due"] == planned for report in self.progress.values())
            if due and not self._total("sending") and self._total("outstanding") <= 0:
                gevent.sleep(SETTLE_S)
                return
            gevent.sleep(POLL_S)

    # What the generators tell

    def _total(self, figure: str) -> int:
        return sum(report[figure] for report in self.progress.values())

    def _on_progress(self, msg, **_) -> None:
        self.progress[msg.data["client"]] = msg.data

    def _on_records(self, msg, **_) -> None:
        self._keep(msg.data["client"], msg.data)

    def _keep(self, client: str, data: dict) -> None:
        self.deliveries.append(records.unpack(data["deliveries"]))
        if "connections" in data:
            self.connections[client] = records.unpack(data["connections"])
            self.broadcasts[client] = records.unpack(data["broadcasts"])

    # What it tells

    def _watch(self) -> None:
        while not self.finished:
            self._write_progress()
            gevent.sleep(0.5)

    def _write_progress(self) -> None:
        """The state of the test as the small file that `loadtest.live` reads, replaced in one piece."""
        if self.settings is None:
            return
        self.live = {
            "state": self.state,
            "users": self.settings.phases[-1],
            "broadcasts": self._broadcasts_asked(),
            **{name: self._total(name) for name in ("open", "opened", "failed", "sent", "expected", "delivered")},
            "outstanding": max(0, self._total("outstanding")),
            "missing": self.missing,
            "message": self.problem or "",
            **self._running_quantiles(),
        }
        path = self.settings.results / "progress.json"
        path.with_suffix(".tmp").write_text(json.dumps(self.live))
        os.replace(path.with_suffix(".tmp"), path)

    def _running_quantiles(self) -> dict:
        """Latency over the last `LIVE_WINDOW_S` seconds, and deliveries per second in it."""
        since, recent = clock.now_ns() - LIVE_WINDOW_S * 1e9, []
        for rows in reversed(self.deliveries):
            if len(rows) and rows["arrived_ns"].iloc[-1] < since:
                break
            recent.append(rows)
        if not sum(map(len, recent)):
            return {"p50_ms": None, "p99_ms": None, "deliveries_per_s": 0.0}
        rows = pd.concat(recent)
        latency_ms = (rows["arrived_ns"] - rows["broadcast"].map(self._intended())) / 1e6
        span_s = max(1.0, min(LIVE_WINDOW_S, (clock.now_ns() - self.plans[0]["start_ns"]) / 1e9))
        return {
            "p50_ms": round(latency_ms.quantile(0.5), 3),
            "p99_ms": round(latency_ms.quantile(0.99), 3),
            "deliveries_per_s": round(len(rows) / span_s, 1),
        }

    def _intended(self) -> dict[int, int]:
        return {
            plan["first"] + k: plan["start_ns"] + offset
            for plan in self.plans
            for k, offset in enumerate(plan["offsets_ns"])
        }

    def _finish(self) -> None:
        """Collect what there is and write it. Happens once, whoever asks."""
        if self.finished:
            return
        if self.settings is None:
            logger.error(self.problem)
            self.environment.process_exit_code = 1
            self.finished = True
            return
        self.state = "collecting"
        self.runner.send_message("loadtest.collect")
        with gevent.Timeout(COLLECT_S, False):
            while set(self.progress) - set(self.connections):
                gevent.sleep(POLL_S)
        result = results.assemble(
            deliveries=pd.concat(self.deliveries) if self.deliveries else None,
            connections=pd.concat(self.connections.values()) if self.connections else None,
            broadcasts=pd.concat(self.broadcasts.values()) if self.broadcasts else None,
            asked=self._broadcasts_asked(),
            users=self.settings.phases[-1],
            facts={
                "run": self.run,
                "target": self.settings.url,
                "started": pd.Timestamp(self.started_ns, unit="ns").strftime("%Y-%m-%dT%H:%M:%SZ"),
                "settings": {name: _plain(value) for name, value in vars(self.settings).items()},
                "problem": self.problem,
            },
        )
        results.write(result, self.settings.results)
        self.missing = result.summary["missing"]
        self.state = "complete" if result.summary["complete"] else "incomplete"
        self.problem = self.problem or results.shortfall(result.summary)
        self.environment.process_exit_code = 0 if result.summary["complete"] else 1
        self._fire_missing(result.summary["missing"])
        self._write_progress()
        self.finished = True
        if self.problem:
            logger.error(self.problem)
        logger.info("Results are in %s", self.settings.results)

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


def _plain(value):
    return str(value) if isinstance(value, Path) else value
