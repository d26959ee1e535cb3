"""The connections that one broadcast uses, and when it pays to open one more."""

import time
from selectors import DefaultSelector

from http_pool import INITIAL_WINDOW, MAX_IDLE_S, ConnectionPool, HttpConnection

MAX_CONNECTIONS, MIN_WINDOW = 400, 2
BROADCASTS = 16  # that an additional connection is taken to serve, where there have been some already
SMOOTHING = 0.1  # the weight of a new measurement of latency or of opening a connection


class ConnectionSet:
    """Connections in one selector, each of which has at most one post in flight.

    Args:
        pool: where idle connections come from, and go to at the end.
        selector: whose events drive them.
        invocations: how many post at the same time, this one included: they share the first window.
    """

    def __init__(self, pool: ConnectionPool, selector: DefaultSelector, invocations: int) -> None:
        self.pool, self._selector = pool, selector
        self.all: set[HttpConnection] = set()
        self.idle: list[HttpConnection] = []
        self.in_flight = 0
        """Posts that were sent and not answered."""
        self.window = max(MIN_WINDOW, pool.window // invocations)
        """Posts that may be in flight: each that is delivered allows one more, up to `max_window`."""
        self.max_window = self._max_connections = MAX_CONNECTIONS
        self._is_warm = False

    def missing(self, posts: int, rate: float) -> int:
        """How many connections to open, as long as another one saves more time than it costs.

        With k connections, n posts take n/k of a response's time. One more saves n/(k (k + 1)) of it, and costs this
        thread the work of opening it: once, while the next broadcasts have it, too. The first can't wait for that.
        Beyond rate times latency (Little's law), or beyond n, more are of no use.

        Args:
            posts: those that are ready or in flight.
            rate: how many of them may leave in a second.
        """
        pool, k, n = self.pool, len(self.all), posts
        useful = min(n, self._max_connections, self.window, 1 + 2 * rate * pool.latency_s)
        saved_s = n * pool.latency_s * (BROADCASTS if self._is_warm else 1)
        while k < useful and saved_s > pool.opening_s * k * (k + 1):
            k += 1
        return k - len(self.all)

    def open(self, expires_at: float) -> None:
        """Begin to open a connection, which has time until `expires_at`. Raises OSError."""
        connection = self.pool.open()
        connection.expires_at = expires_at
        self._add(connection)

    def opened(self, connection: HttpConnection) -> None:
        """A connection is open now."""
        self.pool.opening_s += SMOOTHING * (connection.opening_work_s - self.pool.opening_s)

    def suffice(self) -> None:
        """Open no more than there are."""
        self._max_connections = len(self.all)

    def take_idle(self) -> None:
        """Go on with the connections that the last broadcast has left."""
        now = time.monotonic()
        while self.pool.idle:
            connection = self.pool.idle.pop()
            if now - connection.used_at > MAX_IDLE_S or connection.is_dropped():
                connection.close()
            else:
                self._add(connection)
                self.idle.append(connection)
        self._is_warm = bool(self.idle)

    def watch(self, connection: HttpConnection) -> None:
        """Wait for what the connection waits for now."""
        if connection.events != connection.registered_events:
            self._selector.modify(connection.fd, connection.events, connection)
            connection.registered_events = connection.events

    def remove(self, connection: HttpConnection) -> None:
        """Close a connection that is not idle."""
        self.all.discard(connection)
        self._selector.unregister(connection.fd)
        connection.close()

    def close_idle(self) -> None:
        """Close all that are idle: where the server has closed one, it has most likely closed others."""
        while self.idle:
            self.remove(self.idle.pop())

    def release(self, is_quota_exhausted: bool) -> None:
        """Leave the idle connections, and the window, to the next broadcast; close all others."""
        for connection in self.all.difference(self.idle):
            connection.close()
        self.pool.idle += self.idle
        self.pool.window = INITIAL_WINDOW if is_quota_exhausted else max(self.pool.window, self.window)

    def _add(self, connection: HttpConnection) -> None:
        self.all.add(connection)
        self._selector.register(connection.fd, connection.events, connection)
        connection.registered_events = connection.events
