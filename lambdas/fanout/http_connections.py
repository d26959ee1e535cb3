"""HTTP/1.1 over connections that stay open and never block: one event loop can drive hundreds of them.

Over TLS too. A blocking `ssl` socket begins to wait again when the kernel's time-out (SO_RCVTIMEO) interrupts it, so a
silent peer would hold it for ever. With non-blocking sockets the event loop keeps the time.
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
from itertools import cycle
from queue import Empty, SimpleQueue
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import Any
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path

MAX_CONNECTIONS, MIN_WINDOW = 400, 2
MAX_IDLE_S = 55  # load balancers silently drop a connection that was idle for 60 s
MIN_IDLE_S = 0.1  # no server closes a connection as idle that was used this recently
MAX_HEADER_BYTES = 64 * 1024
ADDRESSES_TTL_S = 60

# Before anything is known of the endpoint. The window limits how many posts are throttled before that shows a quota.
INITIAL_WINDOW = 32
INITIAL_LATENCY_S, INITIAL_OPENING_S = 0.01, 0.001
SMOOTHING = 0.1  # the weight of a new measurement of either
BROADCASTS = 16  # how many a new connection will probably serve, if an earlier broadcast has left connections

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""From `socket.getaddrinfo`: the family, and the argument of `connect`, which depends on the family."""
Headers = dict[bytes, bytes]


