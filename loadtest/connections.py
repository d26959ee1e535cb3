"""What one process does on its connections during one test: open and close them, send on them, record what arrives."""

import math
import time
from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import gevent
import numpy as np
from gevent.event import Event

from loadtest import clock, messages, protocols, records
from loadtest.connection import RETRY, Closed, Connection, Frame, busy_status
from loadtest.errors import describe
from loadtest.exchange import Plan
from loadtest.records import BroadcastRecord, ConnectionRecord, DeliveryLog
from loadtest.storm import Policy

if TYPE_CHECKING:
    from locust.env import Environment  # not at run time, as in `exchange.send`

NO_CONNECTION = -1
"""The number of the speaking connection if there is none."""
WORKER_STRIDE = 1_000_000
"""The connections of worker w have numbers from w times this, so that a number is unique without any agreement."""
FRAMES_PER_TURN = 16
"""Handling a frame takes some 20 µs, so this many delay a broadcast that is due by less than half a millisecond."""
MAX_FRAMES_OF_ONE = 64
"""This many frames of one connection are handled before others have their turn. Most have one."""
LAST_FRAMES = 1_000
"""This many of a connection's unread frames still count when it leaves. That takes some 20 ms."""
MAX_COPIES = 100_000
"""This many deliveries that nobody expects are recorded; further ones count as foreign. A server could repeat itself
for ever, and a million records take 330 MB when the test ends."""
MAX_ERROR_TEXTS = 10
"""This many different error frames are counted apart: a server could send any number."""


def fire(
    environment: "Environment",
    name: str,
    latency_ms: float | None,
    payload_bytes: int = 0,
    error: Exception | None = None,
) -> None:
    """Show a request in Locust's own statistics."""
    environment.events.request.fire(
        request_type="WS",
        name=name,
        response_time=latency_ms,
        response_length=payload_bytes,
        exception=error,
        context={},
    )


