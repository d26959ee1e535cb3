"""The broadcasts that leave one process during one test, each at its time."""

import gevent
from gevent.event import Event
from locust.env import Environment

from loadtest import clock, messages
from loadtest.connection import describe
from loadtest.connections import NO_CONNECTION, Connections
from loadtest.outstanding import Outstanding
from loadtest.protocol import Plan
from loadtest.records import ConnectionRecord


class Sender:
    """Follows the coordinator's plans, on the connections that are open.

    Args:
        environment: Locust's.
        run: the test's id.
        over: set when the test is.
        offset: how far the master's clock is ahead of this process's.
        connections: those to choose speakers from.
        outstanding: is told what leaves.
    """

    def __init__(
        self,
        environment: Environment,
        run: str,
        over: Event,
        offset: clock.Offset,
        connections: Connections,
        outstanding: Outstanding,
    ):
        self._environment = environment
        self._run = run
        self._over = over
        self._offset = offset
        self._connections = connections
        self._outstanding = outstanding
        self.intended_ns: list[int] = []
        """When each planned broadcast leaves, by the master's clock."""
        self.halted = False
        """If set, no further broadcast leaves."""
        self.sending = self.sent = 0
        self.broadcasts: list[dict] = []

    def add(self, plan: Plan) -> None:
        """Know of a plan's broadcasts before they arrive."""
        self.intended_ns += plan.intended_ns

    def follow(self, plan: Plan, speakers: dict[int, int]) -> None:
        """Send a plan's broadcasts, each at its time.

        Args:
            plan: one that was added.
            speakers: the number of each speaker's connection; those of other processes are not in it.
        """
        for k, intended_ns in enumerate(plan.intended_ns):
            self._sleep_until(intended_ns)
            if self.halted or self._over.is_set():
                return
            self._outstanding.leaves(len(self._connections.open))
            speaker = k % plan.speakers
            if speaker in speakers:
                # In a greenlet of its own: a connection that is slow to take it must not hold up the next broadcast.
                self.sending += 1
                gevent.spawn(self._send, plan, k, speakers[speaker])

    def _sleep_until(self, due_ns: int) -> None:
        """Sleep until a time of the master's clock, to some microseconds: the last 2 ms, a timer's error, it polls."""
        due_ns -= self._offset.at(clock.now_ns())
        while (remaining_s := (due_ns - clock.now_ns()) / 1e9) > 0:
            gevent.sleep(max(0, remaining_s - 0.002))

    def _send(self, plan: Plan, k: int, number: int) -> None:
        connections = self._connections.open
        if number not in connections:  # it dropped, so another one speaks
            number = next(iter(connections), NO_CONNECTION)
        broadcast = plan.first + k
        row = {
            "broadcast": broadcast,
            "phase": plan.phase,
            "warm_up": k < plan.warm_up,
            "speaker": number,
            "intended_ns": self.intended_ns[broadcast],
        }
        self.broadcasts.append(row)
        with self._environment.events.request.measure("WS", "send", plan.payload_bytes) as request:
            try:
                if number == NO_CONNECTION:
                    raise ConnectionError("no connection to send on")
                sent_ns = clock.now_ns()
                connections[number].send(messages.encode(self._run, broadcast, number, sent_ns, plan.payload_bytes))
                row["sent_ns"] = sent_ns
                self.sent += not row["warm_up"]
            except Exception as error:
                row["error"] = describe(error)
                request["exception"] = error
            finally:
                self.sending -= 1

    def note_error(self, record: ConnectionRecord, text: str) -> None:
        """The server could not handle a message: the oldest of this connection's, of those that it has not heard."""
        for row in self.broadcasts:
            is_open = row["speaker"] == record.connection and "sent_ns" in row and "error" not in row
            if is_open and not record.seen >> row["broadcast"] & 1:
                row["error"] = f'answered with "{text}"'
                return
