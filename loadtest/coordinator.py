"""The coordinator, in the process from which Locust is steered: it begins one test after another."""

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TypeVar

import gevent
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from loadtest import clock, connection, protocol, results, shapes
from loadtest.arguments import Settings
from loadtest.run import TestRun
from loadtest.session import Session

logger = logging.getLogger(__name__)

Report = TypeVar("Report", protocol.Progress, protocol.Deliveries, protocol.WorkerReport, protocol.Failed)


class Coordinator:
    """Begins a test when Locust starts one, hands it the generators' reports, and ends it when Locust stops.

    Args:
        environment: Locust's.
        runner: Locust's.
        options: Locust's parsed options.
    """

    def __init__(self, environment: Environment, runner: LocalRunner | MasterRunner, options: Namespace) -> None:
        self._environment = environment
        self._runner = runner
        self._options = options
        self._host = options.host  # of the command line; the web page's form overwrites the option
        self._checked: Settings | None = None  # what `prepare` has checked for the test that begins by itself
        self._session: Session | None = None
        self._refusal: dict[str, object] = {}
        self._listen(protocol.Progress, lambda run, progress: run.collector.add_progress(progress))
        self._listen(protocol.Deliveries, lambda run, deliveries: run.collector.add_deliveries(deliveries))
        self._listen(protocol.WorkerReport, lambda run, report: run.collector.add_worker_report(report))
        self._listen(protocol.Failed, lambda run, failed: run.abort(failed.reason))
        protocol.listen(runner, protocol.Ping, self._on_ping, self._on_message_error)
        environment.events.worker_connect.add_listener(self._on_worker_connect)
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stopping.add_listener(self._on_stop)
        environment.events.quitting.add_listener(self._on_stop)

    @property
    def progress(self) -> dict[str, object]:
        """The newest state of the newest test, as progress.json has it."""
        return self._session.progress if self._session else self._refusal

    # Before a test

    def prepare(self) -> None:
        """Check the arguments, and give Locust the load shape that they name. Exits if they cannot be used."""
        headless = self._options.headless
        try:
            settings = self._settings()
        except ValueError as error:
            if not headless or isinstance(self._runner, MasterRunner):
                # The test's start checks again: the web page may correct them, and a master has to end its workers.
                return
            logger.error(error)
            sys.exit(1)
        if headless:
            self._checked = settings
        shape: shapes.Ramp | shapes.Steps
        if settings.shape == "ramp":
            seconds = float(settings.with_warm_up()[-1])
            shape = shapes.Ramp(settings.users, seconds, settings.max_connection_rate)
        elif settings.shape == "steps":
            shape = shapes.Steps(settings.steps[0], self._connection_rate(settings))
        else:
            return
        shape.runner = self._runner
        self._environment.shape_class = shape

    def _settings(self) -> Settings:
        # A shape begins with fewer than --users; the runner knows better only if somebody chose them on the web page.
        chosen = 0 if self._environment.shape_class else self._runner.target_user_count
        if os.environ.get(connection.QUERY_VARIABLE) and self._environment.host != self._host:
            raise ValueError(
                f"{connection.QUERY_VARIABLE} goes to the --host of the command line only, which is "
                f"{self._host or 'not given'}, and not to a host of the web page's form."
            )
        return Settings.from_options(self._options, self._environment.host, chosen or self._options.num_users or 1)

    def _connection_rate(self, settings: Settings) -> float:
        if settings.shape == "ramp":
            return settings.max_connection_rate
        return min(self._options.spawn_rate or 1, settings.max_connection_rate)

    # The beginning and the end of a test

    def _on_test_start(self, **_: object) -> None:
        self._session = None
        try:
            settings, self._checked = self._checked or self._settings(), None
            results.prepare(settings.results)
        except ValueError as error:
            self._refuse(str(error))
            return
        run = TestRun(self._environment, self._runner, settings, self._connection_rate(settings))
        self._session = Session(self._environment, run, self._end_locust)
        run.start()
        self._session.begin()

    def _refuse(self, reason: str) -> None:
        self._refusal = {"state": "refused", "message": reason}
        logger.error(reason)
        self._environment.process_exit_code = 1
        gevent.spawn(self._end_locust)  # not before Locust has done the rest of its start

    def _on_stop(self, **_: object) -> None:
        if self._session:
            self._session.interrupt()

    def _end_locust(self) -> None:
        """Quit, or stop the users if the web page may start another test."""
        web_ui, options = self._environment.web_ui, self._options
        if web_ui is None:
            self._runner.quit()
            return
        self._runner.stop()
        if options.autostart and options.autoquit != -1:
            gevent.sleep(options.autoquit)
            self._runner.quit()
            web_ui.stop()

    # Messages

    def _listen(self, kind: type[Report], handle: Callable[[TestRun, Report], None]) -> None:
        """Handle the reports of a kind on the test that is under way."""

        def listener(report: Report) -> None:
            if self._session and self._session.is_reporting(report.run):
                handle(self._session.run, report)

        protocol.listen(self._runner, kind, listener, self._on_message_error)

    def _on_message_error(self, error: Exception) -> None:
        if self._session:
            self._session.on_message_error(error)

    def _on_ping(self, ping: protocol.Ping) -> None:
        protocol.send(self._runner, protocol.Pong(ping.sent_ns, clock.now_ns()), ping.client_id)

    def _on_worker_connect(self, client_id: str, **_: object) -> None:
        if self._session and not self._session.finishing:
            self._session.run.start(joining=client_id)
