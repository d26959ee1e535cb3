"""One WebSocket connection. Each of its frames carries the time at which it arrived in the kernel.

websocket-client speaks the protocol. It gets a ready-made socket, and that socket reads the arrival time:
`ArrivalSocket` for ws://, and `TlsArrivalSocket` over it for wss://.
"""

import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple, ParamSpec, TypeVar
from urllib.parse import urlsplit

import gevent
import gevent.socket
import websocket
from gevent import get_hub
from gevent.event import Event

from loadtest import clock, proxy
from loadtest.errors import printable

__all__ = ["ArrivalSocket", "Closed", "Connection", "Frame", "TlsArrivalSocket", "describe", "with_query"]

QUERY_VARIABLE = "LOADTEST_QUERY"
READ = 1  # libev's EV_READ
CHUNK_BYTES = 65_536

P = ParamSpec("P")
T = TypeVar("T")


class Frame(NamedTuple):
    """One data frame and its arrival time."""

    payload: bytes
    arrived_ns: int
    """When its last byte arrived; 0 if the kernel gave no timestamp."""
    exact: bool
    """False if more had already arrived behind it. Linux joins what waits in a socket's queue and keeps only the newest
    timestamp, so `arrived_ns` is then an upper bound."""


class Closed(Exception):
    """The connection has ended; says why in a few words."""


class NothingYet(Exception):
    """There is nothing to read at the moment. Not an OSError, since websocket-client would wait after one of those."""


