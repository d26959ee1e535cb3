"""The posts of one broadcast that are not in flight. One thread reads the table and adds to them, another one sends."""

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterable

MAX_READY = 5_000  # posts: more would only make the reader of the table run ahead of them


class Post:
    """A message on its way to one connection."""

    __slots__ = ("attempts", "connection_id", "is_excused", "p_value", "throttles")

    def __init__(self, connection_id: str) -> None:
        self.connection_id = connection_id
        self.attempts = 0
        """How often it was sent, without the times that it was throttled, and the one that it was excused."""
        self.is_excused = False
        """Whether it was sent over an idle connection that broke."""
        self.throttles = 0
        self.p_value = 1.0
        """How likely the account's quota alone would throttle it so often: `throttles.ThrottleClassifier`."""


class PostQueue:
    """Posts that are ready to be sent, and those whose backoff is not over."""

    def __init__(self) -> None:
        self.ready: deque[Post] = deque()
        self.delayed: list[tuple[float, int, Post]] = []
        """A heap of (due, number, post), `due` by `time.monotonic()`."""
        self.waiting = 0
        """How many threads wait for room."""
        self._room, self._is_closed, self._delays = threading.Condition(), False, 0

    def __len__(self) -> int:
        return len(self.ready) + len(self.delayed)

    def add(self, connection_ids: Iterable[str]) -> None:
        """Add a post for each of these connections. Any thread may call it."""
        with self._room:
            self.ready.extend(map(Post, connection_ids))

    def wait_for_room(self) -> None:
        """Wait while more than `MAX_READY` posts are ready: back-pressure. Any thread may call it."""
        with self._room:
            self.waiting += 1
            self._room.wait_for(lambda: self._is_closed or len(self.ready) <= MAX_READY)
            self.waiting -= 1

    def notify_room(self) -> None:
        """Let the threads that wait see whether there is room now."""
        with self._room:
            self._room.notify_all()

    def close(self) -> None:
        """Nothing more is sent: nobody has to wait any more."""
        self._is_closed = True
        self.notify_room()

    def delay(self, post: Post, seconds: float) -> None:
        """Make a post ready after its backoff."""
        self._delays += 1  # no two entries of the heap are equal: posts have no order
        heapq.heappush(self.delayed, (time.monotonic() + seconds, self._delays, post))

    def end_backoff(self) -> None:
        """Make the post ready whose backoff ends first, and send it before all others."""
        self.ready.appendleft(heapq.heappop(self.delayed)[2])
