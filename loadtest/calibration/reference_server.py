"""A broadcast server on loopback whose behaviour is known: what it does to a delivery, and when it sent each frame.

It forwards every message to every connection, as the chat does, by any protocol of `sides`. It is not the fastest
possible server: it runs on asyncio's own event loop because that hands each frame to the kernel within the call that
writes it, so the time of the call is the time of sending. (uvloop collects writes and sends them later, at a time that
nobody knows.)
"""

import asyncio
import contextlib
import gc
import ssl
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from loadtest import messages
from loadtest.calibration.sides import Payload, Side

FOREIGN = -1
"""The number of a message that is not a broadcast of a load test."""
ERROR_FRAME = '{"message": "Internal server error", "connectionId":"Zm9v", "requestId":"YmFy"}'
HOLD_BACK_S = 2.0
"""How long a delivery is held back at most if no later broadcast overtakes it."""

Delays = Callable[[np.random.Generator, int], NDArray[np.float64]]
"""Delays in milliseconds of one broadcast's deliveries, given a random generator and the number of deliveries."""


@dataclass(frozen=True)
class Faults:
    """What the server does to deliveries. Shares are of all deliveries and are drawn independently."""

    delay_ms: Delays | None = None
    drop: float = 0.0
    """Share of deliveries that are never made."""
    double: float = 0.0
    """Share of deliveries that are made twice."""
    reorder: float = 0.0
    """Share of deliveries that are held back until the next broadcast has been delivered."""
    seed: int = 1


