"""One message on its way to many connections: one thread sends all posts and reads all responses."""

import heapq
import os
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from selectors import EVENT_READ
from types import TracebackType

from fanout import pacing
from fanout.http_connections import HttpConnection, connection_pool
from fanout.pacing import Post
from fanout.sigv4 import Signer

# As boto3's client with `connect_timeout=2, read_timeout=5`. The first covers the TLS handshake, too.
CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 5
SWEEP_S = 0.05  # how often the loop looks for what has taken too long
MAX_READY = 5_000  # posts: with more, the threads that read the table would only run ahead


@dataclass
class Outcome:
    """What became of one broadcast's posts."""

    connections: int = 0
    """Connections to post to. The four outcomes add up to it: delivered, gone, failed and unreached."""
    delivered: int = 0
    gone: int = 0
    """Answered 410."""
    failed: int = 0
    """Given up for any other answer, or for none."""
    unreached: int = 0
    """Not reached by the deadline."""
    throttled: int = 0
    """Responses that were a throttle (429)."""
    retried: int = 0
    """Posts that were made again, for this or another reason."""
    post_ms: float = 0.0
    """From the first post's beginning to the last one's end."""
    error: str | None = None
    """The last failure's text."""
    gone_ids: list[str] = field(default_factory=list)
    slow_ids: list[str] = field(default_factory=list)
    """Connections whose client does not read. They are among those that failed."""


