"""One thread that sends all posts of a broadcast: an event loop over non-blocking connections."""

import socket
import ssl
import threading
import time
from selectors import EVENT_READ, DefaultSelector

from connection_set import SMOOTHING, ConnectionSet
from http_pool import HttpConnection
from outcomes import Outcomes
from post_queue import MAX_READY, Post, PostQueue
from rate_limiter import RateLimiter
from retries import MAX_ATTEMPTS, backoff_s, is_throttle, is_transient
from sigv4 import Signer
from throttles import ThrottleClassifier

# As boto3's client with `connect_timeout=2, read_timeout=5`. The first covers the TLS handshake, too.
CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 5
SWEEP_S = 0.05  # how often the loop looks for what has taken too long

# API Gateway refuses a signature that is five minutes old; a broadcast that takes longer is signed anew in between.
SIGNATURE_LIFETIME_S = 120


class EventLoop:
    """Sends what is in `queue` until that is empty and `finish` was called, or until the deadline.

    Args:
        endpoint: the stage's URL without `/@connections`.
        data: the message.
        deadline: by `time.monotonic()`. Nothing is begun after it, and nothing waited for.
        selector: the one in which `connections` are.
        connections: those that it sends over.
        limiter: how many posts may leave.
        outcomes: where it counts what became of the posts.

    Raises:
        NoCredentialsError: if the environment has none.
    """

    def __init__(
        self,
        endpoint: str,
        data: bytes,
        deadline: float,
        selector: DefaultSelector,
        connections: ConnectionSet,
        limiter: RateLimiter,
        outcomes: Outcomes,
    ) -> None:
        self._endpoint, self._data, self._deadline = endpoint, data, deadline
        self._selector, self._connections, self._limiter, self._outcomes = selector, connections, limiter, outcomes
        self.queue, self._throttles, self._signer = PostQueue(), ThrottleClassifier(), Signer(endpoint, data)
        self._is_finishing, self._swept_at, self._last_throttle = False, 0.0, ""
        self._outcome_of_the_rest = "unreached"
        self._wakened, self._waker = socket.socketpair()
        selector.register(self._wakened, EVENT_READ)  # without data, which all connections have
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue. Any thread may call it."""
        self._waker.send(b"\0")

    def finish(self) -> None:
        """Wait until all posts are over; count what has not left by the deadline."""
        self._is_finishing = True
        self.wake()
        self._thread.join()
        self._waker.close()
        self._wakened.close()  # not before: whoever posts after the deadline wakes nobody, and that is no error
        rest = len(self.queue)
        self._outcomes.counts[self._outcome_of_the_rest] += rest
        if rest and self._outcome_of_the_rest == "unreached" and self._last_throttle:
            self._outcomes.error = self._outcomes.error or self._last_throttle

    # --- the loop ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        queue, connections = self.queue, self._connections
        try:
            if (left_s := self._deadline - time.monotonic()) > 0:
                connections.pool.resolve(min(CONNECT_TIMEOUT_S, left_s))
            connections.take_idle()  # not before: while a name is looked up, the server may close them
            while not self._is_done() and (now := time.monotonic()) < self._deadline:
                for key, _ in self._selector.select(self._begin_posts(now)):
                    if key.data:
                        self._advance(key.data)
                    else:
                        self._wakened.recv(4096)
                if now - self._swept_at > SWEEP_S:
                    self._sweep(now)
                if queue.waiting and len(queue.ready) <= MAX_READY:
                    queue.notify_room()
        except Exception as error:  # a name that is not resolved, a server that is not trusted, no credentials any more
            self._outcomes.error, self._outcome_of_the_rest = _no_answer(error), "failed"
        finally:
            queue.close()
            self._end()

    def _is_done(self) -> bool:
        queue = self.queue
        return self._is_finishing and not (queue.ready or queue.delayed or self._connections.in_flight)

    def _begin_posts(self, now: float) -> float:
        """Begin what may be begun now; how many seconds there is nothing more to begin."""
        queue, connections = self.queue, self._connections
        while queue.delayed and queue.delayed[0][0] <= now:
            queue.end_backoff()
        wait_s = SWEEP_S
        while queue.ready and connections.idle and connections.in_flight < connections.window:
            if limited_s := self._limiter.acquire(now):
                wait_s = limited_s
                break
            self._send(connections.idle.pop(), now)
        else:
            if queue.ready and not connections.idle:
                self._open_connections(now)
        if queue.delayed:
            wait_s = min(wait_s, queue.delayed[0][0] - now)
        return max(0.0, min(wait_s, SWEEP_S, self._deadline - now))

    def _open_connections(self, now: float) -> None:
        posts = len(self.queue.ready) + self._connections.in_flight
        for _ in range(self._connections.missing(posts, self._limiter.rate(now))):
            try:
                self._connections.open(now + CONNECT_TIMEOUT_S)
            except OSError as error:
                self._opening_failed(error)
                return

    def _send(self, connection: HttpConnection, now: float) -> None:
        post = self.queue.ready.popleft()
        post.attempts += 1
        connection.post, connection.sent_at, connection.expires_at = post, now, now + READ_TIMEOUT_S
        self._connections.in_flight += 1
        try:
            connection.send(self._request(post.connection_id))
        except OSError as error:
            self._drop(connection, error)
        else:
            self._connections.watch(connection)

    def _request(self, connection_id: str) -> bytes:
        if self._signer.age_s > SIGNATURE_LIFETIME_S:
            self._signer = Signer(self._endpoint, self._data)
        return self._signer.request(connection_id)

    def _advance(self, connection: HttpConnection) -> None:
        """Something has happened on a connection."""
        post = connection.post
        if connection.is_open and post is None:
            if connection in self._connections.all and connection.is_dropped():
                self._connections.idle.remove(connection)
                self._connections.remove(connection)
            return
        try:
            response = connection.advance()
        except (OSError, ValueError) as error:
            self._drop(connection, error)
            return
        self._connections.watch(connection)
        if post and response:
            self._answered(connection, post, time.monotonic(), *response)
        elif connection.is_open and post is None:
            self._connections.opened(connection)
            self._send_next(connection, time.monotonic())

    def _answered(
        self, connection: HttpConnection, post: Post, now: float, status: int, code: str, message: str
    ) -> None:
        connections = self._connections
        connection.post = None
        connections.in_flight -= 1
        connections.pool.latency_s += SMOOTHING * (now - connection.sent_at - connections.pool.latency_s)
        if is_throttle(status, code):
            self._throttled(post, now, connection.sent_at, f"{status} {code}: {message}")
        else:
            self._throttles.accepted(post)
            self._limiter.accepted(now)
            if status < 300:
                self._outcomes.counts["delivered"] += 1
                connections.window = min(connections.max_window, connections.window + 1)
            elif status == 410:
                self._outcomes.counts["gone"] += 1
                self._outcomes.gone.append(post.connection_id)
            else:
                self._fail_or_retry(post, f"{status} {code}: {message}", is_transient(status, code))
        if connection.is_reusable:
            self._send_next(connection, now)
        else:
            connections.remove(connection)

    def _send_next(self, connection: HttpConnection, now: float) -> None:
        """Give an open connection its next post at once, or keep it for later."""
        connections = self._connections
        connection.used_at = now
        if self.queue.ready and connections.in_flight < connections.window and not self._limiter.acquire(now):
            self._send(connection, now)
        else:
            connections.idle.append(connection)

    # --- what goes wrong -----------------------------------------------------------------------------------------

    def _throttled(self, post: Post, now: float, sent_at: float, throttle: str) -> None:
        """A throttle takes none of the attempts that a failure has; a slow consumer is given up at last."""
        self._outcomes.counts["throttled"] += 1
        self._last_throttle = throttle
        if self._throttles.throttled(post):
            self._limiter.throttled(now, sent_at)
        if self._throttles.is_slow_consumer(post):
            self._outcomes.slow_consumers.append(post.connection_id)
            self._outcomes.fail(f"{throttle} (its client does not read)")
        else:
            post.attempts -= 1
            self._retry(post, self._throttles.backoff_s(post))

    def _retry(self, post: Post, after_s: float) -> None:
        self._outcomes.counts["retried"] += 1
        self.queue.delay(post, after_s)

    def _fail_or_retry(self, post: Post, error: str, is_transient: bool) -> None:
        if is_transient and post.attempts < MAX_ATTEMPTS:
            self._outcomes.error = error
            self._retry(post, backoff_s(post.attempts))
        else:
            self._outcomes.fail(error)

    def _sweep(self, now: float) -> None:
        """Give up what has taken too long."""
        self._swept_at = now
        for connection in list(self._connections.all):
            if connection.expires_at < now and (connection.post or not connection.is_open):
                self._drop(connection, TimeoutError("There was no answer in time."))

    def _drop(self, connection: HttpConnection, error: Exception) -> None:
        """A connection that could not be made, or that broke. Raises an error that there will be on any other, too."""
        post, connection.post = connection.post, None
        self._connections.remove(connection)
        if isinstance(error, ssl.SSLCertVerificationError):
            raise error
        if not post:
            self._opening_failed(error)
            return
        self._connections.in_flight -= 1
        if not post.is_excused and connection.was_idle and not isinstance(error, TimeoutError):
            self._excuse(post, _no_answer(error))
        else:
            self._fail_or_retry(post, _no_answer(error), True)

    def _excuse(self, post: Post, error: str) -> None:
        """Let a post pay for nothing that its server has done to an idle connection: close it, just as it was used.

        Nobody can tell that from an answer that got lost. So it is tried again for nothing only once, over a connection
        that has just been opened or has just answered: the idle ones are likely to be closed, too.
        """
        self._connections.close_idle()
        self._outcomes.error = error
        post.is_excused = True
        post.attempts -= 1
        self._retry(post, 0)

    def _opening_failed(self, error: Exception) -> None:
        """No post was on it: if there are other connections, these are enough; otherwise one that waits has failed."""
        if any(other.is_open for other in self._connections.all):
            self._connections.suffice()
        elif self.queue.ready:
            post = self.queue.ready.popleft()
            post.attempts += 1
            self._fail_or_retry(post, _no_answer(error), True)

    def _end(self) -> None:
        for connection in self._connections.all:
            if connection.post:
                self._outcomes.counts["failed"] += 1
                if self._outcome_of_the_rest == "unreached":
                    self._outcomes.error = _no_answer(TimeoutError("There was none by the deadline."))
        self._connections.release(self._throttles.is_quota_exhausted)
        self._selector.close()


def _no_answer(error: Exception) -> str:
    return f"no answer {type(error).__name__}: {error}"
