"""The coordinator, in the process that Locust is steered from: how a test begins and ends, and what is told of it."""

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pandas as pd
from gevent.event import Event
from locust.env import Environment
from locust.runners import MasterRunner

from loadtest import clock, protocol, results, shapes
from loadtest.arguments import Settings
from loadtest.connection import describe
from loadtest.run import TestAborted, TestRun

logger = logging.getLogger(__name__)

WATCH_S = 0.5
"""Between two looks of those who watch a test."""


class Coordinator:
    """Leads one test after another, each from its first connection to its results on disk."""

    def __init__(self, environment: Environment):
        self.environment = environment
        self.runner = environment.runner
        self.run: TestRun | None = None
        self.finishing = True
        self.finished = Event()
        """Set unless a test is under way: reports are taken until then."""
        self.finished.set()
        self.live: dict = {}
        for kind, listener in {
            protocol.Progress: lambda progress: self._of_run(progress) and self.run.collector.add_progress(progress),
            protocol.Deliveries: lambda told: self._of_run(told) and self.run.collector.add_deliveries(told),
            protocol.Account: lambda account: self._of_run(account) and self.run.collector.add_account(account),
            protocol.Failed: lambda failed: self._of_run(failed) and self.run.abort(failed.reason),
            protocol.Ping: self._on_ping,
        }.items():
            protocol.listen(self.runner, kind, listener, self._on_message_error)
        environment.events.worker_connect.add_listener(self._on_worker_connect)
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stopping.add_listener(self._on_stop)
        environment.events.quitting.add_listener(self._on_stop)

    # Before a test

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

    # A test's beginning and end

    def _on_test_start(self, **_) -> None:
        self.finishing = False
        self.finished.clear()
        self.run, refusal = None, None
        try:
            settings = self._settings()
            results.prepare(settings.results)
            self.run = TestRun(self.environment, settings, self._connection_rate(settings))
            self.run.start()
        except ValueError as error:
            refusal = str(error)
        self._conductor = gevent.spawn(self._conduct, refusal)
        gevent.spawn(self._watch)

    def _conduct(self, refusal: str | None) -> None:
        if refusal:
            self._refuse(refusal)
        else:
            self._guard(self.run.lead)
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

    def _refuse(self, reason: str) -> None:
        self.live = {"state": "refused", "message": reason}
        logger.error(reason)
        self.environment.process_exit_code = 1
        self.finishing = True
        self.finished.set()

    def _guard(self, step: Callable[[], None]) -> None:
        """Do a part of a test; what goes wrong in it ends the test, but not what comes after this part."""
        try:
            step()
        except TestAborted as reason:
            self.run.abort(str(reason))
        except Exception as error:
            self._on_own_error(error)

    def _on_message_error(self, error: Exception) -> None:
        """A message could not be read, or not dealt with. The first time ends the test."""
        if self.run is None or self.run.problem:
            return
        if isinstance(error, protocol.ProtocolError):
            self.run.abort(str(error))
        else:
            self._on_own_error(error)

    def _on_own_error(self, error: Exception) -> None:
        """An error of the load test's own ends the test, which is told; what it has measured until then is kept."""
        logger.error("The load test failed.", exc_info=error)
        self.run.abort(f"The load test failed by an error of its own: {type(error).__name__}: {describe(error)}")

    def _on_stop(self, **_) -> None:
        """Somebody else ends the test: Ctrl-C, --run-time, Locust's stop button."""
        if self.run:
            self.run.stopped = True
        if not self.finishing:
            self._conductor.kill()
            if self.run:
                self.run.abort("The test was stopped before its end.")
                self.run.halt()
        self._finish()

    def _finish(self) -> None:
        """Collect what there is and write it. Happens once, whoever asks; who asks again waits for it."""
        if self.finishing:
            self.finished.wait()
            return
        self.finishing = True
        self.environment.process_exit_code = 1
        try:
            if self.run:
                for step in (self.run.collect, self.run.leave, self._conclude):
                    self._guard(step)
                if self.run.problem:
                    logger.error(self.run.problem)
                else:
                    self.environment.process_exit_code = 0
        finally:
            self.finished.set()

    def _conclude(self) -> None:
        """Write the results, and say what is to be said about them."""
        run = self.run
        try:
            result = run.result()
        except Exception as error:
            self._on_own_error(error)
            self._write(run.collector.records())
            return
        run.state = "complete" if result.summary["complete"] else "incomplete"
        run.problem = run.problem or results.shortfall(result.summary)
        folder = self._write(result.tables(), result.summary)
        self._write_progress(0.0, result.summary["missing"])
        self._fire_missing(result.summary["missing"])
        for warning in result.summary["verdict"]["warnings"]:
            logger.warning(warning)
        if folder:
            logger.info("Results are in %s", folder)

    def _write(self, tables: dict[str, pd.DataFrame], summary: dict | None = None) -> Path | None:
        """Where the results are: in their folder or, if that can't be written any more, in a temporary one."""
        wanted = self.run.settings.results
        try:
            results.write(wanted, tables, summary)
            return wanted
        except OSError as error:
            self.run.problem = f"The results could not be written to {wanted}: {error.strerror}."
        try:
            folder = Path(tempfile.mkdtemp(prefix="loadtest-"))
            results.write(folder, tables, summary)
        except OSError:
            return None
        self.run.problem += f" They are in {folder}."
        return folder

    # What the generators tell

    def _of_run(self, message) -> bool:
        """Whether a report is of the test that is under way."""
        return self.run is not None and not self.finished.is_set() and message.run == self.run.id

    def _on_ping(self, ping: protocol.Ping) -> None:
        protocol.send(self.runner, protocol.Pong(ping.asked_ns, clock.now_ns()), ping.client)

    def _on_worker_connect(self, client_id: str, **_) -> None:
        if self.run and not self.finishing:
            self.run.start(joining=client_id)

    # What is told of it

    def _watch(self) -> None:
        delivered, seen_at = 0, time.monotonic()
        while not self.finishing:
            gevent.sleep(WATCH_S)
            if self.run:
                now, total = time.monotonic(), self.run.collector.total("delivered")
                rate, delivered, seen_at = (total - delivered) / (now - seen_at), total, now
                self._write_progress(rate)

    def _write_progress(self, deliveries_per_s: float, missing: int | None = None) -> None:
        """The state of the test as the small file that `loadtest.live` reads, replaced in one piece."""
        run, told = self.run, self.run.collector
        self.live = {
            "pid": os.getpid(),
            "state": run.state,
            "users": run.settings.phases[-1],
            "broadcasts": run.settings.broadcasts_in_all,
            **{
                name: told.total(name)
                for name in ("open", "opened", "failed", "refused", "sent", "expected", "delivered")
            },
            "deliveries_per_s": round(deliveries_per_s, 1),
            "p50_ms": told.latency_ms(50),
            "p99_ms": told.latency_ms(99),
            "outstanding": max(0, told.total("outstanding")),
            "missing": missing,
            "message": run.problem or "",
        }
        path = run.settings.results / "progress.json"
        try:
            path.with_suffix(".tmp").write_text(json.dumps(self.live))
            os.replace(path.with_suffix(".tmp"), path)
        except OSError:
            pass  # a full disk, say: the test goes on, and its end tells if that can't be written either

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
