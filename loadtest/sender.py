"""The broadcasts that one process sends during one test, each at its time."""

import gevent
from gevent.event import Event
from locust.env import Environment

from loadtest import clock, messages
from loadtest.connection import describe
from loadtest.connections import NO_CONNECTION, Connections
from loadtest.outstanding import Outstanding
from loadtest.protocol import Plan
from loadtest.records import BroadcastRecord, ConnectionRecord


class Sender:
    """Follows the coordinator's plans, on the connections that are open.

    Args:
        environment: Locust's.
        run: the id of the test.
        stopped: set when the test is.
        offset: how far the master's clock is ahead of this process's.
        connections: the speakers are among them.
        outstanding: is told of each broadcast that is due.
    """

    def __init__(
        self,
        environment: Environment,
        run: str,
        stopped: Event,
        offset: clock.Offset,
        connections: Connections,
        outstanding: Outstanding,
    ) -> None:
        self._environment = environment
        self._run = run
        self._stopped = stopped
        self._offset = offset
        self._connections = connections
        self._outstanding = outstanding
        self.intended_ns: list[int] = []
        """When each planned broadcast is due, by the master's clock."""
        self.halted = False
        """If set, no further broadcast is sent."""
        self.sending = self.sent = 0
        self.records: list[BroadcastRecord] = []

    def add(self, plan: Plan) -> None:
        """Add a plan's broadcasts, before the first of them arrives."""
        self.intended_ns += plan.intended_ns

    def follow(self, plan: Plan, speakers: dict[int, int]) -> None:
        """Send a plan's broadcasts, each at its time.

        Args:
            plan: one that was added.
            speakers: the number of each speaker's connection, without the speakers of other processes.
        """
        for k, intended_ns in enumerate(plan.intended_ns):
            self._sleep_until(intended_ns)
            if self.halted or self._stopped.is_set():
                return
            self._outstanding.broadcast_due(len(self._connections.open))
            speaker = k % plan.speakers
            if speaker in speakers:
                # In a greenlet of its own: a slow connection must not delay the next broadcast.
                self.sending += 1
                gevent.spawn(self._send, plan, k, speakers[speaker])

    def _sleep_until(self, due_ns: int) -> None:
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
                connections[number].send(messages.encode(self._run, broadcast, number, sent_ns, plan.payload_bytes))
                record.sent_ns = sent_ns
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
