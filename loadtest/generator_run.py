"""What one process with connections does in one test."""

import gc
import itertools
import logging
from argparse import Namespace
from collections.abc import Callable
from typing import ParamSpec

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import LocalRunner, WorkerRunner

from loadtest import protocol
from loadtest.connection import Connection, describe
from loadtest.connections import NO_CONNECTION, Connections
from loadtest.outstanding import Outstanding
from loadtest.process_usage import ProcessUsage
from loadtest.receiver import Receiver
from loadtest.records import ConnectionRecord
from loadtest.sender import Sender
from loadtest.synchronisation import Synchronisation
from loadtest.worker_reporter import WorkerReporter

logger = logging.getLogger(__name__)

P = ParamSpec("P")


class GeneratorRun:
    """One test in one process: its connections, its broadcasts, and its reports to the coordinator.

    Args:
        environment: Locust's.
        runner: Locust's.
        options: Locust's parsed options.
        start: the coordinator's message with which the test begins.
    """

    def __init__(
        self, environment: Environment, runner: LocalRunner | WorkerRunner, options: Namespace, start: protocol.Start
    ) -> None:
        self.id = start.run
        self._url = start.url
        self.stopped = Event()
        self._runner = runner
        is_worker = isinstance(runner, WorkerRunner)
        outstanding, usage = Outstanding(), ProcessUsage()
        self._usage = usage
        self.synchronisation = Synchronisation(runner.client_id, self._send, has_master=is_worker)
        self.connections = Connections(
            environment, options, runner.worker_index, start.connection_rate, self.stopped, outstanding
        )
        self.sender = Sender(
            environment, self.id, self.stopped, self.synchronisation.offset, self.connections, outstanding
        )
        self._receiver = Receiver(self.id, self.stopped, self.connections, self.sender, outstanding)
        self.reporter = WorkerReporter(
            environment=environment,
            options=options,
            run=self.id,
            client_id=runner.client_id,
            send=self._send,
            spawn=self._spawn,
            connections=self.connections,
            sender=self.sender,
            receiver=self._receiver,
            outstanding=outstanding,
            synchronisation=self.synchronisation,
            usage=usage,
        )
        for plan in start.plans:
            self.sender.add(plan)
        self._spawn(self.synchronisation.ping, self.stopped)
        self._spawn(self.reporter.report, self.stopped, is_worker)
        self._spawn(self._receiver.read)
        self._spawn(usage.watch_cpu, self.stopped, outstanding)
        self._spawn(self._catch_up, start.plans)

    def _spawn(
        self, activity: Callable[P, object], *arguments: P.args, **named: P.kwargs
    ) -> "gevent.Greenlet[..., None]":
        """Run a function in a greenlet. An error in it ends the test."""

        def guarded() -> None:
            try:
                activity(*arguments, **named)
            except Exception as error:
                self.fail_by(error)

        return gevent.spawn(guarded)

    def _send(self, message: protocol.Message) -> None:
        protocol.send(self._runner, message)

    def fail_by(self, error: Exception) -> None:
        """Tell the coordinator that this process cannot go on because of an error."""
        logger.error("A load generator failed.", exc_info=error)
        reason = f"A load generator failed: {type(error).__name__}: {describe(error)}"
        self._send(protocol.Failed(self.id, self._runner.client_id, reason))

    def stop(self) -> None:
        """End this process's part of the test."""
        self.stopped.set()
        self._receiver.wake()

    # Connections

    def connect(self) -> tuple[Connection, ConnectionRecord]:
        """Open one more connection and record its frames. Raises as `Connections.connect` does."""
        self.synchronisation.done.wait()
        connection, record = self.connections.connect(self._url)
        self._receiver.watch(connection, record)
        return connection, record

    def leave(self) -> None:
        """Close all connections, each in its turn."""
        self._spawn(self.connections.leave_in_turn)

    def leave_at_once(self) -> None:
        """Close all connections from this side. What has arrived until now counts."""
        for connection, record in self.connections.open_with_records():
            self._receiver.handle(connection, record)
            self.connections.leave(connection, record)

    # Broadcasts

    def add_plan(self, plan: protocol.Plan) -> None:
        """Send the broadcasts of one more phase."""
        self.sender.add(plan)
        # With 1,000 connections, a collection of garbage takes a tenth of a second. So it happens now, and from here on
        # the objects that exist are left out of it.
        gc.collect()
        gc.freeze()
        self._usage.measure_memory(self.connections.opened)
        self._spawn(self._follow, plan)

    def _catch_up(self, plans: list[protocol.Plan]) -> None:
        """Go through the plans that are older than this process; broadcasts of the past are over at once."""
        self.synchronisation.done.wait()
        for plan in plans:
            self._follow(plan)

    def _follow(self, plan: protocol.Plan) -> None:
        own = plan.own_speakers.get(self._runner.client_id, [])
        numbers = itertools.islice(self.connections.open, len(own))
        speakers = dict(itertools.zip_longest(own, numbers, fillvalue=NO_CONNECTION))
        staying = set(speakers.values())
        churn = self._spawn(self.connections.churn, plan.churn, plan.seed, staying, self._receiver.handle)
        try:
            self.sender.follow(plan, speakers)
        finally:
            churn.kill()

    def halt(self) -> None:
        """Send no further broadcast."""
        self.sender.halted = True
