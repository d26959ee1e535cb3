"""Broadcast to many WebSocket connections and measure how long it takes to reach all of them.

    locust -f loadtest/locustfile.py --headless --host ws://127.0.0.1:4566/… --users 200 --spawn-rate 50 \\
        --broadcasts 20 --broadcast-rate 1 --speakers 3 --results runs/one

Each user is one connection. All of Locust's own arguments work; `--help` lists the others after them.
"""

import signal

import gevent
from locust import User, events, task
from locust.runners import MasterRunner, WorkerRunner

from loadtest import arguments, web
from loadtest.coordinator import Coordinator
from loadtest.generator import Generator

events.init_command_line_parser.add_listener(arguments.add)


@events.init.add_listener
def set_up(environment, runner, web_ui, **_):
    """Every process with users has a generator; the process that Locust is steered from has a coordinator."""
    gevent.signal_handler(signal.SIGINT, interrupt)
    gevent.get_hub().NOT_ERROR += (KeyboardInterrupt,)  # no traceback on Ctrl-C
    if not isinstance(runner, MasterRunner):
        ChatUser.generator = Generator(environment)
    if not isinstance(runner, WorkerRunner):
        coordinator = Coordinator(environment)
        coordinator.prepare()
        if web_ui:
            web.extend(web_ui, coordinator)


def interrupt():
    """Hand Ctrl-C to Locust's main greenlet, which waits for it, and not to what runs now: a delivery might be lost."""
    raise KeyboardInterrupt


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

    def on_stop(self):
        if self.connection:
            self.connection.close()
