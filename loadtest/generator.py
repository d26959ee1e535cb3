"""The load generator, in every process that has connections: it takes part in one test after another."""

import gc
import itertools
import logging
import math
import time
from argparse import Namespace
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import gevent
import numpy as np
import psutil
from gevent.event import Event
from locust.env import Environment
from locust.runners import LocalRunner, WorkerRunner
from numpy.typing import NDArray

from loadtest import clock, exchange, records
from loadtest.connection import Connection
from loadtest.connections import FRAMES_PER_TURN, NO_CONNECTION, Connections, Receiver, Sender, fire
from loadtest.errors import describe
from loadtest.records import ConnectionRecord
from loadtest.storm import POLICIES, STAYING

logger = logging.getLogger(__name__)

FIRST_PINGS, FIRST_PING_S, PING_S = 10, 0.02, 0.5
CPU_WINDOW_S = 1.0
TICK_S = 0.1
HAND_OVER_S = 3.0
"""Between two times at which a worker hands over its records: what it recorded since is lost if it dies."""
FIRE_S = 10.0
"""How long Locust's statistics may take at the end to see the last deliveries."""

COUNTS = ("opened", "departed", "failed", "refused", "due", "delivered", "in_flight")
"""Counts of `Connections` that `Progress` has, too."""

P = ParamSpec("P")
Instruction = TypeVar("Instruction", exchange.Plan, exchange.Halt, exchange.Collect, exchange.Leave)


class Generator:
    """Takes part in one test after another, as the coordinator's messages say."""

    def __init__(self, environment: Environment, runner: LocalRunner | WorkerRunner, options: Namespace) -> None:
        self._environment = environment
        self._runner = runner
        self._options = options
        self.part: Part | None = None
        """In the newest test; None before the first."""
        self._begun = Event()
        """Set while a test is active."""
        exchange.listen(runner, exchange.Start, self._on_start, self._on_error)
        self._listen(exchange.Plan, Part.add_plan)
        self._listen(exchange.Halt, Part.halt)
        self._listen(exchange.Collect, lambda part, _: part.hand_over(final=True))
        self._listen(exchange.Leave, Part.leave)
        exchange.listen(runner, exchange.Pong, self._on_pong, self._on_error)
        environment.events.test_stopping.add_listener(self._on_test_stopping)
        if isinstance(runner, WorkerRunner):
            environment.events.quitting.add_listener(self._on_quitting)

    def active_part(self) -> "Part":
        """This process's part in the active test; waits until the coordinator begins one."""
        while self.part is None or not self._begun.is_set():
            self._begun.wait()
        return self.part

    def _listen(self, kind: type[Instruction], handle: "Callable[[Part, Instruction], None]") -> None:
        """Handle the messages of a kind for the newest test, but not those for an earlier one, which may come late."""

        def listener(message: Instruction) -> None:
            if self.part and self.part.test_id == message.test_id:
                handle(self.part, message)

        exchange.listen(self._runner, kind, listener, self._on_error)

    def _on_start(self, start: exchange.Start) -> None:
        if self.part and self.part.test_id == start.test_id:  # another worker has joined
            self.part.connections.rate = start.connection_rate
            return
        if self.part:
            self.part.stop()
        self.part = Part(self._environment, self._runner, self._options, start)
        self._begun.set()

    def _on_pong(self, pong: exchange.Pong) -> None:
        if self.part:
            self.part.on_pong(pong)

    def _on_error(self, error: Exception) -> None:
        if self.part:
            self.part.fail_by(error)
        else:
            logger.error(error)
            # A master of another version can't read this either, and says so.
            exchange.send(self._runner, exchange.Failed("", str(error)))

    def _on_test_stopping(self, **_: object) -> None:
        self._begun.clear()
        if self.part:
            self.part.stop()

    def _on_quitting(self, **_: object) -> None:
        # A worker that is interrupted by itself gets no Collect any more, and its connections close with it.
        if self.part and not self.part.stopped.is_set():
            self.part.leave_at_once()
            self.part.hand_over(final=True)


