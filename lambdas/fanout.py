"""Post one message to many connections, fast: the fan-out of a broadcast.

boto3 spends over a millisecond of CPU on each `post_to_connection` and waits for its answer, and threads around it gain
little, because they compute one at a time. Here one thread drives all connections to the API: a post is the bytes of
one HTTP request on a connection that is kept open, of whose answer only the status, and for an error its code, are
read.

A throttle (429) is no failure but says: not so fast. So nobody is lost to the account's quota as long as there is time.
Unless it is one connection's own, whose client does not read: that holds up nobody else, and is given up soon.
"""

import heapq
import os
import socket
import ssl
import threading
import time
from collections import Counter, deque
from selectors import EVENT_READ, DefaultSelector

from http_pool import FIRST_UNDER_WAY, MAX_IDLE_S, connection_pool
from rate_limiter import RateLimiter
from retries import MAX_ATTEMPTS, backoff_s, is_throttle, is_transient
from sigv4 import Signer
from throttles import Throttles

# As boto3's client with `connect_timeout=2, read_timeout=5`. The first covers the TLS handshake, too.
CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 5
SWEEP_S = 0.05  # how often it is looked for what has taken too long

MAX_CONNECTIONS, MIN_UNDER_WAY = 400, 2
BROADCASTS = 16  # that an additional connection is taken to serve, where there have been some already
SMOOTHING = 0.1  # the weight of a new measurement of latency or of opening a connection

# Posts that wait for their turn while the next are read: more would only make the table's reader run ahead of them.
AHEAD = 5_000

# API Gateway refuses a signature that is five minutes old; a broadcast that takes longer is signed anew in between.
SIGNATURE_LIFETIME_S = 120

WAKE = None  # stands for the socket that ends the waiting


class Post:
    """A message on its way to one connection."""

    __slots__ = ("attempt", "chance", "connection_id", "refused")

    def __init__(self, connection_id):
        self.connection_id, self.attempt, self.refused, self.chance = connection_id, 0, 0, 1.0


