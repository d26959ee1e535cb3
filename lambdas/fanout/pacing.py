"""The pace of a broadcast: when a post may leave, whose fault a 429 is, and what is retried.

API Gateway takes a quota of requests a second from everything that runs in an account, and answers 429 beyond it. That
is no failure; it means: not so fast. It gives the same answer where one connection's buffer is full because its client
does not read, and then the 429 says nothing about the other connections.
https://docs.aws.amazon.com/botocore/latest/reference/services/apigatewaymanagementapi/client/exceptions/LimitExceededException.html
"""

import math
import random
from collections import deque

# --- how fast --------------------------------------------------------------------------------------------------------

# A throttle cuts the rate to BETA of the accepted rate (multiplicative decrease, as in RFC 9438). From there it climbs:
# all invocations together first add INCREASE posts a second, which is also their least rate, and that increase doubles
# every DOUBLING_S. Where a rate is known, the climb to it takes CLIMB_S, or the time of CLIMB_POSTS posts if that is
# longer; beyond it the increase doubles every BEYOND_DOUBLING_S.
BETA, INCREASE = 0.7, 30.0
DOUBLING_S, BEYOND_DOUBLING_S = 0.1, 0.4
CLIMB_S, CLIMB_POSTS = 0.4, 8
MAX_BURST_S = 0.02  # a sender that was late may send at once what the rate allows in this time
WINDOW_S, SLOTS = 1.0, 10  # the accepted posts of the last WINDOW_S are counted, in this many slots
MIN_ACCEPTED = 5  # fewer posts show no rate


class RateLimiter:
    """The rate of one invocation: its part of the posts a second that API Gateway accepts from all who share the quota.

    A throttle cuts the rate to a share of what was *accepted* lately, not of what was sent: where many start at once,
    most of what they send is refused. Then the rate climbs back from any depth in about half a second, because its
    increase doubles again and again, as in TCP's slow start (RFC 5681). It climbs slowly around the rate that is known,
    and faster and faster beyond it, as in CUBIC (RFC 9438). Invocations that share a quota share the increase, so their
    rates become alike.

    Times are seconds of one monotonic clock.

    Args:
        total_rate: posts a second that all invocations together never exceed; None if that is not known. Then nothing
            limits the rate until the first throttle.
        invocations: how many post at the same time, this one included.
    """

    def __init__(self, total_rate: float | None = None, invocations: int = 1) -> None:
        self._total_rate = total_rate or math.inf
        self.set_invocations(invocations)
        self.known_rate = 0.0
        """Posts a second that API Gateway accepted from one invocation, at best; 0 if nothing is known."""
        self._accepted_rate = 0.0  # at the last cut
        self._first_cut_at = self._cut_at = self._sent_at = -math.inf
        self._slots, self._slot = [0] * SLOTS, 0

    def set_invocations(self, invocations: int) -> None:
        """From now on this many invocations post at the same time."""
        self._max_rate, self._increase = self._total_rate / invocations, INCREASE / invocations

    def rate(self, now: float) -> float:
        """Posts a second that may leave now."""
        if self._cut_at == -math.inf:
            return self._max_rate
        elapsed, known = now - self._cut_at, self._max_rate if self._total_rate < math.inf else self.known_rate
        back = BETA * self._accepted_rate + self._increase * (_doubled(elapsed / DOUBLING_S) - 1)
        if known:
            climb_s = max(CLIMB_S, CLIMB_POSTS / known)
            cubic = known + known * (1 - BETA) * (elapsed / climb_s - 1) ** 3
            beyond = BETA * known + self._increase * (_doubled(elapsed / BEYOND_DOUBLING_S) - 1)
            back = min(back, max(cubic, beyond))
        return min(self._max_rate, max(self._increase, back))

    def acquire(self, now: float) -> float:
        """0.0 if a post may leave now, and then it has to; otherwise how many seconds to wait."""
        rate = self.rate(now)
        if rate == math.inf:
            return 0.0
        due = max(self._sent_at + 1 / rate, now - MAX_BURST_S)
        if due > now:
            return due - now
        self._sent_at = due
        return 0.0

    def accepted(self, now: float, sent_at: float) -> None:
        """A post that left at `sent_at` got an answer that is no throttle."""
        if sent_at >= self._first_cut_at:
            self._count(now, 1)

    def throttled(self, now: float, sent_at: float) -> None:
        """A post that left at `sent_at` was throttled. If it was in flight at the last cut, that shows nothing new."""
        if sent_at < self._cut_at:
            return
        self._count(now, 0)
        posts = sum(self._slots)
        if self._first_cut_at == -math.inf:
            # The account's bucket lets through what it has saved up, as fast as it is sent. That shows no rate, only
            # that at least this many will be accepted in a second.
            self._accepted_rate = posts / WINDOW_S
            self._first_cut_at, self._slots = now, [0] * SLOTS
        else:  # the bucket was empty then and is empty now, so this is what the quota gives
            self._accepted_rate = posts / min(WINDOW_S, now - self._first_cut_at)
            if posts >= MIN_ACCEPTED:
                self.known_rate = max(self.known_rate, self._accepted_rate)
        self._cut_at, self._sent_at = now, max(self._sent_at, now)

    def _count(self, now: float, posts: int) -> None:
        slot = int(now * SLOTS / WINDOW_S)
        for passed in range(max(self._slot + 1, slot - SLOTS + 1), slot + 1):
            self._slots[passed % SLOTS] = 0
        self._slot = max(slot, self._slot)
        self._slots[self._slot % SLOTS] += posts


