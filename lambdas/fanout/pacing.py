"""The pace of a broadcast: when a post may leave, whose fault a 429 is, and what is tried again.

API Gateway takes a quota of requests a second from everything that runs in an account, and answers 429 beyond it. That
is no failure; it means: not so fast. It gives the same answer where one connection's buffer is full because its client
does not read, and then it says nothing about anybody else.
https://docs.aws.amazon.com/botocore/latest/reference/services/apigatewaymanagementapi/client/exceptions/LimitExceededException.html
"""

import math
import random
from collections import deque

# --- how fast --------------------------------------------------------------------------------------------------------

BETA = 0.7  # what a throttle leaves of the accepted rate: multiplicative decrease, as in RFC 9438
INCREASE = 30.0  # posts a second: what all invocations together add to that first, and their least rate
DOUBLING_S = 0.1  # in which the increase doubles, up to a rate that is known
CLIMB_S, CLIMB_POSTS = 0.4, 8  # until the known rate is reached: the longer of both
BEYOND_DOUBLING_S = 0.4  # in which the increase doubles beyond that rate
MAX_BURST_S = 0.02  # seconds of the rate that may be made good in one go, where the sender was late
WINDOW_S, SLOTS = 1.0, 10  # over which the accepted posts are counted
MIN_ACCEPTED = 5  # posts: fewer tell no rate


class RateLimiter:
    """The rate of one invocation: as many posts a second as API Gateway accepts from all who share its quota.

    A throttle cuts the rate to a share of what was *accepted* lately, not of what was sent: where many start at once,
    most of what they send is refused. Then the rate comes back from any depth in about half a second, because its
    increase doubles again and again, as in TCP's slow start (RFC 5681). It slows down around the rate that is known,
    and tries more and more beyond it, as CUBIC does (RFC 9438). Invocations that share a quota share the increase, so
    their rates become alike.

    Times are seconds of one monotonic clock.

    Args:
        share: posts a second, of all invocations together, never exceeded; None if that is not known. Then nothing
            limits the rate until the first throttle.
        invocations: how many post at the same time, this one included.
    """

    def __init__(self, share: float | None = None, invocations: int = 1) -> None:
        self._share = share or math.inf
        self.set_invocations(invocations)
        self.known_rate = 0.0
        """Posts a second that were found to be accepted from one invocation, at best; 0 if nothing is known."""
        self._accepted_rate = 0.0  # at the last cut
        self._first_cut_at = self._cut_at = self._sent_at = -math.inf
        self._slots, self._slot = [0] * SLOTS, 0

    def set_invocations(self, invocations: int) -> None:
        """From now on so many post at the same time."""
        self._max_rate, self._increase = self._share / invocations, INCREASE / invocations

    def rate(self, now: float) -> float:
        """Posts a second that may leave now."""
        if self._cut_at == -math.inf:
            return self._max_rate
        elapsed, known = now - self._cut_at, self._max_rate if self._share < math.inf else self.known_rate
        back = BETA * self._accepted_rate + self._increase * (_doubled(elapsed / DOUBLING_S) - 1)
        if known:
            climb_s = max(CLIMB_S, CLIMB_POSTS / known)
            cubic = known + known * (1 - BETA) * (elapsed / climb_s - 1) ** 3
            beyond = BETA * known + self._increase * (_doubled(elapsed / BEYOND_DOUBLING_S) - 1)
            back = min(back, max(cubic, beyond))
        return min(self._max_rate, max(self._increase, back))

    def acquire(self, now: float) -> float:
        """0.0 if a post may leave now, which it then has to do; otherwise how many seconds to wait."""
        rate = self.rate(now)
        if rate == math.inf:
            return 0.0
        due = max(self._sent_at + 1 / rate, now - MAX_BURST_S)
        if due > now:
            return due - now
        self._sent_at = due
        return 0.0

    def accepted(self, now: float, sent_at: float) -> None:
        """A post that left at `sent_at` got another answer than a throttle."""
        if sent_at >= self._first_cut_at:
            self._count(now, 1)

    def throttled(self, now: float, sent_at: float) -> None:
        """A post that left at `sent_at` was throttled. Those that were in flight at the last cut tell nothing new."""
        if sent_at < self._cut_at:
            return
        self._count(now, 0)
        posts = sum(self._slots)
        if self._first_cut_at == -math.inf:
            # The account's bucket lets through what it has saved up as fast as it is sent. That tells no rate, but that
            # there will be so many a second, at least.
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
    return math.exp2(min(times, 60.0))  # a float has an end