class Fanout:
    """One message on its way to many connections. A context: its end waits for all posts.

    Environment: `APIGatewayEndpoint`, the stage's URL without `/@connections`, `http` or `https`; the Region and the
    credentials where Lambda puts them.

    Args:
        data: the message, bytes, not empty.
        deadline: by `time.monotonic()`. Nothing is begun after it, and nothing waited for.
        posts_per_second: what the whole broadcast may use of the account's quota; None if that is not known.
        invocations: how many post at the same time, this one included, and share that.
    """

    def __init__(self, data, deadline, posts_per_second=None, invocations=1):
        self._data, self._deadline, self._posts_per_second = data, deadline, posts_per_second
        self._limiter, self._invocations, self._under_way = RateLimiter(), invocations, 0
        self._throttles = Throttles()
        self._pool, self._signer, self._thread = None, None, None
        self._fewer, self._waiting, self._is_over = threading.Condition(), 0, False  # whoever posts waits for it
        self._queue, self._later = deque(), []  # what may leave now, and a heap of (when, number, Post)
        self._connections, self._idle, self._busy = set(), [], 0
        self._no_more, self._started, self._swept, self._numbers = False, None, 0.0, 0
        self._rest_is, self._throttle, self._enough = "unreached", None, MAX_CONNECTIONS
        self.counts = Counter(connections=0, delivered=0, gone=0, failed=0, throttled=0, retried=0, unreached=0)
        """Connections; those of them that were delivered to, gone (410), failed (anything else) and not reached by the
        deadline; answers that were a throttle (429), and posts that were tried again."""
        self.gone = []
        """The ids that were answered 410."""
        self.slow = []
        """The ids of clients that do not read, which have failed for that reason."""
        self.error = None
        """The last failure's text."""
        self.post_ms = 0.0
        """From the first post's beginning to the last one's end."""

    def __enter__(self):
        return self

    def post(self, connection_ids):
        """Begin to post to these connections, a list of ids. Any thread may call it.

        Returns at once, or when there are few enough before the next ones: as long as more than `AHEAD` wait, it waits.
        """
        if not connection_ids:
            return
        with self._fewer:
            if self._thread is None:
                self._start()
            self.counts["connections"] += len(connection_ids)
            self._queue.extend(map(Post, connection_ids))
            self._waker.send(b"\0")
            self._waiting += 1
            self._fewer.wait_for(lambda: self._is_over or len(self._queue) <= AHEAD)
            self._waiting -= 1

    def share(self, invocations):
        """From now on so many post at the same time."""
        self._invocations = invocations
        self._limiter.limit(self._posts_per_second and self._posts_per_second / invocations)

    def __exit__(self, *_):
        self._no_more = True
        if self._thread:
            self._waker.send(b"\0")
            self._thread.join()
            self._waker.close()
            self._wakened.close()  # not before: whoever posts after the deadline wakes nobody, and that is no error
            self._give_up_the_rest()
            self.post_ms = (time.perf_counter() - self._started) * 1000

    def _start(self):
        self._started = time.perf_counter()
        self._endpoint = os.environ["APIGatewayEndpoint"]
        self._pool, self._signer = connection_pool(self._endpoint), Signer(self._endpoint, self._data)
        self.share(self._invocations)
        self._under_way = max(MIN_UNDER_WAY, self._pool.under_way // self._invocations)
        self._selector = DefaultSelector()
        self._wakened, self._waker = socket.socketpair()
        self._selector.register(self._wakened, EVENT_READ, WAKE)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # --- the loop ------------------------------------------------------------------------------------------------

    def _run(self):
        try:
            self._take_idle()
            if (left := self._deadline - time.monotonic()) > 0:
                self._pool.resolve(min(CONNECT_TIMEOUT_S, left))
            while not self._is_done() and (now := time.monotonic()) < self._deadline:
                for key, _ in self._selector.select(self._begin_posts(now)):
                    if key.data is WAKE:
                        self._wakened.recv(4096)
                    else:
                        self._advance(key.data)
                if now - self._swept > SWEEP_S:
                    self._sweep(now)
                if self._waiting and len(self._queue) <= AHEAD:
                    self._let_go_on()
        except Exception as error:  # a name that is not resolved, a server that is not trusted, no credentials any more
            self.error, self._rest_is = _no_answer(error), "failed"
        finally:
            self._is_over = True
            self._let_go_on()
            self._end()

    def _let_go_on(self):
        with self._fewer:
            self._fewer.notify_all()

    def _is_done(self):
        return self._no_more and not (self._queue or self._later or self._busy)

    def _begin_posts(self, now):
        """Begin what may be begun now; how many seconds there is nothing more to begin."""
        while self._later and self._later[0][0] <= now:
            self._queue.appendleft(heapq.heappop(self._later)[2])
        wait = SWEEP_S
        while self._queue and self._idle and self._busy < self._under_way:
            if limited := self._limiter.acquire(now):
                wait = limited
                break
            self._send(self._idle.pop(), now)
        else:
            self._open_connections(now)
        if self._later:
            wait = min(wait, self._later[0][0] - now)
        return max(0.0, min(wait, SWEEP_S, self._deadline - now))

    def _open_connections(self, now):
        """Open more connections, as long as another one saves more time than it costs.

        With k connections, n posts take n/k of an answer's time. One more saves n/(k (k + 1)) of it, and costs this
        thread the work of opening it: once, while the next broadcasts have it, too. The first can't wait for that.
        Beyond rate times latency (Little's law), or beyond n, more are of no use.
        """
        pool, k, n = self._pool, len(self._connections), len(self._queue) + self._busy
        useful = min(n, self._enough, self._under_way, 1 + 2 * self._limiter.rate(now) * pool.latency_s)
        saved_s = n * pool.latency_s * (BROADCASTS if self._is_warm else 1)
        while self._queue and not self._idle and k < useful and saved_s > pool.opening_s * k * (k + 1):
            if not self._open(now):
                return
            k += 1

    def _open(self, now):
        """Begin to open a connection; whether that could be begun."""
        try:
            connection = self._pool.open()
        except OSError as error:
            self._opening_failed(error)
            return False
        connection.expires = now + CONNECT_TIMEOUT_S
        self._add(connection)
        return True

    def _send(self, connection, now):
        post = self._queue.popleft()
        post.attempt += 1
        connection.post, connection.sent_at, connection.expires = post, now, now + READ_TIMEOUT_S
        self._busy += 1
        try:
            connection.request(self._request(post.connection_id))
        except OSError as error:
            self._drop(connection, error)
        else:
            self._watch(connection)

    def _advance(self, connection):
        """Something has happened on a connection."""
        if connection.is_open and connection.post is None:
            if connection.is_dropped():
                self._idle.remove(connection)
                self._forget(connection)
            return
        try:
            answer = connection.advance()
        except (OSError, ValueError) as error:
            self._drop(connection, error)
            return
        self._watch(connection)
        if answer:
            self._answered(connection, time.monotonic(), *answer)
        elif connection.is_open and connection.post is None:
            self._pool.opening_s += SMOOTHING * (connection.work_s - self._pool.opening_s)
            self._make_idle(connection, time.monotonic())

    def _answered(self, connection, now, status, code, text):
        post, connection.post = connection.post, None
        self._busy -= 1
        self._pool.latency_s += SMOOTHING * (now - connection.sent_at - self._pool.latency_s)
        if is_throttle(status, code):
            self._refused(post, now, connection.sent_at, f"{status} {code}: {text}")
        else:
            self._throttles.taken(post)
            self._limiter.accepted(now)
            if status < 300:
                self.counts["delivered"] += 1
                self._under_way = min(MAX_CONNECTIONS, self._under_way + 1)
            elif status == 410:
                self.counts["gone"] += 1
                self.gone.append(post.connection_id)
            else:
                self._fail_or_retry(post, f"{status} {code}: {text}", is_transient(status, code))
        if connection.is_reusable:
            self._make_idle(connection, now)
        else:
            self._forget(connection)

    # --- what goes wrong -----------------------------------------------------------------------------------------

    def _refused(self, post, now, sent_at, throttle):
        """A throttle: none of the attempts that a failure has, but the connection's own is given up at last."""
        self.counts["throttled"] += 1
        self._throttle = throttle
        if self._throttles.refused(post):
            self._limiter.throttled(now, sent_at)
        if self._throttles.is_its_own(post):
            self.counts["failed"] += 1
            self.slow.append(post.connection_id)
            self.error = f"{throttle} (its client does not read)"
        else:
            post.attempt -= 1
            self._again(post, self._throttles.pause_s(post))

    def _again(self, post, after_s):
        self.counts["retried"] += 1
        self._numbers += 1  # no two entries of the heap are equal: posts have no order
        heapq.heappush(self._later, (time.monotonic() + after_s, self._numbers, post))

    def _sweep(self, now):
        """Give up what has taken too long."""
        self._swept = now
        for connection in list(self._connections):
            if connection.expires < now and (connection.post or not connection.is_open):
                self._drop(connection, TimeoutError("There was no answer in time."))

    def _drop(self, connection, error):
        """A connection that could not be made, or that broke. Raises an error that there will be on any other, too."""
        post, connection.post = connection.post, None
        self._forget(connection)
        if isinstance(error, ssl.SSLCertVerificationError):
            raise error
        if post:
            self._busy -= 1
            self._fail(post, error)
        else:
            self._opening_failed(error)

    def _opening_failed(self, error):
        """No post was on it: if there are other connections, these are enough; otherwise one that waits has failed."""
        if any(other.is_open for other in self._connections):
            self._enough = len(self._connections)
        elif self._queue:
            post = self._queue.popleft()
            post.attempt += 1
            self._fail(post, error)

    def _fail(self, post, error):
        self._fail_or_retry(post, _no_answer(error), True)

    def _fail_or_retry(self, post, error, is_transient):
        self.error = error
        if is_transient and post.attempt < MAX_ATTEMPTS:
            self._again(post, backoff_s(post.attempt))
        else:
            self.counts["failed"] += 1

    def _give_up_the_rest(self):
        """What has not left by now is not going to."""
        left = len(self._queue) + len(self._later)
        self.counts[self._rest_is] += left
        if left and self._rest_is == "unreached":
            self.error = self.error or self._throttle

    def _end(self):
        for connection in self._connections.difference(self._idle):
            if connection.post:
                self.counts["failed"] += 1
                if self._rest_is == "unreached":
                    self.error = _no_answer(TimeoutError("There was none by the deadline."))
            connection.close()
        self._pool.idle += self._idle
        is_limited, most = self._throttles.is_limited, max(self._pool.under_way, self._under_way)
        self._pool.under_way = FIRST_UNDER_WAY if is_limited else most
        self._selector.close()

    # --- connections ---------------------------------------------------------------------------------------------

    def _take_idle(self):
        """Go on with the connections that the last broadcast has left."""
        now = time.monotonic()
        while self._pool.idle:
            connection = self._pool.idle.pop()
            if now - connection.used_at > MAX_IDLE_S or connection.is_dropped():
                connection.close()
            else:
                self._add(connection)
                self._idle.append(connection)
        self._is_warm = bool(self._idle)

    def _make_idle(self, connection, now):
        """Give an open connection its next post at once, or keep it for later."""
        if self._queue and self._busy < self._under_way and not self._limiter.acquire(now):
            self._send(connection, now)
        else:
            connection.used_at = now
            self._idle.append(connection)

    def _add(self, connection):
        self._connections.add(connection)
        self._selector.register(connection.fd, connection.interest, connection)
        connection.watched = connection.interest

    def _watch(self, connection):
        if connection.interest != connection.watched:
            self._selector.modify(connection.fd, connection.interest, connection)
            connection.watched = connection.interest

    def _forget(self, connection):
        self._connections.discard(connection)
        self._selector.unregister(connection.fd)
        connection.close()

    def _request(self, connection_id):
        if self._signer.age_s > SIGNATURE_LIFETIME_S:
            self._signer = Signer(self._endpoint, self._data)
        return self._signer.request(connection_id)


def _no_answer(error):
    return f"no answer {type(error).__name__}: {error}"
