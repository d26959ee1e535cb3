"""One WebSocket connection, whose every frame carries the time at which it arrived in the kernel.

websocket-client speaks the protocol. It is given a ready-made socket, and that socket is where the arrival is read:
`ArrivalSocket` for ws://, `TlsArrivalSocket` over it for wss://.
"""

import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

import gevent
import gevent.queue
import gevent.socket
import websocket
from gevent import get_hub

from loadtest import clock

__all__ = ["ArrivalSocket", "Connection", "Frame", "TlsArrivalSocket"]

READ = 1  # libev's EV_READ
CHUNK_BYTES = 65_536


class Frame(NamedTuple):
    """One data frame, and when it came."""

    payload: bytes
    arrived_ns: int
    """When its last byte arrived; 0 if the kernel gave no stamp."""
    exact: bool
    """False if more had already arrived behind it: Linux joins what waits in a socket's queue and keeps the stamp of
    the newest part only, so `arrived_ns` is then no more than an upper bound."""


class ArrivalSocket(gevent.socket.socket):
    """A connected gevent socket that takes what arrives out of the kernel at once, with the kernel's stamp.

    Reading happens in the event loop's own callback and not in the greenlet that calls `recv`: after a broadcast the
    loop empties all sockets first, at a few microseconds each, and only then do the greenlets look at what came. So
    the greenlets' work can delay neither the stamps nor the next arrival's.
    """

    def __init__(self, connected: gevent.socket.socket):
        super().__init__(fileno=connected.detach())
        self.settimeout(connected.gettimeout())
        if clock.kernel_stamps():
            self.setsockopt(gevent.socket.SOL_SOCKET, clock.SO_TIMESTAMPNS, 1)
        self.arrived_ns = 0
        self._chunk = b""
        self._position = 0
        self._chunks = gevent.queue.SimpleQueue()
        self._watcher = get_hub().loop.io(self.fileno(), READ)
        self._watcher.start(self._drain)

    def _drain(self) -> None:
        try:
            chunk, ancillary, _, _ = self._sock.recvmsg(CHUNK_BYTES, clock.ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._watcher.stop()
            self._chunks.put((error, 0))
            return
        if not chunk:
            self._watcher.stop()
        self._chunks.put((chunk, clock.stamp_ns(ancillary)))

    @property
    def pending(self) -> int:
        """Bytes of the current chunk that nobody has read yet."""
        return len(self._chunk) - self._position

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._position == len(self._chunk):
            try:
                chunk, self.arrived_ns = self._chunks.get(timeout=self.timeout)
            except gevent.queue.Empty:
                raise TimeoutError("timed out") from None
            if not chunk or isinstance(chunk, OSError):
                self._chunks.put((chunk, 0))  # the end stays the end, for whoever asks again
                if chunk:
                    raise chunk
                return b""
            self._chunk, self._position = chunk, 0
        start = self._position
        self._position = min(start + bufsize, len(self._chunk))
        return self._chunk[start : self._position]

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        super().close()


class TlsArrivalSocket:
    """TLS over an `ArrivalSocket`: `ssl.SSLSocket` reads by itself and would lose the stamps, `ssl.MemoryBIO` does not.

    Has what websocket-client asks of a socket.
    """

    def __init__(self, sock: ArrivalSocket, context: ssl.SSLContext, server_hostname: str):
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._until_done(self._tls.do_handshake)

    def _until_done(self, operation, *arguments):
        while True:
            try:
                result = operation(*arguments)
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

    def __getattr__(self, name: str):
        return getattr(self._sock, name)


class Connection:
    """A WebSocket to `url`.

    Raises from `open` whatever stands in the way: `OSError` (with `ssl.SSLError`), `websocket.WebSocketException`
    (a refused handshake is `WebSocketBadStatusException`).
    """

    def __init__(self, url: str, timeout_s: float, ca_file: str | None = None):
        self.url = url
        self.timeout_s = timeout_s
        self.ca_file = ca_file
        self.websocket: websocket.WebSocket | None = None
        self.local_port: int | None = None

    def open(self) -> None:
        """Connect, and return when the server has accepted the handshake."""
        with gevent.Timeout(self.timeout_s, TimeoutError(f"no answer within {self.timeout_s:g} s")):
            parts = urlsplit(self.url)
            secure = parts.scheme == "wss"
            connected = gevent.socket.create_connection((parts.hostname, parts.port or (443 if secure else 80)))
            connected.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
            sock = ArrivalSocket(connected)
            try:
                self.local_port = sock.getsockname()[1]
                if secure:
                    sock = TlsArrivalSocket(sock, tls_context(self.ca_file), parts.hostname)
                # Validating UTF-8 in Python would cost more than all the rest; a receiver decodes anyway.
                self.websocket = websocket.WebSocket(skip_utf8_validation=True)
                self.websocket.connect(self.url, socket=sock)
            except BaseException:
                sock.close()
                raise

    def send(self, text: str) -> None:
        self.websocket.send(text)

    def receive(self) -> Frame | None:
        """The next data frame; None if the server closed the connection in the proper way."""
        sock = self.websocket.sock
        opcode, frame = self.websocket.recv_data_frame()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.close_code = int.from_bytes(frame.data[:2], "big") if len(frame.data) >= 2 else 1005
            return None
        return Frame(frame.data, sock.arrived_ns, not sock.pending)

    def close(self) -> None:
        """Say goodbye without waiting for the answer."""
        if self.websocket is not None:
            self.websocket.close(timeout=0)


_contexts: dict[str | None, ssl.SSLContext] = {}


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A verifying client context, made once: loading the certificates takes milliseconds and half a megabyte."""
    if ca_file not in _contexts:
        _contexts[ca_file] = ssl.create_default_context(cafile=ca_file)
    return _contexts[ca_file]
