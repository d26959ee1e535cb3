"""Broadcast to many WebSocket connections and measure how long it takes to reach all of them.

    locust -f loadtest/locustfile.py --headless --host ws://127.0.0.1:4566/… --users 200 --spawn-rate 50 \\
        --broadcasts 20 --broadcast-rate 1 --speakers 3 --results runs/one

Each user is one connection. All of Locust's own arguments work; `--help` lists the others after them.
"""

import signal

import gevent
from gevent.event import Event
from locust import User, events, task
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from loadtest import arguments, web
from loadtest.coordinator import Coordinator
from loadtest.generator import Generator

events.init_command_line_parser.add_listener(arguments.add)


@events.init.add_listener
def set_up(environment, runner, web_ui, **_):
    """Every process with users has a generator; the process that Locust is steered from has a coordinator."""
    interruption = Interruption()
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

    def __init__(self):
        self.over = False
        hub = gevent.get_hub()
        hub.NOT_ERROR += (KeyboardInterrupt,)  # no traceback
        self.main = hub.parent
        for number in (signal.SIGINT, signal.SIGTERM):
            gevent.signal_handler(number, self.interrupt)

    def interrupt(self):
        if not self.over:
            self.over = True
            raise KeyboardInterrupt  # which gevent hands to the main greenlet

    def shut_down_once(self, **_):
        """Let only the main greenlet shut down. Locust's own handler of SIGTERM, in another, waits for the end."""
        self.over = True
        if gevent.getcurrent() is not self.main:
            Event().wait()


class ChatUser(User):
    """One connection to the chat. The broadcasts are sent by the generator, on connections that it chooses."""

    generator: Generator
    connection = None

    @task
    def listen(self):
        """Connect, then record every delivery until the connection closes; only one that left (--churn) comes again."""
        self.connection = record = None
        try:
            with self.environment.events.request.measure("WS", "connect") as request:
                try:
                    self.connection, record = self.generator.connect(self.host)
                except Exception as error:
                    request["exception"] = error
            if self.connection:
                self.generator.listen(self.connection, record)
        finally:
            if not (record and record.left):
                self.generator.over.wait()
                raise StopUser  # and not begin again while the test ends

    def on_stop(self):
        if self.connection:
            self.connection.close()
