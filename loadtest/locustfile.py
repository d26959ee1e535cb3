"""Broadcast to many WebSocket connections and measure how long it takes to reach all of them.

    locust -f loadtest/locustfile.py --headless --host ws://127.0.0.1:4566/… --users 200 --spawn-rate 50 \\
        --broadcasts 20 --broadcast-rate 1 --speakers 3 --results runs/one

Each user is one connection. All of Locust's own arguments work. docs/loadtest.md lists the others, since Locust answers
`--help` before it loads this file.
"""

import logging
import os
import signal
import sys
from argparse import Namespace

import gevent
from gevent.event import Event
from locust import User, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import STATE_INIT, LocalRunner, MasterRunner, Runner, WorkerRunner
from locust.web import WebUI

from loadtest import arguments, exchange, web
from loadtest.connection import Connection
from loadtest.coordinator import Coordinator
from loadtest.generator import Generator, Part
from loadtest.records import ConnectionRecord

logger = logging.getLogger(__name__)

events.init_command_line_parser.add_listener(arguments.add)
exchange.protect()  # here, before Locust forks the workers of --processes, which have to inherit the secret


def set_up(environment: Environment, runner: Runner, web_ui: WebUI | None, **_: object) -> None:
    """Make a generator in every process with users, and a coordinator in the process from which Locust is steered."""
    options = environment.parsed_options
    if options is None:
        raise RuntimeError("The load test takes its arguments from Locust's command line: run it with `locust`.")
    if problem := unprotected(runner, options):
        logger.error(problem)
        sys.exit(1)
    interruption = Interruption(runner, options.headless)
    # The coordinator comes first: when the test stops, it waits for deliveries, which the generator still receives.
    steered = runner if isinstance(runner, LocalRunner | MasterRunner) else None
    coordinator = Coordinator(environment, steered, options) if steered else None
    if isinstance(runner, LocalRunner | WorkerRunner):
        ChatUser.generator = Generator(environment, runner, options)
    if coordinator:
        coordinator.prepare()
        if web_ui:
            web.extend(web_ui, coordinator)
    # Locust calls the listeners of this event in reverse order, so this one is the first.
    environment.events.quitting.add_listener(interruption.shut_down_once)


events.init.add_listener(set_up)


def unprotected(runner: Runner, options: Namespace) -> str | None:
    """What would let other people steer this test, in one sentence; None if nothing would."""
    if isinstance(runner, MasterRunner) and not options.processes and not os.environ.get(exchange.SECRET_VARIABLE):
        variable = exchange.SECRET_VARIABLE
        return f"Set {variable} to a long secret in the environment of the master and of each of its workers."
    if options.web_base_path != arguments.PAGE_PATH:
        return (
            "Leave out --web-base-path: the load test sets one that nobody can guess, so that nobody else starts one."
        )
    return None


class Interruption:
    """Lets SIGINT (Ctrl-C) and SIGTERM end the test once, and in Locust's main greenlet, which waits for the end.

    Otherwise, Ctrl-C would be raised in any greenlet and could lose a delivery; SIGTERM would end a test with a load
    shape before anything is written; a second signal would break off the writing of the results.
    """

    def __init__(self, runner: Runner, headless: bool) -> None:
        self._runner, self._headless = runner, headless
        self._interrupted = False
        hub = gevent.get_hub()
        hub.NOT_ERROR += (KeyboardInterrupt,)  # no traceback
        self._main = hub.parent
        for number in (signal.SIGINT, signal.SIGTERM):
            gevent.signal_handler(number, self._interrupt)

    def _interrupt(self) -> None:
        if self._interrupted:
            return
        self._interrupted = True
        if isinstance(self._runner, MasterRunner) and self._headless and self._runner.state == STATE_INIT:
            # Locust still waits for its workers, and does not expect to be interrupted there.
            logger.error("The test was stopped before it began.")
            self._runner.quit()
            raise SystemExit(1)
        raise KeyboardInterrupt  # which gevent raises in the main greenlet

    def shut_down_once(self, **_: object) -> None:
        """Let only the main greenlet shut down: Locust's own handler of SIGTERM, in another greenlet, waits here."""
        self._interrupted = True
        if gevent.getcurrent() is not self._main:
            Event().wait()


class ChatUser(User):
    """One connection to the chat. The generator sends the broadcasts, on connections that it chooses."""

    generator: Generator

    @task
    def listen(self) -> None:
        """Connect, and record every delivery until the connection closes. After --churn or a --storm, connect again."""
        part = self.generator.active_part()
        if connected := self._connect(part):
            connection, record = connected
            try:
                connection.closed.wait()
            finally:  # Locust wants fewer users, or the test is over
                part.connections.leave(connection, record)
            if record.left:
                return
        part.stopped.wait()
        raise StopUser  # otherwise Locust would call this again while the test ends

    def _connect(self, part: Part) -> tuple[Connection, ConnectionRecord] | None:
        """The open connection and its record; None if that failed. Locust's statistics show both."""
        with self.environment.events.request.measure("WS", "connect") as request:
            try:
                return part.connect()
            except Exception as error:
                request["exception"] = error
        return None
