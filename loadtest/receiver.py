"""What one process receives during one test."""

from collections import Counter, OrderedDict

import gevent
from gevent.event import Event

from loadtest import clock, messages, records
from loadtest.connection import Closed, Connection, Frame
from loadtest.connections import Connections
from loadtest.outstanding import Outstanding
from loadtest.records import ConnectionRecord, DeliveryLog
from loadtest.sender import Sender

FRAMES_PER_TURN = 16
"""Handling a frame takes some 20 µs, so this many delay a broadcast that is due by less than half a millisecond."""
MAX_FRAMES_OF_ONE = 64
"""So many frames of one connection are handled before others have their turn. Most have one."""
LAST_FRAMES = 1_000
"""So many of a connection's unread frames still count when it leaves. That takes some 20 ms."""
MAX_COPIES = 100_000
"""So many deliveries that nobody expects are recorded; further ones count as foreign. A server could repeat itself for
ever, and a million records take 330 MB when the test ends."""
MAX_ERROR_TEXTS = 10
"""So many different error frames are counted apart: a server could send any number."""


class Receiver:
    """Records every frame of the connections that it watches."""

    def __init__(
        self, run: str, stopped: Event, connections: Connections, sender: Sender, outstanding: Outstanding
    ) -> None:
        self._run = run
        self._stopped = stopped
        self._connections = connections
        self._sender = sender
        self._outstanding = outstanding
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
        message = messages.decode(frame.payload) if len(frame.payload) <= messages.MAX_BYTES else None
        if message is None or message.run != self._run or not 0 <= message.id < len(self._sender.intended_ns):
            if message is None and (text := messages.error_frame(frame.payload)) is not None:
                is_known = text in self.error_frames or len(self.error_frames) < MAX_ERROR_TEXTS
                self.error_frames[text if is_known else "others"] += 1
                self._sender.note_error(record, text)
            else:
                record.foreign += 1
            return
        handled_ns = clock.now_ns()
        if not self._outstanding.arrived(record, message.id):
            self._copies += 1
            if self._copies > MAX_COPIES:
                record.foreign += 1
                return
        source = records.USER if not frame.arrived_ns else records.KERNEL if frame.exact else records.BOUND
        self.log.append(record.connection, message.id, frame.arrived_ns or handled_ns, handled_ns, source)
