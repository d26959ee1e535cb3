"""The rate of a broadcast, with a clock that is turned by hand."""

import pytest
from rate_limiter import BETA, CLIMB_S, RateLimiter


def leave(limiter, now, seconds, step_s=0.001):
    """How many posts may leave within so many seconds, and the time then."""
    left, end = 0, now + seconds
    while now < end:
        while left < 100_000 and not limiter.acquire(now):
            left += 1
        now += step_s
    return left, now


def test_without_a_throttle_nothing_limits_the_rate():
    limiter = RateLimiter()
    assert [limiter.acquire(10.0) for _ in range(10_000)] == [0.0] * 10_000


@pytest.mark.parametrize("rate", [3, 250, 8_000])
def test_a_rate_that_is_known_is_kept_from_the_start(rate):
    left, _ = leave(RateLimiter(rate), 10.0, 2.0)
    assert rate * 2 <= left <= rate * 2.02 + 2


def test_it_says_how_long_to_wait():
    limiter = RateLimiter(10)
    while not (wait_s := limiter.acquire(10.0)):
        pass
    assert 0.05 < wait_s <= 0.1
    assert limiter.acquire(10.0 + wait_s / 2) == pytest.approx(wait_s / 2)
    assert limiter.acquire(10.0 + wait_s) == 0.0


def throttled(accepted, at=10.0):
    """A limiter that was throttled after so many posts had been accepted within a second."""
    limiter = RateLimiter()
    for number in range(accepted):
        limiter.accepted(at - 1 + number / accepted)
    limiter.throttled(at, sent_at=at - 0.01)
    return limiter


def test_a_throttle_cuts_to_a_share_of_what_was_accepted_and_not_of_what_was_sent():
    limiter = throttled(1_000)
    assert limiter.rate(10.0) == pytest.approx(BETA * 1_000, rel=0.15)


def test_the_rate_climbs_back_waits_there_and_goes_beyond():
    limiter = throttled(1_000)
    before, there, beyond = (limiter.rate(10.0 + t * CLIMB_S) for t in (0.5, 1.0, 2.5))
    assert limiter.rate(10.0) < before < there < beyond
    assert there - before < beyond - there


def test_what_was_in_flight_at_the_cut_cuts_no_further():
    limiter = throttled(1_000)
    limiter.throttled(10.02, sent_at=9.99)
    assert limiter.rate(10.02) > BETA * 900
    limiter.throttled(12.0, sent_at=11.99)
    assert limiter.rate(12.0) < 100  # nothing was accepted for a second


def test_one_that_was_cut_to_nothing_comes_back():
    limiter = throttled(0)
    assert limiter.rate(10.0) == 1.0
    assert limiter.rate(12.0) >= 20


def test_of_a_few_posts_a_second_some_are_made_before_more_is_tried():
    """The climb takes as long as eight posts, and no less than at a higher rate."""
    assert throttled(1_000).rate(12.0) > 10_000
    assert throttled(10).rate(12.0) < 30


def test_a_rate_that_is_known_is_not_exceeded_after_a_throttle():
    limiter = throttled(1_000)
    limiter.set_max_rate(500)
    assert limiter.rate(60.0) == 500


def test_many_who_share_a_quota_use_nearly_all_of_it():
    """Twenty senders and a bucket of 1,000 a second, in steps of two milliseconds, an answer after ten.

    What is refused at once, before any answer, is not counted: the number of posts in flight bounds that.
    """
    senders, tokens, now, accepted, refused, answers = [RateLimiter() for _ in range(20)], 500.0, 10.0, 0, 0, []
    while now < 20.0:
        tokens = min(500.0, tokens + 2)
        for sender in senders:
            for _ in range(32):  # in flight at most
                if sender.acquire(now):
                    break
                is_taken = tokens >= 1
                tokens -= is_taken
                accepted, refused = accepted + is_taken, refused + (not is_taken and now > 10.02)
                answers.append((now, sender, is_taken))
        while answers and answers[0][0] < now - 0.01:
            sent_at, sender, is_taken = answers.pop(0)
            if is_taken:
                sender.accepted(now)
            else:
                sender.throttled(now, sent_at)
        now += 0.002
    assert accepted > 0.9 * 10_500
    assert refused < 0.1 * accepted