@dataclass
class ReferenceServer:
    """A running server."""

    url: str = ""
    faults: Faults = field(default_factory=Faults)
    ports: dict[ServerConnection, int] = field(default_factory=dict)
    """The open connections and the port at the other end of each."""
    max_connections: int = sys.maxsize
    """Further connections are refused with status 403."""
    refusals: list[int] = field(default_factory=list)
    """Statuses with which the next handshakes are refused, one each."""
    may_connect: Callable[[], bool] = lambda: True
    """Asked for each handshake; if not, it is refused with status 429."""
    errors: int = 0
    """How many of the next broadcasts are answered with an error frame, as API Gateway does, and not forwarded."""
    side: type[Side] = Side
    """What it speaks."""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.faults.seed)
        self.received: list[int] = []
        """Numbers of the broadcasts that have arrived."""
        self._held_back: dict[ServerConnection, list[tuple[int, Payload]]] = {}
        self._broadcast, self._port, self._sent_ns = array("q"), array("i"), array("q")
        self.dropped: set[tuple[int, int]] = set()
        """The deliveries that were not made, as (broadcast, port)."""

    def sent(self) -> pd.DataFrame:
        """One row for each sent frame, in order: broadcast, port (the receiver's), server_sent_ns (Unix time)."""
        return pd.DataFrame({"broadcast": self._broadcast, "port": self._port, "server_sent_ns": self._sent_ns})

    def close(self, count: int) -> None:
        """Close `count` connections, as a server does that shuts down (code 1001); from any thread."""

        async def close_them() -> None:
            await asyncio.gather(*(connection.close(1001) for connection in list(self.ports)[:count]))

        asyncio.run_coroutine_threadsafe(close_them(), self.loop).result(10)

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a handshake if there are enough connections, or if it comes from a page of another site."""
        if urlsplit(request.headers.get("Origin", self.url)).hostname != "127.0.0.1":
            return connection.respond(HTTPStatus.FORBIDDEN, "Of another site\n")
        if self.refusals:
            return connection.respond(HTTPStatus(self.refusals.pop(0)), "Busy\n")
        if not self.may_connect():
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "Too many at once\n")
        is_full = len(self.ports) >= self.max_connections
        return connection.respond(HTTPStatus.FORBIDDEN, "Full\n") if is_full else None

    async def handle(self, connection: ServerConnection) -> None:
        """Forward what comes on one connection, and to it as soon as it is subscribed."""
        side = self.side()
        pings = asyncio.create_task(self._ping(connection)) if side.ping_s else None
        replies = side.open()
        try:
            while True:
                if side.is_subscribed:  # before it is told so
                    self.ports.setdefault(connection, connection.remote_address[1])
                for reply in replies:
                    await connection.send(reply)
                async with asyncio.timeout(2 * side.ping_s or None):
                    payload = await connection.recv()
                if self.errors:
                    self.errors -= 1
                    replies = (ERROR_FRAME,)
                    continue
                broadcasts, replies = side.hear(payload)
                for text in broadcasts:
                    self._forward(text, connection)
        except TimeoutError:
            await connection.close(1008)
        except ConnectionClosed:
            pass
        finally:
            self.ports.pop(connection, None)
            if pings:
                pings.cancel()

    async def _ping(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(self.side.ping_s)
                await connection.send(self.side.ping)

    def _forward(self, text: str, speaker: ServerConnection) -> None:
        receivers = [each for each in self.ports if self.side.has_echo or each is not speaker]
        payload = self.side.wrap(text)
        message = messages.decode(text.encode())
        number = message.id if message else FOREIGN
        self.received.append(number)
        faults, n, loop = self.faults, len(receivers), asyncio.get_running_loop()
        delays_ms = faults.delay_ms(self._random, n) if faults.delay_ms else np.zeros(n)
        drop, double, reorder = ((faults.drop, faults.double, faults.reorder) > self._random.random((3, n)).T).T
        for k, receiver in enumerate(receivers):
            if drop[k]:
                self.dropped.add((number, self.ports[receiver]))
            elif reorder[k]:
                self._held_back.setdefault(receiver, []).append((number, payload))
                loop.call_later(HOLD_BACK_S, self._release, receiver)
            elif delays_ms[k]:
                loop.call_later(delays_ms[k] / 1e3, self._deliver, receiver, number, payload, 1 + double[k])
            else:
                self._deliver(receiver, number, payload, 1 + double[k])

    def _deliver(self, receiver: ServerConnection, number: int, payload: Payload, copies: int) -> None:
        for _ in range(copies):
            self._write(receiver, number, payload)
        if receiver in self._held_back and any(earlier < number for earlier, _ in self._held_back[receiver]):
            self._release(receiver)

    def _release(self, receiver: ServerConnection) -> None:
        for number, payload in self._held_back.pop(receiver, []):
            self._write(receiver, number, payload)

    def _write(self, receiver: ServerConnection, number: int, payload: Payload) -> None:
        if receiver not in self.ports:
            return
        sent_ns = time.time_ns()
        broadcast((receiver,), payload)
        self._broadcast.append(number)
        self._port.append(self.ports[receiver])
        self._sent_ns.append(sent_ns)


def server_tls(ca_file: Path) -> ssl.SSLContext:
    """A TLS context for a server on 127.0.0.1. Its clients trust it by the PEM file `ca_file`, which this writes."""
    import trustme  # here, since only few cases need it

    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(ca_file)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@contextlib.contextmanager
def run(
    faults: Faults | None = None, tls: ssl.SSLContext | None = None, port: int = 0, side: type[Side] = Side
) -> Iterator[ReferenceServer]:
    """A server on 127.0.0.1 in a thread of this process, for as long as the `with` block lasts."""
    reference_server = ReferenceServer(faults=faults or Faults(), side=side)
    ready, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        async with serve(
            reference_server.handle,
            "127.0.0.1",
            port,
            process_request=reference_server.admit,
            ssl=tls,
            subprotocols=[Subprotocol(side.subprotocol)] if side.subprotocol else None,
            compression=None,
            ping_interval=None,
            max_size=2 * messages.MAX_BYTES,  # a protocol adds to a broadcast
            close_timeout=0.1,
            backlog=1024,
        ) as server:
            (listener,) = server.sockets
            reference_server.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{listener.getsockname()[1]}/chat"
            ready.set()
            await stop.wait()

    loop = reference_server.loop
    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), name="reference server", daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("The reference server did not start within 10 s.")
    # With 2,000 connections a collection of garbage stops the server for more than a tenth of a second.
    gc.disable()
    try:
        yield reference_server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
        gc.enable()