class Connections:
    """Opens connections at a rate, keeps a record of each, and counts what they expect.

    The counts are for the live metrics and for the receiver, which bounds its copies; the results come from the
    records.

    Args:
        worker_index: the number of this process among Locust's workers.
        rate: new connections a second.
        stopped: set when the test is.
    """

    def __init__(
        self, environment: "Environment", options: Namespace, worker_index: int, url: str, rate: float, stopped: Event
    ) -> None:
        self._environment = environment
        self._options = options
        self._worker_index = max(worker_index, 0)
        self._first = self._worker_index * WORKER_STRIDE
        self._url = url
        self.rate = rate
        self._stopped = stopped
        self._next_turn_s = 0.0
        self._return_policy: Policy | None = None
        self.records: list[ConnectionRecord] = []
        self.open: dict[int, Connection] = {}
        self.opened = self.departed = self.failed = self.refused = 0
        self.refusals: Counter[str] = Counter()
        self.due = 0
        """Broadcasts whose time has come."""
        self.delivered = self.in_flight = 0
        """Deliveries."""

    def connect(self) -> tuple[Connection, ConnectionRecord]:
        """Open one more connection when its turn has come; try again if the server has too much to do.

        After a storm there are no turns: it tries as the storm's policy says, until it is let in.
        Raises as `Connection` does, after recording the failure.
        """
        if not self._return_policy:
            self._take_turn()
        record = ConnectionRecord(self._first + len(self.records), started_ns=clock.now_ns())
        self.records.append(record)
        try:
            connection = self._handshake(record)
        except Exception as error:
            record.error = describe(error)
            self.failed += 1
            raise
        except gevent.GreenletExit:
            record.error = "no longer wanted"
            raise
        record.local_port = connection.local_port
        record.opened_ns = clock.now_ns()
        record.due_before = self.due
        self.opened += 1
        self.open[record.connection] = connection
        return connection, record

    def _take_turn(self) -> None:
        now_s = time.monotonic()
        self._next_turn_s = max(now_s, self._next_turn_s + 1 / self.rate)
        gevent.sleep(self._next_turn_s - now_s)

    def _handshake(self, record: ConnectionRecord) -> Connection:
        options, storm = self._options, self._return_policy
        policy, failures = storm or RETRY, int(storm is not None)  # being dropped is the first one
        deadline_s = time.monotonic() + (math.inf if storm else options.retry_time)
        if storm:
            gevent.sleep(storm.pause_s(failures))
        while True:
            record.started_ns = clock.now_ns()
            try:
                protocol = protocols.make(options.protocol, options.channel)
                return Connection(
                    self._url, options.connect_timeout, options.ca_file or None, options.max_message_bytes, protocol
                )
            except Exception as error:
                if (status := busy_status(error)) is None and not storm:
                    raise
                self.refusals[f"status {status}" if status else type(error).__name__] += 1
                failures += 1
                pause_s = policy.pause_s(failures)
                if time.monotonic() + pause_s > deadline_s:
                    raise
                record.refused += 1
                self.refused += 1
                # Locust's statistics also show attempts that will be made again.
                fire(self._environment, "connect", (clock.now_ns() - record.started_ns) / 1e6, error=error)
            gevent.sleep(pause_s)
            if not storm:
                self._take_turn()

    def broadcast_due(self) -> None:
        """A broadcast is sent, here or in another process, and every open connection expects it."""
        self.due += 1
        self.in_flight += len(self.open)

    def spoke(self, number: int, broadcast: int) -> None:
        """A connection has sent a broadcast that does not come back to it, so it does not expect it."""
        if self.arrived(self.records[number - self._first], broadcast):
            self.delivered -= 1

    def arrived(self, record: ConnectionRecord, broadcast: int) -> bool:
        """A connection has received a broadcast; only the first copy counts, and makes this True."""
        bit = 1 << broadcast
        if record.seen & bit or broadcast < record.due_before:
            return False
        record.seen |= bit
        self.delivered += 1
        self.in_flight -= 1
        return True

    def dropped(self, connection: Connection, record: ConnectionRecord, reason: str) -> None:
        """The other side has closed a connection."""
        if record.connection in self.open and not self._stopped.is_set():
            record.error = reason
            self._forget(record)
        connection.close()

    def leave(self, connection: Connection, record: ConnectionRecord) -> None:
        """Close a connection from this side. It counts as departed, except after the end of the test."""
        if record.connection in self.open and not self._stopped.is_set():
            record.left = True
            self.departed += 1
            self._forget(record)
        connection.close()

    def _forget(self, record: ConnectionRecord) -> None:
        del self.open[record.connection]
        record.closed_ns = clock.now_ns()
        self.in_flight -= self.due - record.due_before - record.seen.bit_count()  # it expects nothing more

    def open_with_records(self) -> list[tuple[Connection, ConnectionRecord]]:
        """The open connections, each with its record."""
        return [(connection, self.records[number - self._first]) for number, connection in self.open.items()]

    def churn(
        self, share: float, seed: int, staying: set[int], receive: Callable[[Connection, ConnectionRecord], None]
    ) -> None:
        """Close connections at random times, for ever: on average this share of them a second.

        Args:
            share: 0 for none.
            seed: of the times and the choice.
            staying: numbers of the connections that do not leave.
            receive: called with a connection and its record before it leaves, so that its last deliveries count.
        """
        random = np.random.default_rng((seed, self._worker_index))
        while share:
            gevent.sleep(random.exponential(1 / (share * max(1, len(self.open)))))
            if free := [pair for pair in self.open_with_records() if pair[1].connection not in staying]:
                connection, record = free[int(random.integers(len(free)))]
                receive(connection, record)
                self.leave(connection, record)

    def drop(self, policy: Policy, staying: set[int], receive: Callable[[Connection, ConnectionRecord], None]) -> None:
        """Close all connections at once, as by a lost network; those that replace them come as the policy says.

        Args:
            staying, receive: as for `churn`.
        """
        self._return_policy = policy
        for connection, record in self.open_with_records():
            if record.connection not in staying:
                receive(connection, record)
                self.leave(connection, record)

    def leave_in_turn(self) -> None:
        """Close all connections, as many a second as were opened: a function behind them has as much to do."""
        while self.open and not self._stopped.is_set():
            self._take_turn()
            if self.open:
                self.open.popitem()[1].close()