# --- whose 429 it is -------------------------------------------------------------------------------------------------

# The quota counts as used up while so many of the last connections were refused at their first post, or each of the
# first ones. Where it really is, half of them are, and it is known a few posts later.
RECENT_CONNECTIONS, MIN_REFUSED, MIN_REFUSED_AT_FIRST = 20, 5, 2
# A connection that is refused while the quota is not used up is suspected: so often, and its refusals do not slow the
# others down any more; so often, which takes 3 s, and it is given up.
MAX_INFORMATIVE, MAX_SUSPICIONS = 3, 16


class Post:
    """A message on its way to one connection."""

    __slots__ = ("attempts", "connection_id", "is_excused", "suspicions", "throttles")

    def __init__(self, connection_id: str) -> None:
        self.connection_id = connection_id
        self.attempts = 0
        """How often it was sent, without the times that it was throttled, and the one that it was excused."""
        self.is_excused = False
        """Whether it was sent over an idle connection that broke."""
        self.throttles = self.suspicions = 0
        """How often it was throttled; how often of that while others were accepted."""


class ThrottleClassifier:
    """Tells the throttles of the quota from those of slow consumers, clients that do not read, in one broadcast.

    A quota refuses any post, and not for ever; a full buffer refuses each post to one and the same connection, while
    those to others are accepted. Where a quarter of a room does not read, that can't be told from a quota.
    """

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=RECENT_CONNECTIONS)  # whether the first post was refused
        self.was_quota_exhausted = False
        """Whether the quota was used up, once at least."""

    def accepted(self, post: Post) -> None:
        """A post got another answer than a throttle."""
        if not post.throttles:
            self._recent.append(False)

    def throttled(self, post: Post) -> bool:
        """A post was throttled; whether that is the quota's, and the rate has to fall."""
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
        """Whether it is this connection alone that is refused: its client does not read."""
        return post.suspicions >= MAX_SUSPICIONS


# --- what is tried again, and when -----------------------------------------------------------------------------------

# As in botocore's "standard" retry mode, but without its retry quota. That one allows a hundred retries: of a room in
# which every post fails for a moment, all others would be lost. Here the number of attempts, the rate and the deadline
# bound the retries. https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
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
    """Whether an answer says: not so fast. Such a post is tried again until there is no time left."""
    return status == 429 or code in THROTTLING_CODES


def is_transient(status: int, code: str) -> bool:
    """Whether the same request may do better a little later. It has `MAX_ATTEMPTS`."""
    return status in TRANSIENT_STATUSES or code in TRANSIENT_CODES


def backoff_s(attempt: int) -> float:
    """Seconds to wait after the failed attempt of this number, from 1: exponential, with jitter."""
    return random.random() * min(2.0 ** (attempt - 1), MAX_BACKOFF_S)


def goes_first(post: Post) -> bool:
    """Whether a post that is tried again goes before those that were never sent.

    After a few throttles it goes behind them: what becomes of new ones shows whether the quota is still used up.
    """
    return post.throttles <= MAX_INFORMATIVE


def throttle_backoff_s(throttles: int) -> float:
    """Seconds to wait after the throttle of this number, from 1."""
    return min(MAX_THROTTLE_BACKOFF_S, THROTTLE_BACKOFF_S * 2.0 ** (throttles - 1))
