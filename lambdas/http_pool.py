"""HTTP/1.1 over connections that stay open, none of which anybody ever waits for: one event loop can drive hundreds.

Over TLS too: a blocking `ssl` socket that the kernel's time-out (SO_RCVTIMEO) interrupts begins to wait again, so a
peer that says nothing would hold it for ever. A non-blocking socket is looked after by whoever keeps the time.
"""

import json
import math
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from itertools import cycle
from queue import Empty, SimpleQueue
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path
from post_queue import Post

MAX_IDLE_S = 55  # one that was not used for longer may be dropped without a word: load balancers do so after 60 s
MIN_IDLE_S = 0.1  # no server closes one for being idle that was used since
MAX_HEADER_BYTES = 64 * 1024
ADDRESSES_TTL_S = 60

# Before anything is known of the endpoint. The window bounds what is throttled before a quota is known to be used up.
INITIAL_WINDOW = 32
INITIAL_LATENCY_S, INITIAL_OPENING_S = 0.01, 0.001

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""As `socket.getaddrinfo` has it: the family, and what `connect` takes, which depends on the family."""
Headers = dict[bytes, bytes]


class HttpConnection:
    """One connection, which takes a request at a time. Call `advance` whenever its socket is ready.

    Raises OSError (of which ssl.SSLError is one) if it can't be made, or breaks; ValueError for what is not HTTP.
    """

    def __init__(self, pool: "ConnectionPool", address: Address) -> None:
        self._pool, self._unsent, self._received = pool, b"", b""
        self.is_open, self.is_reusable = False, True
        self.events = EVENT_WRITE
        """What the socket is waited for: selectors' EVENT_READ or EVENT_WRITE."""
        self.opening_work_s = 0.0
        """Seconds that opening it has taken of this thread, without the waiting."""
        # For the event loop: the post in flight, since when, the last use, until when to wait, what the selector knows.
        self.post: Post | None = None
        self.sent_at = self.used_at = self.expires_at = 0.0
        self.registered_events = 0
        family, host_and_port = address
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.fd = self.socket.fileno()  # TLS changes the object, not the descriptor
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect(host_and_port)
        except BlockingIOError:
            pass
        except OSError:
            self.socket.close()
            raise

    def send(self, request: bytes) -> None:
        """Begin to send a request on an open connection that has none in flight."""
        self._unsent, self._received = request, b""
        self._send()

    def advance(self) -> tuple[int, str, str] | None:
        """Go on as far as it goes without waiting.

        The response when it has come: its status, and where that is an error its code and message. Otherwise None: the
        connection is open now (`is_open`), or there is more to wait for.
        """
        if not self.is_open:
            self._open()
            return None
        if self._unsent:
            self._send()
        try:
            while True:
                data = self.socket.recv(65536)
                if not data:
                    raise ConnectionError("The connection was closed before there was an answer.")
                self._received += data
                if response := parse_response(self._received):
                    status, headers, body, self.is_reusable = response
                    self._pool.tls_session = self._pool.tls_session or getattr(self.socket, "session", None)
                    return (status, "", "") if status < 300 else (status, *parse_error(headers, body))
        except (BlockingIOError, ssl.SSLWantReadError):
            return None

    def is_dropped(self) -> bool:
        """Whether the server has closed it, or says something that it was not asked for, while it was idle."""
        try:
            self.socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    @property
    def was_idle(self) -> bool:
        """Whether it had long waited for the request in flight, and nothing of the response has come."""
        return self.sent_at - self.used_at > MIN_IDLE_S and not self._received

    def close(self) -> None:
        """Close it, whatever is in flight."""
        self.socket.close()

    def _open(self) -> None:
        started = time.perf_counter()
        try:
            if not isinstance(self.socket, ssl.SSLSocket):
                if number := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(number, os.strerror(number))
                if not self._pool.tls_context:
                    self.is_open, self.events = True, EVENT_READ
                    return
                self.socket = self._pool.tls_context.wrap_socket(
                    self.socket, server_hostname=self._pool.hostname, do_handshake_on_connect=False,
                    session=self._pool.tls_session,
                )  # fmt: skip
            self.socket.do_handshake()
            self.is_open, self.events = True, EVENT_READ
        except ssl.SSLWantReadError:
            self.events = EVENT_READ
        except ssl.SSLWantWriteError:
            self.events = EVENT_WRITE
        finally:
            self.opening_work_s += time.perf_counter() - started

    def _send(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            self.events = EVENT_READ
        except (BlockingIOError, ssl.SSLWantWriteError):
            self.events = EVENT_READ | EVENT_WRITE
        except ssl.SSLWantReadError:
            self.events = EVENT_READ


class ConnectionPool:
    """What outlives a broadcast: idle connections to one endpoint, and what is known of it."""

    def __init__(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self.hostname, self._port = url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]
        self._resolved_at = -math.inf
        self._addresses: Iterator[Address] = iter(())
        # The certificates that boto3 trusts.
        trusted = os.environ.get("AWS_CA_BUNDLE") or get_cert_path(True)
        self.tls_context = ssl.create_default_context(cafile=trusted) if url.scheme == "https" else None
        self.tls_session: ssl.SSLSession | None = None
        """What new connections resume, which spares them the certificates."""
        self.idle: list[HttpConnection] = []
        self.window = INITIAL_WINDOW
        """Posts that may be in flight when a broadcast begins: each that is delivered allows one more."""
        self.latency_s, self.opening_s = INITIAL_LATENCY_S, INITIAL_OPENING_S
        """What a response takes, and what opening a connection takes of this thread: measured all the time."""

    def open(self) -> HttpConnection:
        """A new connection, not yet open, to the next of the endpoint's addresses: `resolve` has to have found them."""
        return HttpConnection(self, next(self._addresses))

    def resolve(self, timeout_s: float) -> None:
        """Find the endpoint's addresses, unless that was done lately. Raises OSError, TimeoutError among others.

        In a thread: the system's resolver can't be interrupted, and knows no deadline.
        """
        if time.monotonic() - self._resolved_at < ADDRESSES_TTL_S:
            return
        found: SimpleQueue[list[Address] | OSError] = SimpleQueue()

        def look_up() -> None:
            try:
                infos = socket.getaddrinfo(self.hostname, self._port, type=socket.SOCK_STREAM)
                found.put([(family, address) for family, _, _, _, address in infos])
            except OSError as error:
                found.put(error)

        threading.Thread(target=look_up, daemon=True).start()
        try:
            addresses = found.get(timeout=max(0.0, timeout_s))
        except Empty:
            raise TimeoutError(f"The name {self.hostname} was not resolved in time.") from None
        if isinstance(addresses, OSError):
            raise addresses
        self._addresses, self._resolved_at = cycle(addresses), time.monotonic()


@lru_cache(maxsize=1)
def connection_pool(endpoint: str) -> ConnectionPool:
    """The endpoint's connections: made for the first broadcast, kept for all that follow."""
    return ConnectionPool(endpoint)


HEADERS = re.compile(rb"\r\n(content-length|connection|x-amzn-errortype) *: *([^\r]*)", re.IGNORECASE)


def parse_response(received: bytes) -> tuple[int, Headers, bytes, bool] | None:
    """One HTTP response: status, the headers that matter (names in lower case), body, whether another may follow it.

    None as long as it is not whole. Raises ValueError if it is not HTTP.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > MAX_HEADER_BYTES:
            raise ValueError("The answer's headers have no end.")
        return None
    headers = {name.lower(): value for name, value in HEADERS.findall(received, 0, end)}
    status, body = int(received[9:12]), received[end + 4 :]
    if b"content-length" not in headers and status != 204:  # of unknown length: never seen, but allowed
        return status, headers, body, False
    if len(body) < int(headers.get(b"content-length", 0)):
        return None
    return status, headers, body, headers.get(b"connection", b"").lower() != b"close"


def parse_error(headers: Headers, body: bytes) -> tuple[str, str]:
    """An error's code and message, from where botocore takes them."""
    try:
        error = json.loads(body)
    except ValueError:
        error = {}
    error = error if isinstance(error, dict) else {}
    code = headers.get(b"x-amzn-errortype", b"").decode() or error.get("code") or error.get("__type") or ""
    # As in "com.amazon.coral.service#GoneException:http://..."
    return str(code).partition(":")[0].rpartition("#")[2], error.get("message") or error.get("Message") or ""
