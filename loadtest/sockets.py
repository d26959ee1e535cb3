"""Sockets that say when what they read arrived in the kernel: `ArrivalSocket`, and `TlsArrivalSocket` over it.

They lead to a server directly or through the proxy that HTTPS_PROXY names, which a company's network may require. What
may wait in them to be read is limited.
"""

import base64
import socket
import ssl
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import gevent
import gevent.socket
import websocket
from gevent import get_hub

from loadtest import clock

READ = 1  # libev's EV_READ
CHUNK_BYTES, ANSWER_CHUNK_BYTES = 65_536, 4_096
"""What is read at a time, and of an answer to a handshake: websocket-client takes 20 ms for that much of a header."""
MAX_UNREAD_BYTES = 32 << 20
"""What may have arrived in this process before somebody reads it. Beyond it, the kernel keeps what arrives, and lets a
server wait that sends more; below half of it, sockets are read again."""
ARRIVAL_BYTES = 160
"""What an arrival takes beyond its bytes, as `sys.getsizeof` says: the objects that hold it."""
MAX_ANSWER_BYTES = 65_536
"""The longest answer to a request for a connection, status line, headers and body together. Python's http.client takes
no longer line."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")

P = ParamSpec("P")
T = TypeVar("T")


class NothingYet(Exception):
    """There is nothing to read at the moment. Not an OSError, since websocket-client would wait after one of those."""


class LimitError(websocket.WebSocketException):
    """The server has sent more than it may."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(what)
        self.code = code
        """The close code for it (RFC 6455, section 7.4.1): 1009 if something is too large, else 1008."""


class Unread:
    """How much has arrived that nobody has read, on all connections of this process."""

    def __init__(self) -> None:
        self.bytes = 0
        self.paused: set[ArrivalSocket] = set()
        """Sockets that are not read until there is less."""

    def release(self, chunk: bytes) -> None:
        """A chunk has been read, or is not wanted any more."""
        self.bytes -= len(chunk) + ARRIVAL_BYTES
        if self.paused and self.bytes < MAX_UNREAD_BYTES / 2:
            paused, self.paused = self.paused, set()
            for sock in paused:
                sock.resume()


unread = Unread()


class ArrivalSocket(gevent.socket.socket):
    """A connected gevent socket that takes what arrives out of the kernel at once, with the kernel's timestamp.

    `recv` waits as usual until `watch` is called: for `MAX_ANSWER_BYTES` at most, which no answer to a handshake
    needs. From then on the event loop itself reads, at a few microseconds an arrival, however busy the greenlets are,
    and `recv` returns what the loop has read.
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
        self._is_bound = self._has_paused = False
        self._arrivals: deque[tuple[bytes, int, bool]] = deque()
        self._error: OSError | None = None
        self._watcher = get_hub().loop.io(self.fileno(), READ)
        self._on_arrival: Callable[[], None] | None = None
        self._answer_bytes = 0

    def watch(self, on_arrival: Callable[[], None]) -> None:
        """Read from now on in the event loop; it calls `on_arrival` after each arrival, which must not wait."""
        self._on_arrival = on_arrival
        self.resume()

    def resume(self) -> None:
        """Read again."""
        if self._on_arrival:
            self._watcher.start(self._drain, self._on_arrival)

    def _drain(self, on_arrival: Callable[[], None]) -> None:
        try:
            chunk, ancillary, _, _ = self._sock.recvmsg(CHUNK_BYTES, clock.ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._error, chunk, ancillary = error, b"", []
        # A full chunk may have left something in the kernel. After a pause, the server may have had to wait.
        is_bound = self._has_paused or len(chunk) == CHUNK_BYTES
        self._arrivals.append((chunk, clock.timestamp_ns(ancillary), is_bound))
        unread.bytes += len(chunk) + ARRIVAL_BYTES
        if not chunk:
            self._watcher.stop()
        elif unread.bytes > MAX_UNREAD_BYTES:
            self._watcher.stop()
            self._has_paused = True
            unread.paused.add(self)
        on_arrival()

    @property
    def exact(self) -> bool:
        """Whether `arrived_ns` is the time of the last byte read, and no upper bound."""
        return self._position == len(self._chunk) and not self._is_bound

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._position == len(self._chunk):
            self._next_chunk()
        start = self._position
        self._position = min(start + bufsize, len(self._chunk))
        return self._chunk[start : self._position]

    def _next_chunk(self) -> None:
        if self._arrivals:
            chunk, arrived_ns, self._is_bound = self._arrivals.popleft()
            unread.release(chunk)
            if self._error and not chunk:
                raise self._error
        elif not self._on_arrival:
            if self._answer_bytes >= MAX_ANSWER_BYTES:
                raise LimitError(f"the answer to the handshake has more than {MAX_ANSWER_BYTES:,} bytes", 1009)
            gevent.sleep(0)  # however fast it comes, a time-out can end it
            chunk, ancillary, _, _ = self.recvmsg(ANSWER_CHUNK_BYTES, clock.ANCILLARY_BYTES)
            arrived_ns = clock.timestamp_ns(ancillary)
            self._answer_bytes += len(chunk)
            self._is_bound = len(chunk) == ANSWER_CHUNK_BYTES
        else:
            raise NothingYet
        self._chunk, self._position, self.arrived_ns = chunk, 0, arrived_ns

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        super().close()
        self._chunk, self._position = b"", 0
        unread.paused.discard(self)
        while self._arrivals:
            unread.release(self._arrivals.popleft()[0])


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
    def exact(self) -> bool:
        return self._sock.exact and not self._tls.pending() and not self._incoming.pending

    def recv(self, bufsize: int) -> bytes:
        try:
            return self._until_done(self._tls.read, bufsize)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def send(self, data: bytes) -> int:
        return self._until_done(self._tls.write, data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


@cache
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A verifying client context, made once: loading the certificates takes milliseconds and half a megabyte."""
    return ssl.create_default_context(cafile=ca_file)


def connect(host: str, port: int, tunnel: bool) -> gevent.socket.socket:
    """Connect to a server; if `tunnel` is set, by a proxy's CONNECT if the environment names one for `host`.

    Raises:
        OSError: if the server or the proxy cannot be reached, or the proxy refuses.
    """
    proxy = _proxy_for(host) if tunnel else None
    if proxy is None:
        return gevent.socket.create_connection((host, port))
    sock = gevent.socket.create_connection((proxy.hostname, proxy.port or 80))
    try:
        _open_tunnel(sock, f"{host}:{port}", proxy)
    except BaseException:
        sock.close()
        raise
    return sock


def _proxy_for(host: str) -> SplitResult | None:
    url = getproxies().get("https")
    if not url or host in LOOPBACK or proxy_bypass(host):
        return None
    return urlsplit(url if "://" in url else f"http://{url}")


def _open_tunnel(sock: gevent.socket.socket, target: str, proxy: SplitResult) -> None:
    """Send a CONNECT request, and read its answer (RFC 9110, section 9.3.6)."""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.username:
        user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)  # and no byte more, since TLS comes next
        if not byte:
            raise ConnectionError(f"the proxy {proxy.hostname} closed the connection")
        answer += byte
        if len(answer) > MAX_ANSWER_BYTES:
            raise ConnectionError(f"the answer of the proxy {proxy.hostname} has more than {MAX_ANSWER_BYTES:,} bytes")
    status = answer.split(maxsplit=2)[1].decode(errors="replace")
    if status != "200":
        raise ConnectionError(f"the proxy {proxy.hostname} refused with status {status}")
