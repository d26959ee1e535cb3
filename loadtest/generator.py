"""The load generator, in every process that has connections: its part of a test, and what the coordinator is told."""

import gc
import itertools
import logging
import time
from collections.abc import Callable

import gevent
import numpy as np
import psutil
from gevent.event import Event
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtest import clock, protocol, records
from loadtest.connection import Connection, describe
from loadtest.connections import NO_CONNECTION, Connections
from loadtest.outstanding import Outstanding
from loadtest.receiver import FRAMES_AT_ONCE, Receiver
from loadtest.records import ConnectionRecord
from loadtest.sender import Sender

logger = logging.getLogger(__name__)

TICK_S = 0.25
HAND_OVER_S = 3.0
"""Between two times that a worker hands over what it has: so much is lost if it dies."""
CPU_WINDOW_S = 1.0
FIRST_PINGS, FIRST_PING_S, PING_S = 10, 0.02, 0.5
FIRE_S = 10.0
"""How long Locust's statistics may take at the end to see the last deliveries."""


class Generator:
    """Takes part in one test after another, as the coordinator says."""

    def __init__(self, environment: Environment):
        self._environment = environment
        self._part: Part | None = None
        self._begun = Event()
        """Set while a test is under way."""
        for kind, listener in {
            protocol.Start: self._on_start,
            protocol.Plan: lambda plan: self._part and self._part.follow(plan),
            protocol.Halt: lambda _: self._part and self._part.halt(),
            protocol.Collect: lambda _: self._part and self._part.hand_over(final=True),
            protocol.Leave: lambda _: self._part and self._part.leave(),
            protocol.Pong: lambda pong: self._part and self._part.on_pong(pong),
        }.items():
            protocol.listen(environment.runner, kind, listener, self._on_error)
        environment.events.test_stopping.add_listener(self._on_test_stopping)
        if isinstance(environment.runner, WorkerRunner):
            environment.events.quitting.add_listener(self._on_quitting)

    def part(self) -> "Part":
        """This process's part of the test that is under way; waits for the coordinator's word that one is."""
        self._begun.wait()
        return self._part

    def _on_start(self, start: protocol.Start) -> None:
        if self._part and self._part.run == start.run:  # another worker has joined
            self._part.connections.rate = start.connection_rate
            return
        if self._part:
            self._part.end()
        self._part = Part(self._environment, start)
        self._begun.set()

    def _on_error(self, error: Exception) -> None:
        if self._part:
            self._part.fail_by(error)
        else:
            logger.error(error)

    def _on_test_stopping(self, **_) -> None:
        self._begun.clear()
        if self._part:
            self._part.end()

    def _on_quitting(self, **_) -> None:
        # A worker that is interrupted by itself will not be asked any more, and its connections close with it.
        if self._part and not self._part.over.is_set():
            self._part.leave_at_once()
            self._part.hand_over(final=True)


