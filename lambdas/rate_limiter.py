"""How many posts a second may leave: as many as API Gateway accepts from all who share its quota.

The shape is that of CUBIC (RFC 9438), as in botocore's "adaptive" retry mode (`botocore.retries.throttling`): a
throttle cuts the rate, which then climbs back quickly to where it was, waits there, and tries more and more beyond it.
Three things differ from botocore's. The cut is a share of what was *accepted* lately, not of what was sent: where many
senders start at once, most of what they send is throttled. The time of the climb does not grow with the rate, so that
it suits a quota of 400 as well as one of 10,000; but some posts are made in it, or of a few posts a second each second
one would be a try too much. And a part of the climb is additive, so that a rate that was cut to nothing does not stay
there.
"""

import math

BETA = 0.8  # multiplicative decrease: what is left of the accepted rate after a throttle
CLIMB_S, CLIMB_POSTS = 0.4, 8  # until the rate is again what was accepted before the throttle: the longer of both
ADDITIVE_INCREASE = 10.0  # posts a second that each second adds at least
MIN_RATE = 1.0
MAX_BURST_S = 0.02  # seconds of the rate that may be made good in one go, where the sender was late
WINDOW_S, SLOTS = 1.0, 10  # over which the accepted posts are counted


class RateLimiter:
    """The rate of one sender. Times are seconds of one monotonic clock.

    Args:
        max_rate: posts a second, never exceeded; None if nothing is known. Then nothing limits the rate until the first
            throttle.
    """

    def __init__(self, max_rate: float | None = None) -> None:
        self.set_max_rate(max_rate)
        self._accepted_at_cut: float | None = None
        self._cut_at = self._next_at = -math.inf
        self._slots, self._slot = [0] * SLOTS, 0

    def set_max_rate(self, max_rate: float | None) -> None:
        """Posts a second, never exceeded from now on; None if nothing is known."""
        self._max_rate = max_rate or math.inf

    def rate(self, now: float) -> float:
        """Posts a second that may leave now."""
        if self._accepted_at_cut is None:
            return self._max_rate
        accepted, elapsed = self._accepted_at_cut, now - self._cut_at
        climb_s = max(CLIMB_S, CLIMB_POSTS / max(accepted, MIN_RATE))
        cubic = accepted + accepted * (1 - BETA) * (elapsed / climb_s - 1) ** 3
        additive = BETA * accepted + ADDITIVE_INCREASE * elapsed
        return min(self._max_rate, max(MIN_RATE, cubic, additive))

    def acquire(self, now: float) -> float:
        """0.0 if a post may leave now, which it then has to do; otherwise how many seconds to wait."""
        rate = self.rate(now)
        if rate == math.inf:
            return 0.0
        due = max(self._next_at, now - MAX_BURST_S)
        if due > now:
            return due - now
        self._next_at = due + 1 / rate
        return 0.0

    def accepted(self, now: float) -> None:
        """A post got another response than a throttle."""
        self._advance(now)
        self._slots[self._slot % SLOTS] += 1

    def throttled(self, now: float, sent_at: float) -> None:
        """A post that left at `sent_at` was throttled. Those that were in flight at the last cut tell nothing new."""
        if sent_at < self._cut_at:
            return
        self._advance(now)
        self._accepted_at_cut, self._cut_at = sum(self._slots) / WINDOW_S, now
        self._next_at = max(self._next_at, now)

    def _advance(self, now: float) -> None:
        slot = int(now * SLOTS / WINDOW_S)
        for passed in range(max(self._slot + 1, slot - SLOTS + 1), slot + 1):
            self._slots[passed % SLOTS] = 0
        self._slot = max(slot, self._slot)