class Sender:
    """Sends this process's broadcasts on the open connections, each at the time that the coordinator has planned.

    Args:
        test_id: is in each broadcast.
        stopped: set when the test is.
        offset: how far the master's clock is ahead of this process's.
        connections: the speakers are among them.
    """

    def __init__(
        self, environment: "Environment", test_id: str, stopped: Event, offset: clock.Offset, connections: Connections
    ) -> None:
        self._environment = environment
        self._test_id = test_id
        self._stopped = stopped
        self._offset = offset
        self._connections = connections
        self.intended_ns: list[int] = []
        """When each planned broadcast is due, by the master's clock."""
        self.halted = False
        """If set, no further broadcast is sent."""
        self.sending = self.sent = 0
        self.records: list[BroadcastRecord] = []

    def follow(self, plan: Plan, speakers: dict[int, int]) -> None:
        """Send a plan's broadcasts, each at its time.

        Args:
            plan: its times are in `intended_ns`.
            speakers: the number of each speaker's connection, without the speakers of other processes.
        """
        for k, intended_ns in enumerate(plan.intended_ns):
            self.sleep_until(intended_ns)
            if self.halted or self._stopped.is_set():
                return
            self._connections.broadcast_due()
            speaker = k % plan.speakers
            if speaker in speakers:
                # In a greenlet of its own: a slow connection must not delay the next broadcast.
                self.sending += 1
                gevent.spawn(self._send, plan, k, speakers[speaker])

    def sleep_until(self, due_ns: int) -> None:
        """Sleep until a time of the master's clock, to some microseconds: it polls in the last 2 ms."""
        due_ns -= self._offset.at(clock.now_ns())
        while (remaining_s := (due_ns - clock.now_ns()) / 1e9) > 0:
            gevent.sleep(max(0, remaining_s - 0.002))

    def _send(self, plan: Plan, k: int, number: int) -> None:
        connections = self._connections.open
        if number not in connections:  # it was dropped, so another one speaks
            number = next(iter(connections), NO_CONNECTION)
        broadcast = plan.first + k
        record = BroadcastRecord(
            broadcast, plan.phase, warm_up=k < plan.warm_up, speaker=number, intended_ns=self.intended_ns[broadcast]
        )
        self.records.append(record)
        with self._environment.events.request.measure("WS", "send", plan.payload_bytes) as request:
            try:
                if number == NO_CONNECTION:
                    raise ConnectionError("no connection to send on")
                sent_ns = clock.now_ns()
                text = messages.encode(self._test_id, broadcast, number, sent_ns, plan.payload_bytes)
                connection = connections[number]
                connection.send(text)
                record.sent_ns = sent_ns
                if not connection.protocol.hears_itself:
                    self._connections.spoke(number, broadcast)
                self.sent += not record.warm_up
            except Exception as error:
                record.error = describe(error)
                request["exception"] = error
            finally:
                self.sending -= 1

    def note_error(self, receiver: ConnectionRecord, text: str) -> None:
        """Record an error frame as the answer to the connection's oldest broadcast that it has not received itself."""
        for record in self.records:
            unanswered = record.speaker == receiver.connection and record.sent_ns is not None and record.error is None
            if unanswered and not receiver.seen >> record.broadcast & 1:
                record.error = f'answered with "{text}"'
                return


class Receiver:
    """Records every frame of the connections that it watches."""

    def __init__(self, test_id: str, stopped: Event, connections: Connections, sender: Sender) -> None:
        self._test_id = test_id
        self._stopped = stopped
        self._connections = connections
        self._sender = sender
        self._inbox: OrderedDict[Connection, ConnectionRecord] = OrderedDict()
        self._arrival = Event()
        self._copies = 0
        self.log = DeliveryLog()
        self.error_frames: Counter[str] = Counter()

    def watch(self, connection: Connection, record: ConnectionRecord) -> None:
        """Record the frames of this connection from now on, and finally how it closed."""

        def on_arrival() -> None:
            self._inbox[connection] = record
            self._arrival.set()

        connection.watch(on_arrival)

    def read(self) -> None:
        """Handle arrivals until the test stops, in one greenlet and only when nothing else has to be done."""
        while not self._stopped.is_set():
            self._arrival.wait()
            self._arrival.clear()
            while self._inbox:
                gevent.idle()  # reading from the kernel and sending broadcasts come first
                for _ in range(min(FRAMES_PER_TURN, len(self._inbox))):
                    self.handle(*self._inbox.popitem(last=False), MAX_FRAMES_OF_ONE)

    def wake(self) -> None:
        """Let `read` see that the test has stopped."""
        self._arrival.set()

    def handle(self, connection: Connection, record: ConnectionRecord, limit: int = LAST_FRAMES) -> None:
        """Record what has arrived on a connection, of `limit` frames at most."""
        try:
            for frame in connection.frames(limit):
                self._record(record, frame)
        except Closed as end:
            self._connections.dropped(connection, record, str(end))

    def _record(self, record: ConnectionRecord, frame: Frame) -> None:
        if (text := frame.error) is not None:
            is_known = text in self.error_frames or len(self.error_frames) < MAX_ERROR_TEXTS
            self.error_frames[text if is_known else "others"] += 1
            self._sender.note_error(record, text)
            return
        message = messages.decode(frame.payload)
        if message is None or message.run != self._test_id or not 0 <= message.id < len(self._sender.intended_ns):
            record.foreign += 1
            return
        handled_ns = clock.now_ns()
        if not self._connections.arrived(record, message.id):
            self._copies += 1
            if self._copies > MAX_COPIES:
                record.foreign += 1
                return
        source = records.USER if not frame.arrived_ns else records.KERNEL if frame.exact else records.BOUND
        self.log.append(record.connection, message.id, frame.arrived_ns or handled_ns, handled_ns, source)
