"""One WebSocket connection. Each of its frames carries the time at which it arrived in the kernel.

websocket-client speaks WebSocket, over the sockets of `loadtest.sockets`. What a server may send is limited: the size
of a message, its frames, control frames, what waits to be read.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gevent
import gevent.socket
import websocket
from gevent.event import Event
from websocket import ABNF
from websocket._abnf import frame_buffer

from loadtest import messages, sockets
from loadtest.errors import describe
from loadtest.protocols import Payload, Protocol
from loadtest.sockets import ArrivalSocket, LimitError, NothingYet, TlsArrivalSocket, tls_context
from loadtest.storm import Policy

QUERY_VARIABLE = "LOADTEST_QUERY"
FIRST = (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY)  # of a message's frames
CONTROLS = (ABNF.OPCODE_CLOSE, ABNF.OPCODE_PING, ABNF.OPCODE_PONG)
BUSY = frozenset({429, 500, 502, 503, 504})
"""Statuses of a refused handshake that the server may accept a moment later. API Gateway answers 429 beyond its quota
of new connections, and 5xx if the integration failed: the function fails, or Lambda has no free invocation."""

RETRY = Policy(0.5, 8.0, has_jitter=True)
"""How a connection that such a server refused is tried again."""
MAX_PIECES = 256
"""Pieces of a frame that has not arrived completely, before they are joined."""
MAX_FRAMES = 1_024
"""Frames of one message: many more than a server has reason to send, and few enough to be joined one by one."""
MAX_CONTROLS_PER_S = 100
"""Pings and pongs on one connection. Servers ping every few seconds."""
MAX_CONTROL_BYTES = 125
"""RFC 6455, section 5.5."""


class Frame(NamedTuple):
    """One message, by the connection's protocol, and the arrival time of the WebSocket message that it was in."""

    payload: Payload
    arrived_ns: int
    """When its last byte arrived; 0 if the kernel gave no timestamp."""
    exact: bool
    """False if more had already arrived behind it. Linux joins what waits in a socket's queue and keeps only the newest
    timestamp, so `arrived_ns` is then an upper bound."""
    error: str | None = None
    """Why the server refused something, if it is no message but that."""


class Closed(Exception):
    """The connection has ended; says why in a few words."""


class FrameBuffer(frame_buffer):
    """websocket-client's reader of frames, with a largest size of a frame: it looks at the size before it reads on."""

    def __init__(self, receive: Callable[[int], bytes], max_bytes: int) -> None:
        super().__init__(receive, skip_utf8_validation=True)
        self._max_bytes = max_bytes

    def recv_length(self) -> None:
        super().recv_length()
        if (length := self.length or 0) > self._max_bytes:
            raise LimitError(f"a frame of {length:,} bytes, more than --max-message-bytes", 1009)