class Part:
    """This process's part in one test: its connections, its broadcasts, and what it reports of them.

    A worker gets `options` from the master after the test's beginning, so they are read late.
    """

    def __init__(
        self, environment: Environment, runner: LocalRunner | WorkerRunner, options: Namespace, start: exchange.Start
    ) -> None:
        self.test_id = start.test_id
        self.stopped = Event()
        self._environment, self._runner, self._options = environment, runner, options
        self._is_worker = isinstance(runner, WorkerRunner)
        self._offset = clock.Offset()
        self._synchronised = Event()
        if not self._is_worker:
            self._synchronised.set()
        self.connections = Connections(
            environment, options, runner.worker_index, start.url, start.connection_rate, self.stopped
        )
        self.sender = Sender(environment, self.test_id, self.stopped, self._offset, self.connections)
        self._receiver = Receiver(self.test_id, self.stopped, self.connections, self.sender)
        self._has_finished = False
        self._firing: list[gevent.Greenlet[..., None]] = []
        self._process = psutil.Process()
        self._memory_before_bytes = self._process.memory_info().rss
        self._bytes_per_connection = 0.0
        self._cpu: list[float] = []
        for activity in (self._ping, self._report, self._receiver.read, self._watch_cpu):
            self._spawn(activity)

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

    def fail_by(self, error: Exception) -> None:
        """Tell the coordinator that this process cannot go on because of an error."""
        logger.error("A load generator failed.", exc_info=error)
        reason = f"A load generator failed: {type(error).__name__}: {describe(error)}"
        exchange.send(self._runner, exchange.Failed(self.test_id, reason))

    def stop(self) -> None:
        """End this process's part in the test."""
        self.stopped.set()
        self._receiver.wake()

    # The clock

    def _ping(self) -> None:
        """Ask the master for its time until the test stops, more often at the beginning."""
        while self._is_worker and not self.stopped.is_set():
            exchange.send(self._runner, exchange.Ping(self._runner.client_id, clock.now_ns()))
            self.stopped.wait(PING_S if self._synchronised.is_set() else FIRST_PING_S)

    def on_pong(self, pong: exchange.Pong) -> None:
        """Take the master's answer."""
        self._offset.add(pong.ping_sent_ns, pong.master_ns, clock.now_ns())
        if self._offset.count >= FIRST_PINGS:
            self._synchronised.set()

    # Connections

    def connect(self) -> tuple[Connection, ConnectionRecord]:
        """Open one more connection and record its frames. Raises as `Connections.connect` does."""
        self._synchronised.wait()
        connection, record = self.connections.connect()
        self._receiver.watch(connection, record)
        return connection, record

    def leave(self, _: exchange.Leave) -> None:
        """Close all connections, each in its turn."""
        self._spawn(self.connections.leave_in_turn)

    def leave_at_once(self) -> None:
        """Close all connections from this side. What has arrived until now counts."""
        for connection, record in self.connections.open_with_records():
            self._receiver.handle(connection, record)
            self.connections.leave(connection, record)

    # Broadcasts

    def add_plan(self, plan: exchange.Plan) -> None:
        """Send the broadcasts of one more phase. Those that were due before this process joined are over at once."""
        if plan.first != len(self.sender.intended_ns):
            return  # a worker that joins gets all plans in their order, and may have got one of them before
        self.sender.intended_ns += plan.intended_ns  # before the first of them arrives
        # With 1,000 connections, a collection of garbage takes a tenth of a second. So it happens now, and from here on
        # the objects that exist are left out of it.
        gc.collect()
        gc.freeze()
        if opened := self.connections.opened:
            self._bytes_per_connection = (self._process.memory_info().rss - self._memory_before_bytes) / opened
        self._spawn(self._follow, plan)

    def _follow(self, plan: exchange.Plan) -> None:
        self._synchronised.wait()
        own = plan.own_speakers.get(self._runner.client_id, [])
        numbers = itertools.islice(self.connections.open, len(own))
        speakers = dict(itertools.zip_longest(own, numbers, fillvalue=NO_CONNECTION))
        staying = set(speakers.values())
        churn = self._spawn(self.connections.churn, plan.churn, plan.seed, staying, self._receiver.handle)
        storm = self._spawn(self._drop, plan, staying)
        try:
            self.sender.follow(plan, speakers)
        finally:
            gevent.killall([churn, storm])

    def _drop(self, plan: exchange.Plan, speakers: set[int]) -> None:
        if plan.storm:
            self.sender.sleep_until(plan.drop_ns)
            number = math.ceil(STAYING * len(self.connections.open))
            staying = speakers | set(itertools.islice(self.connections.open, number))
            self.connections.drop(POLICIES[plan.storm], staying, self._receiver.handle)

    def halt(self, _: exchange.Halt) -> None:
        """Send no further broadcast."""
        self.sender.halted = True

    # Reports to the coordinator and to Locust's own statistics

    def _report(self) -> None:
        """Report until the test stops. A worker sends its deliveries seldom, together with all other records."""
        due_s = 0.0
        while not self.stopped.is_set():
            self._send_progress()
            if not self._is_worker and not self._has_finished:
                self._send_deliveries()
            elif self._is_worker and (now_s := time.monotonic()) >= due_s:
                self.hand_over()
                due_s = now_s + HAND_OVER_S
            self.stopped.wait(TICK_S)

    def hand_over(self, final: bool = False) -> None:
        """Send the new deliveries, and the state of all connections and broadcasts.

        Args:
            final: nothing comes after this; wait for Locust's statistics.
        """
        if self._has_finished:
            return
        self._has_finished = final
        self._send_deliveries()
        self._send_snapshot(final)
        self._send_progress()
        if final:
            gevent.joinall(self._firing, timeout=FIRE_S)
            if isinstance(self._runner, WorkerRunner):
                # Otherwise Locust sends the rest when it quits, where its master waits for half a second only.
                self._runner._send_stats()

    def _send_progress(self) -> None:
        connections = self.connections
        exchange.send(
            self._runner,
            exchange.Progress(
                test_id=self.test_id,
                client_id=self._runner.client_id,
                synchronised=self._synchronised.is_set(),
                open=len(connections.open),
                errors=list(itertools.islice((record.error for record in connections.records if record.error), 3)),
                refusals=dict(connections.refusals),
                sending=self.sender.sending,
                sent=self.sender.sent,
                **{name: getattr(connections, name) for name in COUNTS},
            ),
        )

    def _send_deliveries(self) -> None:
        """Send the deliveries since the last time, and show them to Locust's statistics."""
        if not len(self._receiver.log):
            return
        rows = self._receiver.log.take()
        offset_ns = self._offset.at(clock.now_ns())
        intended_ns = np.array(self.sender.intended_ns, dtype=np.int64)[rows["broadcast"]]
        latency_ms = (rows["arrived_ns"].to_numpy() + offset_ns - intended_ns) / 1e6
        self._firing = [greenlet for greenlet in self._firing if not greenlet.dead]
        self._firing.append(self._spawn(self._fire, latency_ms))
        exchange.send(self._runner, exchange.Deliveries(self.test_id, self._runner.client_id, rows, offset_ns))

    def _send_snapshot(self, final: bool) -> None:
        exchange.send(
            self._runner,
            exchange.Snapshot(
                test_id=self.test_id,
                client_id=self._runner.client_id,
                final=final,
                taken_ns=clock.now_ns(),
                connections=records.table("connections", self.connections.records),
                broadcasts=records.table("broadcasts", self.sender.records),
                exchanges=[list(each) for each in self._offset.exchanges],
                refusals=dict(self.connections.refusals),
                error_frames=dict(self._receiver.error_frames),
                cpu=self._cpu,
                bytes_per_connection=self._bytes_per_connection,
            ),
        )

    def _fire(self, latencies_ms: NDArray[np.float64]) -> None:
        for k, latency_ms in enumerate(latencies_ms):
            if k % FRAMES_PER_TURN == 0:
                gevent.idle()
            fire(self._environment, "delivery", float(latency_ms), self._options.payload_bytes)

    def _watch_cpu(self) -> None:
        """Measure the CPU that this process uses while broadcasts are due, until the test stops."""
        while not self.stopped.is_set():
            self._process.cpu_percent()
            due = self.connections.due
            self.stopped.wait(CPU_WINDOW_S)
            if self.connections.due > due:
                self._cpu.append(self._process.cpu_percent() / 100)