def _doubled(times: float) -> float:
    return math.exp2(min(times, 60.0))  # a larger exponent overflows


# --- whose 429 it is -------------------------------------------------------------------------------------------------

# The quota counts as used up while MIN_REFUSED of the last RECENT_CONNECTIONS were refused at their first post, or each
# of the first ones was, from MIN_REFUSED_AT_FIRST on. If it really is used up, about half of them are refused, so that
# shows after a few posts.
RECENT_CONNECTIONS, MIN_REFUSED, MIN_REFUSED_AT_FIRST = 20, 5, 2
# A connection that is refused while the quota is not used up is suspected. After MAX_INFORMATIVE suspicions, its
# refusals no longer slow the others down; after MAX_SUSPICIONS, which takes 3 s, it is given up.
MAX_INFORMATIVE, MAX_SUSPICIONS = 3, 16


class Post:
    """A message on its way to one connection."""

    __slots__ = ("attempts", "connection_id", "is_excused", "suspicions", "throttles")

    def __init__(self, connection_id: str) -> None:
        self.connection_id = connection_id
        self.attempts = 0
        """How often it was sent, not counting throttles and the one time that it was excused."""
        self.is_excused = False
        """Whether it was sent over an idle connection that broke, and retried for free."""
        self.throttles = self.suspicions = 0
        """How often it was throttled, and how often of these while others were accepted."""


class ThrottleClassifier:
    """Distinguishes the quota's throttles from those of slow consumers (clients that do not read), in one broadcast.

    A quota refuses any post, and not for ever. A full buffer refuses each post to one connection, while posts to others
    are accepted. If a quarter of a room does not read, nobody can distinguish that from a quota.
    """

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=RECENT_CONNECTIONS)  # whether the first post was refused
        self.was_quota_exhausted = False
        """Whether the quota was used up at least once."""

    def accepted(self, post: Post) -> None:
        """A post got an answer that is no throttle."""
        if not post.throttles:
            self._recent.append(False)

    def throttled(self, post: Post) -> bool:
        """A post was throttled. Returns whether the quota is the reason, so that the rate has to fall."""
        if not post.throttles:
            self._recent.append(True)
        post.throttles += 1
        refused = sum(self._recent)
        is_quota_exhausted = refused >= MIN_REFUSED or refused == len(self._recent) >= MIN_REFUSED_AT_FIRST
        self.was_quota_exhausted |= is_quota_exhausted
        post.suspicions += not is_quota_exhausted
        return self.was_quota_exhausted and post.suspicions <= MAX_INFORMATIVE

    @staticmethod
    def is_slow_consumer(post: Post) -> bool:
        """Whether API Gateway refuses this connection alone: its client does not read."""
        return post.suspicions >= MAX_SUSPICIONS


# --- what is retried, and when ---------------------------------------------------------------------------------------

# As in botocore's "standard" retry mode, but without its retry quota. That quota allows a hundred retries: if every
# post of a large room fails for a moment, all others would be lost. Here the number of attempts, the rate and the
# deadline bound the retries. https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
MAX_ATTEMPTS = 4
MAX_BACKOFF_S = 20
TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})
TRANSIENT_CODES = frozenset({"RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"})
THROTTLING_CODES = frozenset(
    "Throttling ThrottlingException ThrottledException RequestThrottledException TooManyRequestsException"
    " ProvisionedThroughputExceededException TransactionInProgressException RequestLimitExceeded"
    " BandwidthLimitExceeded LimitExceededException RequestThrottled SlowDown PriorRequestNotComplete"
    " EC2ThrottledException".split()
)
THROTTLE_BACKOFF_S, MAX_THROTTLE_BACKOFF_S = 0.05, 0.2


def is_throttle(status: int, code: str) -> bool:
    """Whether an answer says: not so fast. Such a post is retried until there is no time left."""
    return status == 429 or code in THROTTLING_CODES


def is_transient(status: int, code: str) -> bool:
    """Whether the same request may succeed a little later. It has `MAX_ATTEMPTS`."""
    return status in TRANSIENT_STATUSES or code in TRANSIENT_CODES


def backoff_s(attempt: int) -> float:
    """Seconds to wait after the failed attempt of this number, from 1: exponential, with jitter."""
    return random.random() * min(2.0 ** (attempt - 1), MAX_BACKOFF_S)


def goes_first(post: Post) -> bool:
    """Whether a post that is retried goes before the posts that were never sent.

    After a few throttles it goes after them: what becomes of new posts shows whether the quota is still used up.
    """
    return post.throttles <= MAX_INFORMATIVE


def throttle_backoff_s(throttles: int) -> float:
    """Seconds to wait after the throttle of this number, from 1."""
    return min(MAX_THROTTLE_BACKOFF_S, THROTTLE_BACKOFF_S * 2.0 ** (throttles - 1))