class Connection:
    """A WebSocket to a URL."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        ca_file: str | None = None,
        max_message_bytes: int = messages.MAX_MESSAGE_BYTES,
        protocol: Protocol | None = None,
    ) -> None:
        """Connect, and return when the server has accepted the handshake and, if there is one, the subscription.

        Args:
            url: ws:// or wss://.
            timeout_s: the longest time for all of it.
            ca_file: certificates to trust instead of the system's.
            max_message_bytes: a server that sends a larger message is left.
            protocol: what to speak, for this connection alone; if it is None, a frame is a message.

        Raises:
            ValueError: if the URL names no host.
            OSError: (`ssl.SSLError` among them) or `websocket.WebSocketException`: if the connection fails;
                `WebSocketBadStatusException` if the server refuses the handshake.
        """
        self.closed = Event()
        """Set once `close` has been called."""
        # Validating UTF-8 in Python would cost more than all the rest, and a receiver decodes anyway.
        self._websocket = websocket.WebSocket(skip_utf8_validation=True)
        self._buffer = FrameBuffer(self._receive, max_message_bytes)
        self._max_message_bytes = max_message_bytes
        self._fragments = self._controls = 0
        self._controls_since_s = 0.0
        self._answers: deque[tuple[Payload, int | None]] = deque(maxlen=MAX_CONTROLS_PER_S)
        """What is not sent yet, as for `_send`."""
        self._is_answering = False
        self._close_code = 1000
        self._on_arrival: Callable[[], None] = lambda: None
        self._pings: Any = None
        self.protocol = protocol or Protocol("", "")
        waiting_for = "answer"
        try:
            with gevent.Timeout(timeout_s):
                self._arrivals, self._stream = self._open(url, ca_file)
                waiting_for = "subscription"
                self._subscribe()
        except gevent.Timeout:
            raise TimeoutError(f"no {waiting_for} within {timeout_s:g} s") from None
        self.local_port: int = self._arrivals.getsockname()[1]

    def _open(self, url: str, ca_file: str | None) -> tuple[ArrivalSocket, ArrivalSocket | TlsArrivalSocket]:
        """Connect and shake hands; the socket below and, of wss://, the TLS over it."""
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError(f"{url!r} names no host")
        secure = parts.scheme == "wss"
        connected = sockets.connect(parts.hostname, parts.port or (443 if secure else 80), tunnel=secure)
        connected.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        arrivals = ArrivalSocket(connected)
        try:
            stream = TlsArrivalSocket(arrivals, tls_context(ca_file), parts.hostname) if secure else arrivals
            to, headers, subprotocols = self.protocol.handshake(with_query(url))
            if subprotocols:  # as a header, since websocket-client logs those that are refused: a key may be in one
                headers = headers | {"Sec-WebSocket-Protocol": ",".join(subprotocols)}
            # Load goes where it was sent, so a redirection is not followed.
            self._websocket.connect(to, socket=stream, redirect_limit=0, header=headers)
        except BaseException as error:
            arrivals.close()
            redirection = self._websocket.handshake_response
            if status := redirection.status if redirection else getattr(error, "status_code", None):
                # Without the headers and the body, which the error of websocket-client quotes: Locust keeps each text.
                raise websocket.WebSocketBadStatusException("the handshake was refused", status) from None
            raise
        if subprotocols and (self._websocket.getheaders() or {}).get("sec-websocket-protocol") not in subprotocols:
            arrivals.close()
            raise websocket.WebSocketException("the server does not speak this protocol: it chose no subprotocol")
        return arrivals, stream

    def _subscribe(self) -> None:
        """Send what the protocol begins with, and wait until it is subscribed."""
        try:
            for payload in self.protocol.begin():
                self._send(payload)
            while not self.protocol.is_subscribed:
                for frame in self.frames(1):
                    if frame.error:
                        raise ConnectionError(f"refused by the server: {frame.error}")
        except BaseException as error:
            self.close()
            if isinstance(error, Closed):
                raise ConnectionError(f"{error}, before it confirmed the subscription") from None
            raise

    def watch(self, on_arrival: Callable[[], None]) -> None:
        """From now on call `on_arrival` in the event loop when there may be frames. It must not wait."""
        self._on_arrival = on_arrival
        self._arrivals.watch(on_arrival)
        if ping_s := self.protocol.ping_s:
            self._pings = gevent.get_hub().loop.timer(ping_s, ping_s)
            self._pings.start(self._answer, self.protocol.ping)
        on_arrival()  # something may have arrived together with the answer to the handshake

    def frames(self, limit: int) -> Iterator[Frame]:
        """The messages that have arrived completely since the last call, without waiting for more.

        Args:
            limit: of frames, whatever they are, so that this ends soon; `on_arrival` is then called again.

        Raises:
            Closed: after the last one, if the connection has ended, or if the server has sent more than it may.
        """
        stream, partial = self._stream, self._websocket.cont_frame
        try:
            for _ in range(limit):
                frame: Any = self._buffer.recv_frame()
                if frame.opcode in FIRST and frame.fin and not partial.cont_data:
                    payload = frame.data
                elif frame.opcode in CONTROLS:
                    self._handle_control(frame)
                    continue
                elif (payload := self._join(frame)) is None:
                    continue
                taken = self.protocol.take(payload)
                for reply in taken.replies:
                    self._count_control()
                    self._answer(reply)
                if taken.error is not None:
                    yield Frame(payload, stream.arrived_ns, stream.exact, taken.error)
                for message in taken.messages:
                    yield Frame(message, stream.arrived_ns, stream.exact)
            self._on_arrival()
        except NothingYet:
            if len(pieces := self._buffer.recv_buffer) > MAX_PIECES:  # websocket-client adds their sizes up each time
                self._buffer.recv_buffer = [b"".join(pieces)]
        except (LimitError, ValueError) as error:
            self._close_code = getattr(error, "code", 1002)  # a ValueError is the protocol's, about a frame
            raise Closed(f"closed with code {self._close_code}: {describe(error)}") from None
        except (OSError, websocket.WebSocketException) as error:
            raise Closed(describe(error)) from error

    def _receive(self, size: int) -> bytes:
        """At least a byte. `WebSocket._recv` does the same, and prepares to wait, which costs as much as a frame."""
        if not (data := self._stream.recv(size)):
            raise websocket.WebSocketConnectionClosedException("the server ended the connection")
        return data

    def _join(self, frame: Any) -> bytes | None:
        """Add a frame to the message that it belongs to; the message, if it is the last."""
        message: Any = self._websocket.cont_frame
        message.validate(frame)
        message.add(frame)
        self._fragments += 1
        if len(message.cont_data[1]) > self._max_message_bytes:
            raise LimitError(f"a message of more than {self._max_message_bytes:,} bytes (--max-message-bytes)", 1009)
        if self._fragments > MAX_FRAMES:
            raise LimitError(f"a message in more than {MAX_FRAMES:,} frames", 1008)
        if not frame.fin:
            return None
        self._fragments = 0
        return bytes(message.extract(frame)[1].data)

    def _handle_control(self, frame: Any) -> None:
        if frame.opcode == ABNF.OPCODE_CLOSE:
            code = int.from_bytes(frame.data[:2], "big") if len(frame.data) >= 2 else 1005
            raise Closed(f"closed by the server with code {code}")
        if len(frame.data) > MAX_CONTROL_BYTES:
            raise LimitError(f"a control frame of more than {MAX_CONTROL_BYTES} bytes", 1009)
        self._count_control()
        if frame.opcode == ABNF.OPCODE_PING:
            for answer in [each for each in self._answers if each[1]]:
                self._answers.remove(answer)  # only the newest ping needs one: RFC 6455, section 5.5.3
            self._answer(frame.data, ABNF.OPCODE_PONG)

    def _count_control(self) -> None:
        """Count a frame that has to be answered, or is such an answer."""
        if (now_s := time.monotonic()) - self._controls_since_s > 1:
            self._controls, self._controls_since_s = 0, now_s
        self._controls += 1
        if self._controls > MAX_CONTROLS_PER_S:
            raise LimitError(f"more than {MAX_CONTROLS_PER_S} control frames in a second", 1008)

    def _answer(self, payload: Payload, opcode: int | None = None) -> None:
        """Send in a greenlet, since that may wait for a server that does not read."""
        self._answers.append((payload, opcode))
        if not self._is_answering:
            self._is_answering = True
            gevent.spawn(self._send_answers)

    def _send_answers(self) -> None:
        with suppress(OSError, websocket.WebSocketException):
            while self._answers:
                self._send(*self._answers.popleft())
        self._is_answering = False

    def send(self, text: str) -> None:
        """Broadcast a text; may wait for a server that does not read."""
        self._send(self.protocol.wrap(text))

    def _send(self, payload: Payload, opcode: int | None = None) -> None:
        kind = ABNF.OPCODE_TEXT if isinstance(payload, str) else ABNF.OPCODE_BINARY
        self._websocket.send(payload, kind if opcode is None else opcode)

    def close(self) -> None:
        """Close, after a close frame if that can be sent at once."""
        if self._pings:
            self._pings.close()
        self._arrivals.settimeout(0)
        if not self._websocket.lock.locked():  # a greenlet that still sends waits for a server that does not read
            self._websocket.close(self._close_code, timeout=0)
        self._websocket.shutdown()
        self.closed.set()


def with_query(url: str) -> str:
    """The URL with the query string that `LOADTEST_QUERY` in the environment holds.

    A key that lets a client in belongs there: as a part of the URL itself, it would be in the list of processes and in
    every report.
    """
    query = os.environ.get(QUERY_VARIABLE)
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def busy_status(error: BaseException) -> int | None:
    """The status of a handshake that was refused with this error and may be tried again; None for any other error."""
    status = getattr(error, "status_code", None)
    return status if status in BUSY else None
