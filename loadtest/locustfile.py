"""Broadcast to many WebSocket connections and measure how long it takes to reach all of them.

    locust -f loadtest/locustfile.py --headless --host ws://127.0.0.1:4566/… --users 200 --spawn-rate 50 \\
        --broadcasts 20 --broadcast-rate 1 --speakers 3 --results runs/one

Each user is one connection. All of Locust's own arguments work; `--help` lists the others after them.
"""

import logging
import signal

import gevent
from gevent.event import Event
from locust import User, events, task
from locust.exception import StopUser
from locust.runners import STATE_INIT, MasterRunner, WorkerRunner

from loadtest import arguments, web
from loadtest.coordinator import Coordinator
from loadtest.generator import Generator

logger = logging.getLogger(__name__)

events.init_command_line_parser.add_listener(arguments.add)


@events.init.add_listener
def set_up(environment, runner, web_ui, **_):
    """Every process with users has a generator; the process that Locust is steered from has a coordinator."""
    interruption = Interruption(runner)
    # The coordinator comes first: told that the test stops, it waits for deliveries, which the generator still takes.
    coordinator = None if isinstance(runner, WorkerRunner) else Coordinator(environment)
    if not isinstance(runner, MasterRunner):
        ChatUser.generator = Generator(environment)
    if coordinator:
        coordinator.prepare()
        if web_ui:
            web.refuse_other_sites(web_ui)
            web.extend(web_ui, coordinator)
    environment.events.quitting.add_listener(interruption.shut_down_once)  # the last to be added is told first


class Interruption:
    """SIGINT (Ctrl-C) and SIGTERM end the test, once, and in Locust's main greenlet, which waits for that.

    Left to themselves, Ctrl-C would be raised in whatever runs and could lose a delivery; SIGTERM would end a test with
    a load shape before anything is written; a second signal would break off the writing of the results.
    """

    def __init__(self, runner):
        self.runner, self.headless = runner, runner.environment.parsed_options.headless
        self.over = False
        hub = gevent.get_hub()
        hub.NOT_ERROR += (KeyboardInterrupt,)  # no traceback
        self.main = hub.parent
        for number in (signal.SIGINT, signal.SIGTERM):
            gevent.signal_handler(number, self.interrupt)

    def interrupt(self):
        if self.over:
            return
        self.over = True
        if isinstance(self.runner, MasterRunner) and self.headless and self.runner.state == STATE_INIT:
            # Locust still waits for its workers, where it does not expect to be interrupted.
            logger.error("The test was stopped before it began.")
            self.runner.quit()
            raise SystemExit(1)
        raise KeyboardInterrupt  # which gevent hands to the main greenlet

    def shut_down_once(self, **_):
        """Let only the main greenlet shut down. Locust's own handler of SIGTERM, in another, waits for the end."""
        self.over = True
        if gevent.getcurrent() is not self.main:
            Event().wait()


class ChatUser(User):
    """One connection to the chat. The broadcasts are sent by the generator, on connections that it chooses."""

    generator: Generator

    @task
    def listen(self):
        """Connect, then record every delivery until the connection closes; only one that left (--churn) comes again."""
        part = self.generator.part()
        connection = record = None
        try:
            with self.environment.events.request.measure("WS", "connect") as request:
                try:
                    connection, record = part.connect(self.host)
                except Exception as error:
                    request["exception"] = error
            if connection:
                connection.closed.wait()
            if not (record and record.left):
                part.over.wait()
                raise StopUser  # and not begin again while the test ends
        finally:
            if connection:  # Locust wants fewer users, or the test is over
                part.connections.leave(connection, record)
