"""The coordinator, in the process from which Locust is steered: it begins tests, and hands them what generators say."""

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TypeVar

import gevent
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from loadtest import clock, connection, exchange, protocols, results
from loadtest.arguments import Settings
from loadtest.lifecycle import LoadTest, Ramp, Steps
from loadtest.results import Json

logger = logging.getLogger(__name__)

FromGenerator = TypeVar("FromGenerator", exchange.Progress, exchange.Deliveries, exchange.Snapshot, exchange.Failed)


class Coordinator:
    """Begins a test when Locust starts one, hands it the generators' messages, and ends it when Locust stops."""

    def __init__(self, environment: Environment, runner: LocalRunner | MasterRunner, options: Namespace) -> None:
        self._environment = environment
        self._runner = runner
        self._options = options
        self._host = options.host  # of the command line; the web page's form overwrites the option
        self._test: LoadTest | None = None
        self._refusal: Json = {}
        self._listen(exchange.Progress, lambda test, progress: test.collector.add_progress(progress))
        self._listen(exchange.Deliveries, lambda test, deliveries: test.collector.add_deliveries(deliveries))
        self._listen(exchange.Snapshot, lambda test, snapshot: test.collector.add_snapshot(snapshot))
        self._listen(exchange.Failed, lambda test, failed: test.abort(failed.reason))
        exchange.listen(runner, exchange.Ping, self._on_ping, self._on_message_error)
        environment.events.worker_connect.add_listener(self._on_worker_connect)
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stopping.add_listener(self._on_stop)
        environment.events.quitting.add_listener(self._on_stop)

    @property
    def progress(self) -> Json:
        """The newest state of the newest test, as progress.json has it."""
        return self._test.progress if self._test else self._refusal

    # Before a test

    def prepare(self) -> None:
        """Check the arguments, and give Locust the load shape that they name. Exits if they cannot be used."""
        try:
            settings = self._settings()
        except ValueError as error:
            if not self._options.headless or isinstance(self._runner, MasterRunner):
                # The test's start checks again: the web page may correct them, and a master has to end its workers.
                return
            logger.error(error)
            sys.exit(1)
        shape: Ramp | Steps
        if settings.shape == "ramp":
            seconds = float(settings.with_warm_up()[-1])
            shape = Ramp(settings.users, seconds, settings.max_connection_rate)
        elif settings.shape == "steps":
            shape = Steps(settings.steps[0], self._connection_rate(settings))
        else:
            return
        shape.runner = self._runner
        self._environment.shape_class = shape

    def _settings(self) -> Settings:
        # A shape begins with fewer than --users; the runner knows better only if somebody chose them on the web page.
        chosen = 0 if self._environment.shape_class else self._runner.target_user_count
        secret = next(filter(os.environ.get, (connection.QUERY_VARIABLE, protocols.KEY_VARIABLE)), None)
        if secret and self._environment.host != self._host:
            raise ValueError(
                f"{secret} goes to the --host of the command line only, which is "
                f"{self._host or 'not given'}, and not to a host of the web page's form."
            )
        return Settings.from_options(self._options, self._environment.host, chosen or self._options.num_users or 1)

    def _connection_rate(self, settings: Settings) -> float:
        if settings.shape == "ramp":
            return settings.max_connection_rate
        return min(self._options.spawn_rate or 1, settings.max_connection_rate)

    # The beginning and the end of a test

    def _on_test_start(self, **_: object) -> None:
        self._test = None
        try:
            settings = self._settings()
            results.prepare(settings.results)
        except ValueError as error:
            self._refusal = {"state": "refused", "message": str(error)}
            logger.error(error)
            self._environment.process_exit_code = 1
            gevent.spawn(self._end_locust)  # not before Locust has done the rest of its start
            return
        rate = self._connection_rate(settings)
        self._test = LoadTest(self._environment, self._runner, settings, rate, self._end_locust)
        self._test.begin()

    def _on_stop(self, **_: object) -> None:
        if self._test:
            self._test.interrupt()

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

    def _listen(self, kind: type[FromGenerator], handle: Callable[[LoadTest, FromGenerator], None]) -> None:
        """Handle the messages of a kind on the test that is under way."""

        def listener(message: FromGenerator) -> None:
            if self._test and self._test.id == message.test_id and not self._test.is_over:
                handle(self._test, message)

        exchange.listen(self._runner, kind, listener, self._on_message_error)

    def _on_message_error(self, error: Exception) -> None:
        if self._test and not self._test.problem:
            self._test.fail_by(error)

    def _on_ping(self, ping: exchange.Ping) -> None:
        exchange.send(self._runner, exchange.Pong(ping.sent_ns, clock.now_ns()), ping.client_id)

    def _on_worker_connect(self, client_id: str, **_: object) -> None:
        if self._test and not self._test.is_ending:
            self._test.add_worker(client_id)