class HttpConnection:
    """One connection, which takes one request at a time. Call `advance` whenever its socket is ready.

    Raises OSError (ssl.SSLError is one) if it can't be made, or breaks; ValueError for what is not HTTP.
    """

    def __init__(self, pool: "ConnectionPool", address: Address, expires_at: float) -> None:
        self._pool, self._unsent, self._received = pool, b"", b""
        self.is_open, self.is_reusable = False, True
        self.events, self.registered_events = EVENT_WRITE, 0
        """What to wait for (selectors' EVENT_READ or EVENT_WRITE), and what the selector waits for."""
        self.sent_at = self.used_at = 0.0
        self.expires_at = expires_at
        """How long to wait: for the connection to open, then for a response."""
        self.opening_work_s = 0.0
        """Seconds of this thread's work that opening it took, without the waiting."""
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

    def send(self, request: bytes, now: float, timeout_s: float) -> None:
        """Begin to send a request on an open connection that has none in flight."""
        self._unsent, self._received = request, b""
        self.sent_at, self.expires_at = now, now + timeout_s
        self._send()

    def advance(self) -> tuple[int, str, str] | None:
        """Go on as far as possible without waiting.

        Returns the response when it is whole: its status and, for an error, its code and message. Returns None if the
        connection is open now (`is_open`), or if there is more to wait for.
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
        """Whether the server has closed it, or sent something unasked, while it was idle."""
        try:
            self.socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    @property
    def was_idle(self) -> bool:
        """Whether it was idle before the request in flight, and nothing of the response has come."""
        return self.sent_at - self.used_at > MIN_IDLE_S and not self._received

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
    """The connections to one endpoint, and what is known of the endpoint. A pool serves one broadcast after another."""

    max_connections = MAX_CONNECTIONS

    def __init__(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self.hostname, self._port = url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]
        self._resolved_at = -math.inf
        self._addresses: Iterator[Address] = iter(())
        # The certificates that boto3 trusts.
        trusted = os.environ.get("AWS_CA_BUNDLE") or get_cert_path(True)
        self.tls_context = ssl.create_default_context(cafile=trusted) if url.scheme == "https" else None
        self.tls_session: ssl.SSLSession | None = None
        """New connections resume it, which spares them the exchange of certificates."""
        self.selector = DefaultSelector()
        self.all: set[HttpConnection] = set()
        self.idle: list[HttpConnection] = []
        self.window = self.first_window = INITIAL_WINDOW
        """How many posts may be in flight, now and when a broadcast begins. Each delivered post allows one more."""
        self.latency_s, self.opening_s = INITIAL_LATENCY_S, INITIAL_OPENING_S
        """How long a response takes, and how much of this thread's time opening a connection takes: both measured."""
        self.known_rate = 0.0
        """Posts a second that API Gateway is known to accept: see `pacing.RateLimiter`."""
        self._is_warm, self._is_enough = False, False

    def begin(self, invocations: int, timeout_s: float) -> None:
        """Begin a broadcast, with the connections of the last one that are still open.

        Args:
            invocations: how many post at the same time, this one included: they share the first window.
            timeout_s: for looking up the endpoint's name.

        Raises:
            OSError: TimeoutError among others, if the name does not resolve.
        """
        self.window, self._is_enough = max(MIN_WINDOW, self.first_window // invocations), False
        self._resolve(timeout_s)
        now = time.monotonic()  # not before the look-up: meanwhile the server may have closed some
        for connection in self.idle[:]:
            if now - connection.used_at > MAX_IDLE_S or connection.is_dropped():
                self.remove(connection)
        self._is_warm = bool(self.idle)

    def missing(self, posts: int, rate: float) -> int:
        """How many connections to open: as many as each save more time than they cost.

        With k connections, n posts take n/k times a response's time. One more saves n/(k (k + 1)) of it, and costs this
        thread the work of opening it: once, although the next broadcasts use the connection, too. The first broadcast
        can't wait for that. More connections than rate times latency (Little's law), or than n, are of no use.

        Args:
            posts: how many are ready or in flight.
            rate: how many of them may leave in a second.
        """
        k, n = len(self.all), posts
        useful = 0 if self._is_enough else min(n, self.max_connections, self.window, 1 + 2 * rate * self.latency_s)
        saved_s = n * self.latency_s * (BROADCASTS if self._is_warm else 1)
        while k < useful and saved_s > self.opening_s * k * (k + 1):
            k += 1
        return k - len(self.all)

    def open(self, expires_at: float) -> HttpConnection:
        """Begin to open a connection to the next of the endpoint's addresses, until `expires_at`. Raises OSError."""
        connection = HttpConnection(self, next(self._addresses), expires_at)
        self.all.add(connection)
        self.selector.register(connection.fd, connection.events, connection)
        connection.registered_events = connection.events
        return connection

    def opened(self, connection: HttpConnection) -> None:
        """A connection is open now."""
        self.opening_s += SMOOTHING * (connection.opening_work_s - self.opening_s)

    def answered(self, connection: HttpConnection, now: float, is_delivered: bool) -> None:
        """A response has come: measure it."""
        self.latency_s += SMOOTHING * (now - connection.sent_at - self.latency_s)
        if is_delivered:
            self.window = min(self.max_connections, self.window + 1)

    def suffice(self) -> None:
        """Open no more connections in this broadcast."""
        self._is_enough = True

    def watch(self, connection: HttpConnection) -> None:
        """Have the selector wait for what the connection waits for now."""
        if connection.events != connection.registered_events:
            self.selector.modify(connection.fd, connection.events, connection)
            connection.registered_events = connection.events

    def remove(self, connection: HttpConnection) -> None:
        """Close a connection, even with a request in flight."""
        if connection in self.idle:
            self.idle.remove(connection)
        self.all.discard(connection)
        self.selector.unregister(connection.fd)
        connection.socket.close()

    def close_idle(self) -> None:
        """Close all idle connections: if the server has closed one, it has probably closed others."""
        while self.idle:
            self.remove(self.idle[-1])

    def end(self, was_quota_exhausted: bool) -> None:
        """End a broadcast: keep the idle connections, and the window, for the next one; close all others."""
        for connection in self.all.difference(self.idle):
            self.remove(connection)
        self.first_window = INITIAL_WINDOW if was_quota_exhausted else max(self.first_window, self.window)

    def _resolve(self, timeout_s: float) -> None:
        """Look up the endpoint's addresses, unless that was done recently.

        In a thread, since the system's resolver can't be interrupted and knows no deadline.
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


POOLS: dict[str, ConnectionPool] = {}
"""By endpoint. The first broadcast makes its pool, and all that follow use it."""


def connection_pool(endpoint: str) -> ConnectionPool:
    """The pool of connections to an endpoint."""
    if endpoint not in POOLS:
        POOLS[endpoint] = ConnectionPool(endpoint)
    return POOLS[endpoint]


def close_pools() -> None:
    """Close all connections to all endpoints, and forget them."""
    while POOLS:
        _, pool = POOLS.popitem()
        for connection in list(pool.all):
            pool.remove(connection)
        pool.selector.close()


HEADERS = re.compile(rb"\r\n(content-length|connection|x-amzn-errortype) *: *([^\r]*)", re.IGNORECASE)


def parse_response(received: bytes) -> tuple[int, Headers, bytes, bool] | None:
    """Parse a response: its status, the headers that matter (names in lower case), its body, and whether the connection
    can be used again.

    Returns None until the response is whole. Raises ValueError if it is not HTTP.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > MAX_HEADER_BYTES:
            raise ValueError("The answer's headers have no end.")
        return None
    headers = {name.lower(): value for name, value in HEADERS.findall(received, 0, end)}
    status, body = int(received[9:12]), received[end + 4 :]
    if b"content-length" not in headers and status != 204:  # its length is unknown: never seen, but allowed
        return status, headers, body, False
    if len(body) < int(headers.get(b"content-length", 0)):
        return None
    return status, headers, body, headers.get(b"connection", b"").lower() != b"close"


def parse_error(headers: Headers, body: bytes) -> tuple[str, str]:
    """An error's code and message, from the places where botocore finds them."""
    try:
        error = json.loads(body)
    except ValueError:
        error = {}
    error = error if isinstance(error, dict) else {}
    code = headers.get(b"x-amzn-errortype", b"").decode() or error.get("code") or error.get("__type") or ""
    # As in "com.amazon.coral.service#GoneException:http://..."
    return str(code).partition(":")[0].rpartition("#")[2], error.get("message") or error.get("Message") or ""
