"""The load generator, in every process that has connections: it takes part in one test after another."""

import logging
from argparse import Namespace
from collections.abc import Callable
from typing import TypeVar

from gevent.event import Event
from locust.env import Environment
from locust.runners import LocalRunner, WorkerRunner

from loadtest import protocol
from loadtest.generator_run import GeneratorRun

logger = logging.getLogger(__name__)

Order = TypeVar("Order", protocol.Plan, protocol.Halt, protocol.Collect, protocol.Leave)


class Generator:
    """Takes part in one test after another, as the coordinator's messages say."""

    def __init__(self, environment: Environment, runner: LocalRunner | WorkerRunner, options: Namespace) -> None:
        self._environment = environment
        self._runner = runner
        self._options = options
        self.run: GeneratorRun | None = None
        """The newest test; None before the first."""
        self._active: GeneratorRun | None = None
        self._begun = Event()
        """Set while a test is active."""
        protocol.listen(runner, protocol.Start, self._on_start, self._on_error)
        self._listen(protocol.Plan, GeneratorRun.add_plan)
        self._listen(protocol.Halt, lambda run, _: run.halt())
        self._listen(protocol.Collect, lambda run, _: run.reporter.hand_over(final=True))
        self._listen(protocol.Leave, lambda run, _: run.leave())
        protocol.listen(runner, protocol.Pong, self._on_pong, self._on_error)
        environment.events.test_stopping.add_listener(self._on_test_stopping)
        if isinstance(runner, WorkerRunner):
            environment.events.quitting.add_listener(self._on_quitting)

    def active_run(self) -> GeneratorRun:
        """This process's part of the active test; waits until the coordinator begins one."""
        while (run := self._active) is None:
            self._begun.wait()
        return run

    def _listen(self, kind: type[Order], handle: Callable[[GeneratorRun, Order], None]) -> None:
        """Let the newest test handle the messages of a kind, but not those of an earlier one, which may come late."""

        def listener(message: Order) -> None:
            if self.run and self.run.id == message.run:
                handle(self.run, message)

        protocol.listen(self._runner, kind, listener, self._on_error)

    def _on_start(self, start: protocol.Start) -> None:
        if self.run and self.run.id == start.run:  # another worker has joined
            self.run.connections.rate = start.connection_rate
            return
        if self.run:
            self.run.stop()
        self.run = self._active = GeneratorRun(self._environment, self._runner, self._options, start)
        self._begun.set()

    def _on_pong(self, pong: protocol.Pong) -> None:
        if self.run:
            self.run.synchronisation.on_pong(pong)

    def _on_error(self, error: Exception) -> None:
        if self.run:
            self.run.fail_by(error)
        else:
            logger.error(error)

    def _on_test_stopping(self, **_: object) -> None:
        self._active = None
        self._begun.clear()
        if self.run:
            self.run.stop()

    def _on_quitting(self, **_: object) -> None:
        # A worker that is interrupted by itself gets no Collect any more, and its connections close with it.
        if self.run and not self.run.stopped.is_set():
            self.run.leave_at_once()
            self.run.reporter.hand_over(final=True)
