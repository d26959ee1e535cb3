"""Post one message to many connections, fast: the fan-out of a broadcast.

boto3 spends over a millisecond of CPU on each `post_to_connection` and waits for its response, and threads around it
gain little, because they compute one at a time. Here one thread drives all connections to the API (`event_loop`): a
post is the bytes of one HTTP request on a connection that is kept open, of whose response only the status, and for an
error its code, are read.

A throttle (429) is no failure but says: not so fast. So nobody is lost to the account's quota as long as there is time.
Unless it is one connection's own, whose client does not read: that holds up nobody else, and is given up soon.
"""

import os
import threading
import time
from collections.abc import Callable
from selectors import DefaultSelector
from types import TracebackType

from connection_set import ConnectionSet
from event_loop import EventLoop
from http_pool import ConnectionPool, connection_pool
from outcomes import Outcomes
from rate_limiter import RateLimiter


class Fanout:
    """One message on its way to many connections. A context: its end waits for all posts.

    Environment: `APIGatewayEndpoint`, the stage's URL without `/@connections`, `http` or `https`; the Region and the
    credentials where Lambda puts them.

    Args:
        data: the message, not empty.
        deadline: by `time.monotonic()`. Nothing is begun after it, and nothing waited for.
        posts_per_second: what the whole broadcast may use of the account's quota; None if that is not known.
        invocations: how many post at the same time, this one included, and share that.
        connection_set: makes the set of connections that it uses.
    """

    def __init__(
        self,
        data: bytes,
        deadline: float,
        posts_per_second: float | None = None,
        invocations: int = 1,
        connection_set: Callable[[ConnectionPool, DefaultSelector, int], ConnectionSet] = ConnectionSet,
    ) -> None:
        self._data, self._deadline, self._posts_per_second = data, deadline, posts_per_second
        self._invocations, self._connection_set = invocations, connection_set
        self._limiter, self._lock, self._started_at = RateLimiter(), threading.Lock(), 0.0
        self._event_loop: EventLoop | None = None
        self.outcomes = Outcomes()
        """Complete when the context has ended."""
        self.post_ms = 0.0
        """From the first post's beginning to the last one's end."""

    def __enter__(self) -> "Fanout":
        return self

    def post(self, connection_ids: list[str]) -> None:
        """Begin to post to these connections. Any thread may call it.

        Returns at once, or when there are few enough before the next ones: `post_queue.PostQueue.wait_for_room`.

        Raises:
            NoCredentialsError: if the environment has none.
        """
        if not connection_ids:
            return
        with self._lock:
            event_loop = self._event_loop or self._start()
            self.outcomes.counts["connections"] += len(connection_ids)
        event_loop.queue.add(connection_ids)
        event_loop.wake()
        event_loop.queue.wait_for_room()

    def share(self, invocations: int) -> None:
        """From now on so many post at the same time."""
        self._invocations = invocations
        self._limiter.set_max_rate(self._posts_per_second and self._posts_per_second / invocations)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._event_loop:
            self._event_loop.finish()
            self.post_ms = (time.perf_counter() - self._started_at) * 1000

    def _start(self) -> EventLoop:
        self._started_at = time.perf_counter()
        endpoint, selector = os.environ["APIGatewayEndpoint"], DefaultSelector()
        connections = self._connection_set(connection_pool(endpoint), selector, self._invocations)
        self.share(self._invocations)
        self._event_loop = EventLoop(
            endpoint, self._data, self._deadline, selector, connections, self._limiter, self.outcomes
        )
        self._event_loop.start()
        return self._event_loop
