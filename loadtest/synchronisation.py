"""How a worker compares its clock with the master's."""

from collections.abc import Callable

from gevent.event import Event

from loadtest import clock
from loadtest.protocol import Ping, Pong

FIRST_PINGS, FIRST_PING_S, PING_S = 10, 0.02, 0.5


class Synchronisation:
    """Pings the master during one test. A process without a master needs none, and is synchronised at once.

    Args:
        client_id: this worker's.
        send: sends a ping to the master.
        has_master: whether there is one.
    """

    def __init__(self, client_id: str, send: Callable[[Ping], None], has_master: bool) -> None:
        self._client_id = client_id
        self._send = send
        self.offset = clock.Offset()
        self.done = Event()
        """Set when the offset is known."""
        self._has_master = has_master
        if not has_master:
            self.done.set()

    def ping(self, stopped: Event) -> None:
        """Ping the master until the test stops, more often at the beginning."""
        while self._has_master and not stopped.is_set():
            self._send(Ping(self._client_id, clock.now_ns()))
            stopped.wait(PING_S if self.done.is_set() else FIRST_PING_S)

    def on_pong(self, pong: Pong) -> None:
        """Complete an exchange."""
        self.offset.add(pong.ping_sent_ns, pong.master_ns, clock.now_ns())
        if self.offset.count >= FIRST_PINGS:
            self.done.set()