class Part:
    """What one process does in one test."""

    def __init__(self, environment: Environment, start: protocol.Start):
        self.over = Event()
        self._environment = environment
        self._runner = environment.runner
        self.run = start.run
        self._is_worker = isinstance(self._runner, WorkerRunner)
        self._offset = clock.Offset()
        self._synchronised = Event()
        self._outstanding = Outstanding()
        self.connections = Connections(environment, start.connection_rate, self.over, self._outstanding)
        self._sender = Sender(environment, start.run, self.over, self._offset, self.connections, self._outstanding)
        self._receiver = Receiver(start.run, self.over, self.connections, self._sender, self._outstanding)
        self._collected = False
        self._cpu: list[float] = []
        self._memory_bytes = psutil.Process().memory_info().rss
        self._bytes_per_connection = 0.0
        self._firing: list[gevent.Greenlet] = []
        for plan in start.plans:
            self._sender.add(plan)
        if self._is_worker:
            self._spawn(self._ping)
        else:
            self._synchronised.set()
        for activity in (self._tick, self._receiver.read, self._watch_cpu):
            self._spawn(activity)
        self._spawn(self._catch_up, start.plans)

    def _spawn(self, activity: Callable, *arguments) -> gevent.Greenlet:
        """Do something beside the rest; what goes wrong in it ends the test."""

        def guarded() -> None:
            try:
                activity(*arguments)
            except Exception as error:
                self.fail_by(error)

        return gevent.spawn(guarded)

    def fail_by(self, error: Exception) -> None:
        """Tell the coordinator that this process cannot go on because of an error."""
        logger.error("A load generator failed.", exc_info=error)
        reason = f"A load generator failed: {type(error).__name__}: {describe(error)}"
        self._send(protocol.Failed(self.run, self._runner.client_id, reason))

    def end(self) -> None:
        """The test is over."""
        self.over.set()
        self._receiver.stop()

    def _send(self, message) -> None:
        protocol.send(self._runner, message)

    # Connections

    def connect(self, url: str) -> tuple[Connection, ConnectionRecord]:
        """Open one more connection and record what comes on it. Raises as `Connections.connect` does."""
        self._synchronised.wait()
        connection, record = self.connections.connect(url)
        self._receiver.watch(connection, record)
        return connection, record

    def leave(self) -> None:
        """Let all connections go, in their turn."""
        self._spawn(self.connections.leave_in_turn)

    def leave_at_once(self) -> None:
        """Close all connections from this side. What they have received until now counts."""
        for connection, record in self.connections.open_with_records():
            self._receiver.handle(connection, record)
            self.connections.leave(connection, record)

    # Broadcasts

    def follow(self, plan: protocol.Plan) -> None:
        """Send the broadcasts of one more phase."""
        self._sender.add(plan)
        # A pass over all objects takes a tenth of a second with 1,000 connections. Now is the time; from here on what
        # there is needs no looking at.
        gc.collect()
        gc.freeze()
        if self.connections.opened:
            grown = psutil.Process().memory_info().rss - self._memory_bytes
            self._bytes_per_connection = grown / self.connections.opened
        self._spawn(self._follow, plan)

    def _catch_up(self, plans: list[protocol.Plan]) -> None:
        """Go through the plans that are older than this process; what is past in them passes at once."""
        self._synchronised.wait()
        for plan in plans:
            self._follow(plan)

    def _follow(self, plan: protocol.Plan) -> None:
        own = plan.own_speakers.get(self._runner.client_id, [])
        numbers = itertools.islice(self.connections.open, len(own))
        speakers = dict(itertools.zip_longest(own, numbers, fillvalue=NO_CONNECTION))
        staying = set(speakers.values())
        churn = self._spawn(self.connections.churn, plan.churn, plan.seed, staying, self._receiver.handle)
        try:
            self._sender.follow(plan, speakers)
        finally:
            churn.kill()

    def halt(self) -> None:
        """Send nothing more."""
        self._sender.halted = True

    # The clock, of a worker only: a local process has the coordinator's

    def _ping(self) -> None:
        while not self.over.is_set():
            self._send(protocol.Ping(self._runner.client_id, clock.now_ns()))
            self.over.wait(PING_S if self._synchronised.is_set() else FIRST_PING_S)

    def on_pong(self, pong: protocol.Pong) -> None:
        """An exchange about the time is complete."""
        self._offset.add(pong.asked_ns, pong.answered_ns, clock.now_ns())
        if self._offset.count >= FIRST_PINGS:
            self._synchronised.set()

    # Reports

    def _tick(self) -> None:
        due = 0.0
        while not self.over.is_set():
            self._tell_progress()
            if not self._is_worker:
                self._tell_deliveries()
            elif (now := time.monotonic()) >= due:
                self.hand_over()
                due = now + HAND_OVER_S
            self.over.wait(TICK_S)

    def _watch_cpu(self) -> None:
        """Note this process's share of one core, second by second, while broadcasts are under way."""
        process = psutil.Process()
        while not self.over.is_set():
            process.cpu_percent()
            due = self._outstanding.due
            self.over.wait(CPU_WINDOW_S)
            if self._outstanding.due > due:
                self._cpu.append(process.cpu_percent() / 100)

    def hand_over(self, final: bool = False) -> None:
        """Tell the coordinator all that it has not been told, and what connections and broadcasts have come to.

        Args:
            final: there is nothing to come after this; Locust's statistics are waited for.
        """
        if self._collected:
            return
        self._collected = final
        self._tell_deliveries()
        self._tell_account(final)
        self._tell_progress()
        if final:
            gevent.joinall(self._firing, timeout=FIRE_S)

    def _tell_progress(self) -> None:
        connections, outstanding = self.connections, self._outstanding
        self._send(
            protocol.Progress(
                run=self.run,
                client=self._runner.client_id,
                synchronised=self._synchronised.is_set(),
                open=len(connections.open),
                opened=connections.opened,
                left=connections.left,
                failed=connections.failed,
                refused=connections.refused,
                errors=list(itertools.islice((record.error for record in connections.records if record.error), 3)),
                refusals=dict(connections.refusals),
                due=outstanding.due,
                sending=self._sender.sending,
                sent=self._sender.sent,
                expected=outstanding.expected,
                delivered=outstanding.delivered,
                outstanding=outstanding.count,
            )
        )

    def _tell_deliveries(self) -> None:
        """Tell the deliveries since the last time. Shows them to Locust's statistics on the way."""
        if not len(self._receiver.log):
            return
        rows = self._receiver.log.take()
        offset_ns = self._offset.at(clock.now_ns())
        intended_ns = np.array(self._sender.intended_ns, dtype=np.int64)[rows["broadcast"]]
        latency_ms = (rows["arrived_ns"].to_numpy() + offset_ns - intended_ns) / 1e6
        self._firing = [greenlet for greenlet in self._firing if not greenlet.dead]
        self._firing.append(self._spawn(self._fire, latency_ms))
        self._send(protocol.Deliveries(self.run, self._runner.client_id, rows, offset_ns))

    def _tell_account(self, final: bool) -> None:
        self._send(
            protocol.Account(
                run=self.run,
                client=self._runner.client_id,
                final=final,
                reported_ns=clock.now_ns(),
                connections=records.table("connections", self.connections.records),
                broadcasts=records.table("broadcasts", self._sender.broadcasts),
                exchanges=[list(exchange) for exchange in self._offset.exchanges],
                refusals=dict(self.connections.refusals),
                error_frames=dict(self._receiver.error_frames),
                cpu=self._cpu,
                bytes_per_connection=self._bytes_per_connection,
            )
        )

    def _fire(self, latencies_ms: np.ndarray) -> None:
        payload_bytes = self._environment.parsed_options.payload_bytes
        for k, latency_ms in enumerate(latencies_ms):
            if k % FRAMES_AT_ONCE == 0:
                gevent.idle()
            self._environment.events.request.fire(
                request_type="WS",
                name="delivery",
                response_time=float(latency_ms),
                response_length=payload_bytes,
                exception=None,
                context={},
            )
