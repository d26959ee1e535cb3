"""What a process receives during one test."""

from collections import Counter, deque

import gevent
from gevent.event import Event

from loadtest import clock, messages, records
from loadtest.connection import Closed, Connection, Frame
from loadtest.connections import Connections
from loadtest.outstanding import Outstanding
from loadtest.records import ConnectionRecord, DeliveryLog
from loadtest.sender import Sender

FRAMES_AT_ONCE = 16
"""Handling a frame takes some 20 µs, so this much handling delays a broadcast that is due by less than half a ms."""


class Receiver:
    """Records every frame of the connections that it watches."""

    def __init__(self, run: str, over: Event, connections: Connections, sender: Sender, outstanding: Outstanding):
        self._run = run
        self._over = over
        self._connections = connections
        self._sender = sender
        self._outstanding = outstanding
        self._inbox: deque[tuple[Connection, ConnectionRecord]] = deque()
        self._arrival = Event()
        self.log = DeliveryLog()
        self.error_frames: Counter[str] = Counter()

    def watch(self, connection: Connection, record: ConnectionRecord) -> None:
        """Record what comes on this connection from now on, and at last how it closed."""

        def on_arrival() -> None:
            self._inbox.append((connection, record))
            self._arrival.set()

        connection.watch(on_arrival)

    def read(self) -> None:
        """Handle what arrives until the test is over, in one greenlet and only when nothing else is to be done."""
        while not self._over.is_set():
            self._arrival.wait()
            self._arrival.clear()
            while self._inbox:
                gevent.idle()  # arrivals are taken out of the kernel, and broadcasts leave, before this goes on
                for _ in range(min(FRAMES_AT_ONCE, len(self._inbox))):
                    self.handle(*self._inbox.popleft())

    def stop(self) -> None:
        """Let `read` see that the test is over."""
        self._arrival.set()

    def handle(self, connection: Connection, record: ConnectionRecord) -> None:
        """Record what has arrived on a connection."""
        try:
            for frame in connection.frames():
                self._record(record, frame)
        except Closed as end:
            self._connections.dropped(connection, record, str(end))

    def _record(self, record: ConnectionRecord, frame: Frame) -> None:
        message = messages.decode(frame.payload)
        if message is None or message.run != self._run or not 0 <= message.id < len(self._sender.intended_ns):
            if message is None and (text := messages.error_frame(frame.payload)) is not None:
                self.error_frames[text] += 1
                self._sender.note_error(record, text)
            else:
                record.foreign += 1
            return
        handled_ns = clock.now_ns()
        stamp = records.USER if not frame.arrived_ns else records.KERNEL if frame.exact else records.BOUND
        self.log.append(record.connection, message.id, frame.arrived_ns or handled_ns, handled_ns, stamp)
        self._outstanding.arrived(record, message.id)