class Fanout:
    """One message on its way to many connections. A context manager: leaving it waits for all posts.

    Environment: `APIGatewayEndpoint`, the stage's URL without `/@connections`, `http` or `https`; the Region and the
    credentials where Lambda puts them.

    Args:
        data: the message, not empty.
        deadline: by `time.monotonic()`. After it no post begins, and none is waited for.
        posts_per_second: how much of the account's quota the whole broadcast may use; None if that is not known.
        invocations: how many post at the same time, this one included, and share that.
    """

    def __init__(
        self, data: bytes, deadline: float, posts_per_second: float | None = None, invocations: int = 1
    ) -> None:
        self.outcome = Outcome()
        """Complete when the context has been left."""
        self._data, self._deadline, self._invocations = data, deadline, invocations
        self._limiter, self._throttles = pacing.RateLimiter(posts_per_second, invocations), pacing.ThrottleClassifier()
        self._ready: deque[Post] = deque()
        self._delayed: list[tuple[float, int, Post]] = []  # a heap: when the backoff ends, and a number, since
        self._delays = 0  # posts have no order
        self._in_flight: dict[HttpConnection, Post] = {}
        self._room, self._waiting = threading.Condition(), 0  # how many threads wait for room in the queue
        self._thread: threading.Thread | None = None
        self._is_finishing = self._is_over = False
        self._last_throttle, self._fatal = "", ""

    # --- for the function: any thread may post -------------------------------------------------------------------

    def __enter__(self) -> "Fanout":
        return self

    def post(self, connection_ids: list[str]) -> None:
        """Begin to post to these connections. Returns at once, or as soon as no more than `MAX_READY` posts wait.

        Raises:
            NoCredentialsError: if the environment has none.
        """
        if not connection_ids:
            return
        with self._room:
            if not self._thread:
                self._start()
            self.outcome.connections += len(connection_ids)
            self._ready.extend(map(Post, connection_ids))
            self._wake()
            self._waiting += 1
            self._room.wait_for(lambda: self._is_over or len(self._ready) <= MAX_READY)
            self._waiting -= 1

    def set_invocations(self, invocations: int) -> None:
        """From now on this many invocations post at the same time."""
        self._limiter.set_invocations(invocations)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._thread:
            return
        self._is_finishing = True
        self._wake()
        self._thread.join()
        self._waker.close()
        self._wakened.close()
        outcome, rest = self.outcome, len(self._ready) + len(self._delayed)
        if self._fatal:
            outcome.failed += rest
            outcome.error = self._fatal
        elif rest:
            outcome.unreached += rest
            outcome.error = outcome.error or self._last_throttle or None
        outcome.post_ms = (time.perf_counter() - self._started_at) * 1000

    def _start(self) -> None:
        self._started_at = time.perf_counter()
        endpoint = os.environ["APIGatewayEndpoint"]
        self._signer, self._pool = Signer(endpoint, self._data), connection_pool(endpoint)
        self._limiter.known_rate = self._pool.known_rate
        self._wakened, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._pool.selector.register(self._wakened, EVENT_READ)  # without data, which all connections have
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # the socket is full of calls that the loop has not read yet, or never will
            self._waker.send(b"\0")

    # --- the loop ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pool, swept_at = self._pool, 0.0
        try:
            if (left_s := self._deadline - time.monotonic()) > 0:
                pool.begin(self._invocations, min(CONNECT_TIMEOUT_S, left_s))
            while not self._is_done() and (now := time.monotonic()) < self._deadline:
                for key, _ in pool.selector.select(self._begin_posts(now)):
                    if key.data:
                        self._advance(key.data)
                    else:
                        self._wakened.recv(4096)
                if now - swept_at > SWEEP_S:
                    swept_at = now
                    self._sweep(now)
                if self._waiting and len(self._ready) <= MAX_READY:
                    self._notify()
        except Exception as error:  # a name that does not resolve, a server without trust, credentials that are gone
            self._fatal = _no_answer(error)
        finally:
            self._is_over = True
            self._notify()
            self._end()

    def _is_done(self) -> bool:
        return self._is_finishing and not (self._ready or self._delayed or self._in_flight)

    def _notify(self) -> None:
        with self._room:
            self._room.notify_all()

    def _begin_posts(self, now: float) -> float:
        """Begin the posts that may begin now. Returns for how many seconds there is nothing more to begin."""
        pool, wait_s = self._pool, SWEEP_S
        while self._delayed and self._delayed[0][0] <= now:
            post = heapq.heappop(self._delayed)[2]
            (self._ready.appendleft if pacing.goes_first(post) else self._ready.append)(post)
        while self._ready and pool.idle and len(self._in_flight) < pool.window:
            if limited_s := self._limiter.acquire(now):
                wait_s = limited_s
                break
            self._send(pool.idle.pop(), now)
        else:
            if self._ready and not pool.idle:
                self._open_connections(now)
        if self._delayed:
            wait_s = min(wait_s, self._delayed[0][0] - now)
        return max(0.0, min(wait_s, SWEEP_S, self._deadline - now))

    def _open_connections(self, now: float) -> None:
        posts = len(self._ready) + len(self._in_flight)
        for _ in range(self._pool.missing(posts, self._limiter.rate(now))):
            try:
                self._pool.open(now + CONNECT_TIMEOUT_S)
            except OSError as error:
                self._opening_failed(error)
                return

    def _send(self, connection: HttpConnection, now: float) -> None:
        post = self._in_flight[connection] = self._ready.popleft()
        post.attempts += 1
        try:
            connection.send(self._signer.request(post.connection_id), now, READ_TIMEOUT_S)
        except OSError as error:
            self._drop(connection, error)
        else:
            self._pool.watch(connection)

    def _advance(self, connection: HttpConnection) -> None:
        """Something has happened on this connection: go on with it."""
        post = self._in_flight.get(connection)
        if connection.is_open and not post:
            if connection in self._pool.all and connection.is_dropped():
                self._pool.remove(connection)
            return
        try:
            response = connection.advance()
        except (OSError, ValueError) as error:
            self._drop(connection, error)
            return
        self._pool.watch(connection)
        if post and response:
            self._answered(connection, post, time.monotonic(), *response)
        elif connection.is_open and not post:
            self._pool.opened(connection)
            self._send_next(connection, time.monotonic())

    def _answered(
        self, connection: HttpConnection, post: Post, now: float, status: int, code: str, message: str
    ) -> None:
        del self._in_flight[connection]
        self._pool.answered(connection, now, is_delivered=status < 300)
        if pacing.is_throttle(status, code):
            self._throttled(post, now, connection.sent_at, f"{status} {code}: {message}")
        else:
            self._throttles.accepted(post)
            self._limiter.accepted(now, connection.sent_at)
            if status < 300:
                self.outcome.delivered += 1
            elif status == 410:
                self.outcome.gone += 1
                self.outcome.gone_ids.append(post.connection_id)
            else:
                self._fail_or_retry(post, f"{status} {code}: {message}", pacing.is_transient(status, code))
        if connection.is_reusable:
            self._send_next(connection, now)
        else:
            self._pool.remove(connection)

    def _send_next(self, connection: HttpConnection, now: float) -> None:
        """Give an open connection its next post at once, or keep the connection for later."""
        connection.used_at = now
        if self._ready and len(self._in_flight) < self._pool.window and not self._limiter.acquire(now):
            self._send(connection, now)
        else:
            self._pool.idle.append(connection)

    # --- what goes wrong -----------------------------------------------------------------------------------------

    def _throttled(self, post: Post, now: float, sent_at: float, throttle: str) -> None:
        """A throttle does not count as an attempt; a slow consumer is given up in the end."""
        self.outcome.throttled += 1
        self._last_throttle = throttle
        if self._throttles.throttled(post):
            self._limiter.throttled(now, sent_at)
        if self._throttles.is_slow_consumer(post):
            self.outcome.slow_ids.append(post.connection_id)
            self._fail(f"{throttle} (its client does not read)")
        else:
            post.attempts -= 1
            self._retry(post, pacing.throttle_backoff_s(post.throttles))

    def _fail(self, error: str) -> None:
        self.outcome.failed += 1
        self.outcome.error = error

    def _retry(self, post: Post, after_s: float) -> None:
        self.outcome.retried += 1
        self._delays += 1
        heapq.heappush(self._delayed, (time.monotonic() + after_s, self._delays, post))

    def _fail_or_retry(self, post: Post, error: str, is_transient: bool) -> None:
        if is_transient and post.attempts < pacing.MAX_ATTEMPTS:
            self.outcome.error = error
            self._retry(post, pacing.backoff_s(post.attempts))
        else:
            self._fail(error)

    def _sweep(self, now: float) -> None:
        """Give up what has taken too long."""
        for connection in list(self._pool.all):
            if connection.expires_at < now and (connection in self._in_flight or not connection.is_open):
                self._drop(connection, TimeoutError("There was no answer in time."))

    def _drop(self, connection: HttpConnection, error: Exception) -> None:
        """A connection could not be made, or broke. Raises the error if any other connection would meet it, too."""
        post = self._in_flight.pop(connection, None)
        self._pool.remove(connection)
        if isinstance(error, ssl.SSLCertVerificationError):
            raise error
        if not post:
            self._opening_failed(error)
        elif not post.is_excused and connection.was_idle and not isinstance(error, TimeoutError):
            self._excuse(post, _no_answer(error))
        else:
            self._fail_or_retry(post, _no_answer(error), True)

    def _excuse(self, post: Post, error: str) -> None:
        """Retry for free: the server closed this idle connection just as it was used.

        Nobody can distinguish that from an answer that got lost. So a post is excused only once, and goes over a
        connection that has just been opened or has just answered: the other idle ones are probably closed, too.
        """
        self._pool.close_idle()
        self.outcome.error = error
        post.is_excused = True
        post.attempts -= 1
        self._retry(post, 0)

    def _opening_failed(self, error: Exception) -> None:
        """No connection could be opened. If others are open, they suffice; otherwise a post that waits has failed."""
        if any(other.is_open for other in self._pool.all):
            self._pool.suffice()
        elif self._ready:
            post = self._ready.popleft()
            post.attempts += 1
            self._fail_or_retry(post, _no_answer(error), True)

    def _end(self) -> None:
        if self._in_flight:
            self.outcome.failed += len(self._in_flight)
            self.outcome.error = _no_answer(TimeoutError("There was none by the deadline."))
        self._pool.selector.unregister(self._wakened)
        self._pool.known_rate = self._limiter.known_rate
        self._pool.end(self._throttles.was_quota_exhausted)


def _no_answer(error: Exception) -> str:
    return f"no answer {type(error).__name__}: {error}"
