"""A broadcast server on loopback whose behaviour is known: what it does to a delivery, and when each frame left.

It forwards every text frame to every connection, as the chat does. It is not the fastest one there could be: it runs on
asyncio's own event loop because that hands each frame to the kernel within the call that writes it, so the time of the
call is the time of leaving. (uvloop collects writes and sends them later, at a time that nobody sees.)
"""

import asyncio
import contextlib
import ssl
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from websockets.asyncio.server import ServerConnection, broadcast, serve

from loadtest import messages

__all__ = ["Faults", "Reference", "run"]

HOLD_S = 5.0
"""How long a delivery is held back at most when no later broadcast comes to overtake it."""


@dataclass(frozen=True)
class Faults:
    """What the server does to deliveries. Shares are of all deliveries and are drawn independently."""

    delay_ms: Callable[[np.random.Generator, int], np.ndarray] | None = None
    """Delays in milliseconds of one broadcast's deliveries, given a random generator and their number; None: none."""
    drop: float = 0.0
    """Share of deliveries that are never made."""
    double: float = 0.0
    """Share of deliveries that are made twice."""
    reorder: float = 0.0
    """Share of deliveries that are held back until the next broadcast has been delivered."""
    seed: int = 1


@dataclass
class Reference:
    """A running server."""

    url: str = ""
    faults: Faults = field(default_factory=Faults)
    connections: set[ServerConnection] = field(default_factory=set)

    def __post_init__(self):
        self._random = np.random.default_rng(self.faults.seed)
        self._held: dict[ServerConnection, list[tuple[int, str]]] = {}
        self._broadcast, self._port, self._left_ns = array("q"), array("i"), array("q")
        self._asked: list[tuple[int, int, str]] = []

    def left(self) -> pd.DataFrame:
        """One row for each frame that left, in order: broadcast, port (the receiver's), left_ns (Unix time)."""
        return pd.DataFrame({"broadcast": self._broadcast, "port": self._port, "left_ns": self._left_ns})

    def asked(self) -> pd.DataFrame:
        """What was done on purpose, one row each: broadcast, port, fault (drop, double or hold)."""
        return pd.DataFrame(self._asked, columns=["broadcast", "port", "fault"])

    async def handle(self, connection: ServerConnection) -> None:
        """Forward what comes from one connection."""
        self.connections.add(connection)
        try:
            async for text in connection:
                self._forward(text)
        finally:
            self.connections.discard(connection)

    def _forward(self, text: str) -> None:
        receivers = list(self.connections)
        message = messages.decode(text.encode())
        number = message.id if message else -1
        faults, draw = self.faults, self._random.random
        n = len(receivers)
        delays_ms = faults.delay_ms(self._random, n) if faults.delay_ms else None
        faulty = message and (faults.drop or faults.double or faults.reorder)
        loop = asyncio.get_running_loop()
        for k, receiver in enumerate(receivers):
            copies, hold = 1, False
            if faulty:
                if draw() < faults.drop:
                    copies = 0
                    self._note(number, receiver, "drop")
                elif draw() < faults.double:
                    copies = 2
                    self._note(number, receiver, "double")
                elif draw() < faults.reorder:
                    hold = True
                    self._note(number, receiver, "hold")
            if hold:
                self._held.setdefault(receiver, []).append((number, text))
                loop.call_later(HOLD_S, self._release, receiver)
            elif delays_ms is None:
                self._deliver(receiver, number, text, copies)
            else:
                loop.call_later(delays_ms[k] / 1e3, self._deliver, receiver, number, text, copies)

    def _deliver(self, receiver: ServerConnection, number: int, text: str, copies: int) -> None:
        for _ in range(copies):
            self._write(receiver, number, text)
        if receiver in self._held and any(held < number for held, _ in self._held[receiver]):
            self._release(receiver)

    def _release(self, receiver: ServerConnection) -> None:
        for number, text in self._held.pop(receiver, []):
            self._write(receiver, number, text)

    def _write(self, receiver: ServerConnection, number: int, text: str) -> None:
        if receiver not in self.connections:
            return
        left_ns = time.time_ns()
        broadcast((receiver,), text)
        if number >= 0:
            self._broadcast.append(number)
            self._port.append(receiver.remote_address[1])
            self._left_ns.append(left_ns)

    def _note(self, number: int, receiver: ServerConnection, fault: str) -> None:
        self._asked.append((number, receiver.remote_address[1], fault))


@contextlib.contextmanager
def run(faults: Faults | None = None, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Reference]:
    """A server on 127.0.0.1 in a thread of this process, for as long as the `with` block lasts."""
    reference = Reference(faults=faults or Faults())
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        options = {"compression": None, "ping_interval": None, "max_size": messages.MAX_BYTES, "close_timeout": 0.1}
        async with serve(reference.handle, "127.0.0.1", port, ssl=tls, backlog=1024, **options) as server:
            bound = server.sockets[0].getsockname()[1]
            reference.url = f"wss://localhost:{bound}/chat" if tls else f"ws://127.0.0.1:{bound}/chat"
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), name="reference", daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("The reference server did not start within 10 s.")
    try:
        yield reference
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