class ArrivalSocket(gevent.socket.socket):
    """A connected gevent socket that takes what arrives out of the kernel at once, with the kernel's timestamp.

    `recv` waits as usual until `watch` is called. From then on the event loop itself reads, at a few microseconds an
    arrival, however busy the greenlets are, and `recv` returns what the loop has read.
    """

    _sock: socket.socket  # gevent's: the plain socket below

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(fileno=connected.detach())
        self.settimeout(connected.gettimeout())
        if clock.kernel_timestamps():
            self.setsockopt(gevent.socket.SOL_SOCKET, clock.SO_TIMESTAMPNS, 1)
        self.arrived_ns = 0
        self._chunk = b""
        self._position = 0
        self._arrivals: deque[tuple[bytes | OSError, int]] = deque()
        self._watcher = get_hub().loop.io(self.fileno(), READ)
        self._watching = False

    def watch(self, on_arrival: Callable[[], None]) -> None:
        """Read from now on in the event loop; it calls `on_arrival` after each arrival, which must not wait."""
        self._watching = True
        self._watcher.start(self._drain, on_arrival)

    def _drain(self, on_arrival: Callable[[], None]) -> None:
        chunk: bytes | OSError
        try:
            chunk, ancillary, _, _ = self._sock.recvmsg(CHUNK_BYTES, clock.ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            chunk, ancillary = error, []
        if not chunk or isinstance(chunk, OSError):
            self._watcher.stop()
        self._arrivals.append((chunk, clock.timestamp_ns(ancillary)))
        on_arrival()

    @property
    def pending(self) -> int:
        """Bytes of the current chunk that nobody has read yet."""
        return len(self._chunk) - self._position

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._position == len(self._chunk):
            self._next_chunk()
        start = self._position
        self._position = min(start + bufsize, len(self._chunk))
        return self._chunk[start : self._position]

    def _next_chunk(self) -> None:
        chunk: bytes | OSError
        if self._arrivals:
            chunk, arrived_ns = self._arrivals.popleft()
        elif not self._watching:
            chunk, ancillary, _, _ = self.recvmsg(CHUNK_BYTES, clock.ANCILLARY_BYTES)
            arrived_ns = clock.timestamp_ns(ancillary)
        else:
            raise NothingYet
        if isinstance(chunk, OSError):
            raise chunk
        self._chunk, self._position, self.arrived_ns = chunk, 0, arrived_ns

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        super().close()


class TlsArrivalSocket:
    """TLS over an `ArrivalSocket`: `ssl.SSLSocket` reads by itself and would lose the timestamps.

    Has what websocket-client needs of a socket.
    """

    def __init__(self, sock: ArrivalSocket, context: ssl.SSLContext, server_hostname: str) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._until_done(self._tls.do_handshake)

    def _until_done(self, operation: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        while True:
            try:
                result = operation(*arguments, **named)
            except ssl.SSLWantReadError:
                self._flush()
                if chunk := self._sock.recv(CHUNK_BYTES):
                    self._incoming.write(chunk)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._sock.sendall(data)

    @property
    def arrived_ns(self) -> int:
        return self._sock.arrived_ns

    @property
    def pending(self) -> int:
        return self._tls.pending() + self._incoming.pending

    def recv(self, bufsize: int) -> bytes:
        try:
            return self._until_done(self._tls.read, bufsize)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def send(self, data: bytes) -> int:
        return self._until_done(self._tls.write, data)

    def close(self) -> None:
        self._sock.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


class Connection:
    """A WebSocket to a URL."""

    def __init__(self, url: str, timeout_s: float, ca_file: str | None = None) -> None:
        """Connect, and return when the server has accepted the handshake.

        Raises:
            ValueError: if the URL names no host.
            OSError: (`ssl.SSLError` among them) or `websocket.WebSocketException`: if the connection fails;
                `WebSocketBadStatusException` if the server refuses the handshake.
        """
        self.closed = Event()
        """Set once `close` has been called."""
        # Validating UTF-8 in Python would cost more than all the rest, and a receiver decodes anyway.
        self._websocket = websocket.WebSocket(skip_utf8_validation=True)
        try:
            with gevent.Timeout(timeout_s):
                self._arrivals, self._stream = self._open(url, ca_file)
        except gevent.Timeout:
            raise TimeoutError(f"no answer within {timeout_s:g} s") from None
        self.local_port: int = self._arrivals.getsockname()[1]

    def _open(self, url: str, ca_file: str | None) -> tuple[ArrivalSocket, ArrivalSocket | TlsArrivalSocket]:
        """Connect and shake hands; the socket below and, of wss://, the TLS over it."""
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError(f"{url!r} names no host")
        secure = parts.scheme == "wss"
        connected = proxy.connect(parts.hostname, parts.port or (443 if secure else 80), tunnel=secure)
        connected.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        arrivals = ArrivalSocket(connected)
        try:
            stream = TlsArrivalSocket(arrivals, tls_context(ca_file), parts.hostname) if secure else arrivals
            # Load goes where it was sent, so a redirection is not followed.
            self._websocket.connect(with_query(url), socket=stream, redirect_limit=0)
        except BaseException as error:
            arrivals.close()
            if isinstance(error, websocket.WebSocketException) and (answer := self._websocket.handshake_response):
                raise websocket.WebSocketBadStatusException("redirected", answer.status) from error
            raise
        return arrivals, stream

    def watch(self, on_arrival: Callable[[], None]) -> None:
        """From now on call `on_arrival` in the event loop when there may be frames. It must not wait."""
        self._arrivals.watch(on_arrival)
        on_arrival()  # something may have arrived together with the answer to the handshake

    def frames(self) -> Iterator[Frame]:
        """The data frames that have arrived completely since the last call, without waiting for more.

        Raises:
            Closed: after the last one, if the connection has ended.
        """
        while True:
            try:
                opcode, frame = self._websocket.recv_data_frame()
            except NothingYet:
                return
            except (OSError, websocket.WebSocketException) as error:
                raise Closed(describe(error)) from error
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                code = int.from_bytes(frame.data[:2], "big") if len(frame.data) >= 2 else 1005
                raise Closed(f"closed by the server with code {code}")
            yield Frame(frame.data, self._stream.arrived_ns, not self._stream.pending)

    def send(self, text: str) -> None:
        self._websocket.send(text)

    def close(self) -> None:
        """Send a close frame, and do not wait for the answer."""
        self._websocket.close(timeout=0)
        self.closed.set()


def with_query(url: str) -> str:
    """The URL with the query string that `LOADTEST_QUERY` in the environment holds.

    A key that lets a client in belongs there: as a part of the URL itself, it would be in the list of processes and in
    every report.
    """
    query = os.environ.get(QUERY_VARIABLE)
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def describe(error: BaseException) -> str:
    """An error in a few words, without the headers that websocket-client puts into its own."""
    status = getattr(error, "status_code", None)
    if status:
        return f"handshake refused with status {status}"
    return printable(getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__)


@cache
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A verifying client context, made once: loading the certificates takes milliseconds and half a megabyte."""
    return ssl.create_default_context(cafile=ca_file)
