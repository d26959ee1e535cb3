"""The pace of a broadcast, on a clock that is simulated: the rate under a quota, and whose a 429 is."""

import heapq
import itertools
import math
import random
from collections import deque

import pytest
from fanout.pacing import (
    BETA,
    CLIMB_S,
    INCREASE,
    MAX_INFORMATIVE,
    MAX_SUSPICIONS,
    Post,
    RateLimiter,
    ThrottleClassifier,
    goes_first,
    throttle_backoff_s,
)

from benchmarks.endpoint import TokenBucket

# --- the rate --------------------------------------------------------------------------------------------------------


def leave(limiter, now, seconds, step_s=0.001):
    """How many posts may leave within `seconds`."""
    left, end = 0, now + seconds
    while now < end:
        while left < 100_000 and not limiter.acquire(now):
            left += 1
        now += step_s
    return left


def throttled(accepted, over_s=1.0, **options):
    """A limiter that was throttled at `10 - over_s` and at 10 s, and `accepted` posts between."""
    limiter, at = RateLimiter(**options), 10.0
    limiter.throttled(at - over_s, sent_at=at - over_s)
    for number in range(accepted):
        sent_at = at - over_s + number * over_s / accepted
        limiter.accepted(sent_at, sent_at)
    limiter.throttled(at, sent_at=at)
    return limiter


@pytest.mark.parametrize("rate", [3, 8_000])
def test_a_share_that_is_known_is_kept_from_the_start_and_divided_among_invocations(rate):
    assert rate * 2 <= leave(RateLimiter(rate), 10.0, 2.0) <= rate * 2.02 + 2
    assert rate <= leave(RateLimiter(rate, invocations=2), 10.0, 2.0) <= rate * 1.01 + 2


def test_it_says_how_long_to_wait():
    limiter = RateLimiter(10)
    while not (wait_s := limiter.acquire(10.0)):
        pass
    assert 0.05 < wait_s <= 0.1
    assert limiter.acquire(10.0 + wait_s / 2) == pytest.approx(wait_s / 2)
    assert limiter.acquire(10.0 + wait_s) == 0.0


@pytest.mark.parametrize("over_s", [1.0, 0.25])
def test_a_throttle_cuts_to_a_share_of_what_was_accepted_and_not_of_what_was_sent(over_s):
    assert throttled(round(1_000 * over_s), over_s).rate(10.0) == pytest.approx(BETA * 1_000, rel=0.15)


def test_what_the_bucket_had_saved_is_no_rate():
    """If 500 posts are accepted within a moment, at least 500 will be in a second."""
    limiter = RateLimiter()
    for _ in range(500):
        limiter.accepted(10.02, 10.0)
    limiter.throttled(10.03, sent_at=10.01)
    assert limiter.rate(10.03) == pytest.approx(BETA * 500)


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
    assert limiter.rate(12.0) == INCREASE  # nothing was accepted for a second


@pytest.mark.parametrize(("share", "known_rate"), [(None, 0), (8_000, 0), (None, 8_000)])
def test_from_nothing_the_rate_is_back_within_a_second(share, known_rate):
    limiter = RateLimiter(share)
    limiter.known_rate = known_rate
    for number in range(50):  # half a second of an empty bucket
        limiter.throttled(10.0 + 0.01 * number, sent_at=10.0 + 0.01 * number)
    end = 10.0 + 0.01 * 49
    assert limiter.rate(end) == INCREASE
    assert limiter.rate(end + 0.8) >= 0.9 * 8_000


def test_at_a_low_rate_the_climb_takes_as_long_as_eight_posts():
    """So that some answers come before more is tried."""
    assert throttled(10, invocations=40).rate(11.6) < 30
    assert throttled(1_000).rate(11.6) > 4_000


def test_a_share_is_not_exceeded_after_a_throttle():
    assert throttled(1_000, total_rate=500).rate(60.0) == 500


# --- broadcasts under a quota ----------------------------------------------------------------------------------------


class Invocation:
    """An invocation's queue and pace, as the event loop has them."""

    def __init__(self, ids, invocations, share):
        self.limiter, self.throttles = RateLimiter(share, invocations), ThrottleClassifier()
        self.ready, self.window = deque(map(Post, ids)), max(2, 32 // invocations)
        self.delayed, self.in_flight, self.left, self.wakes_at = [], 0, len(ids), 0.0


class Simulation:
    """Broadcasts to an endpoint that answers after 8 ± 2 ms, and says `accepts(post, now)`.

    Attributes:
        seconds: until the last one was accepted; infinite if not all of the others were.
        posts, refused: how many were made, and how many of them were refused.
        given_up: ids of posts that were given up, each with the time.
    """

    def __init__(self, accepts, ids, invocations=1, share=None, end_s=90.0):
        self.accepts, self.random, self.number = accepts, random.Random(1), itertools.count()
        self.agenda, self.posts, self.refused, self.given_up, self.seconds = [], 0, 0, {}, 0.0
        names = [f"id-{number}" for number in range(ids)]
        senders = [Invocation(names[number::invocations], invocations, share) for number in range(invocations)]
        for sender in senders:
            self.later(0.005 * self.random.random(), self.begin, sender)
        while self.agenda and any(sender.left for sender in senders) and self.agenda[0][0] < end_s:
            now, _, action, *arguments = heapq.heappop(self.agenda)
            action(now, *arguments)
        if any(sender.left for sender in senders):
            self.seconds = math.inf

    def later(self, at, action, *arguments):
        heapq.heappush(self.agenda, (at, next(self.number), action, *arguments))

    def begin(self, now, sender):
        while sender.delayed and sender.delayed[0][0] <= now:
            post = heapq.heappop(sender.delayed)[2]
            (sender.ready.appendleft if goes_first(post) else sender.ready.append)(post)
        while sender.ready and sender.in_flight < sender.window:
            if wait_s := sender.limiter.acquire(now):
                self.wake(now, now + max(0.001, min(wait_s, 0.05)), sender)
                return
            post, sender.in_flight, self.posts = sender.ready.popleft(), sender.in_flight + 1, self.posts + 1
            answer_at = now + max(0.001, self.random.gauss(0.008, 0.002))
            self.later(answer_at, self.answer, sender, post, now, self.accepts(post, now))
        if sender.delayed:
            self.wake(now, sender.delayed[0][0], sender)

    def wake(self, now, at, sender):
        if not now < sender.wakes_at <= at:
            sender.wakes_at = at
            self.later(at, self.begin, sender)

    def answer(self, now, sender, post, sent_at, is_accepted):
        sender.in_flight -= 1
        if is_accepted:
            sender.throttles.accepted(post)
            sender.limiter.accepted(now, sent_at)
            sender.window, sender.left, self.seconds = min(400, sender.window + 1), sender.left - 1, now
        else:
            self.refused += 1
            if sender.throttles.throttled(post):
                sender.limiter.throttled(now, sent_at)
            if sender.throttles.is_slow_consumer(post):
                sender.left -= 1
                self.given_up[post.connection_id] = now
            else:
                due = now + throttle_backoff_s(post.throttles)
                heapq.heappush(sender.delayed, (due, next(self.number), post))
        self.begin(now, sender)


def quota(rate, burst, saved=0.0, drained=(0.0, 0.0)):
    """A token bucket that holds so much at first, and nothing within `drained`."""
    bucket = TokenBucket(rate, burst, 0.0)
    bucket.tokens = saved

    def accepts(post, now):
        if drained[0] <= now < drained[1]:
            bucket.drain(now)
        if is_accepted := bucket.has_token(now):
            bucket.acquire()
        return is_accepted

    return accepts


@pytest.mark.parametrize(("rate", "invocations"), [(1_000, 4), (400, 40)])
def test_a_bucket_that_is_empty_at_first_costs_no_more_than_its_refilling(rate, invocations):
    ids, share = 5 * rate, 0.8 * rate
    known = Simulation(quota(rate, rate / 2), ids, invocations, share)
    assert known.seconds <= 1.1 * ids / share and known.refused <= 0.05 * known.posts
    unknown = Simulation(quota(rate, rate / 2), ids, invocations)
    assert ids / (rate * unknown.seconds) >= 0.80
    assert unknown.refused <= (0.20 if invocations == 40 else 0.10) * unknown.posts


@pytest.mark.parametrize("share", [800, None])
def test_a_bucket_that_others_empty_in_the_middle_is_used_again_within_a_second(share):
    bucket, accepted = quota(1_000, 500, drained=(2.0, 4.0)), []

    def accepts(post, now):
        is_accepted = bucket(post, now)
        accepted.append(is_accepted and 5.0 <= now < 5.5)
        return is_accepted

    Simulation(accepts, 8_000, 4, share)
    assert sum(accepted) >= 0.9 * 0.5 * (share or 1_000)


# --- whose a 429 is --------------------------------------------------------------------------------------------------


def posts(number):
    return [Post(f"id-{n}") for n in range(number)]


def test_one_connection_that_is_refused_among_many_shows_no_quota():
    throttles, one = ThrottleClassifier(), Post("one")
    for other in posts(200):
        throttles.accepted(other)
        assert not throttles.throttled(one)
    assert not throttles.was_quota_exhausted


def test_a_quota_shows_when_every_second_connection_is_refused_or_the_first_two():
    throttles = ThrottleClassifier()
    answer = (throttles.accepted, throttles.throttled)
    is_quota = [answer[number % 2](post) for number, post in enumerate(posts(20))]
    assert is_quota.index(True) == 9
    assert all(is_quota[9::2])
    throttles = ThrottleClassifier()
    assert [throttles.throttled(post) for post in posts(3)] == [False, True, True]


def test_one_connection_slows_the_others_only_a_few_times_and_then_goes_behind_them():
    throttles, one = ThrottleClassifier(), Post("one")
    for post in posts(5):
        throttles.throttled(post)
    for post in posts(20):
        throttles.accepted(post)
    found = [(goes_first(one), throttles.throttled(one)) for _ in range(MAX_INFORMATIVE + 3)]
    assert found[:MAX_INFORMATIVE] == [(True, True)] * MAX_INFORMATIVE
    assert found[MAX_INFORMATIVE + 1 :] == [(False, False)] * 2


def test_a_connection_that_is_refused_while_others_are_accepted_is_given_up_after_three_seconds():
    throttles, one, waited_s = ThrottleClassifier(), Post("one"), 0.0
    for other in posts(3):
        throttles.accepted(other)
    for number in range(1, MAX_SUSPICIONS + 1):
        assert not throttles.is_slow_consumer(one)
        throttles.throttled(one)
        waited_s += throttle_backoff_s(number)
    assert throttles.is_slow_consumer(one) and 2 < waited_s <= 3.2


@pytest.mark.parametrize(
    ("share", "seconds", "ids"),
    [(0.05, 5, 4_000), (0.5, 15, 40), (0.8, 60, 4_000), (0.95, 15, 4_000), (0.99, 60, 40)],
)  # in a small room each is refused more often
def test_a_quota_makes_nobody_be_given_up(share, seconds, ids):
    """For `seconds`, a `share` of all posts is refused, to whatever connection."""
    drawn = random.Random(1)
    found = Simulation(lambda post, now: now > seconds or drawn.random() >= share, ids)
    assert (found.given_up, found.seconds < seconds + 5) == ({}, True)


def test_a_quota_that_others_use_up_for_long_makes_nobody_be_given_up():
    found = Simulation(quota(400, 200, saved=200, drained=(0.5, 8.5)), 1_600, 40, share=320)
    assert (found.given_up, found.seconds < 15) == ({}, True)


def test_a_client_that_does_not_read_is_given_up_within_three_seconds_and_costs_the_others_nothing():
    full = {f"id-{number}" for number in range(100, 4_000, 800)}
    healthy = Simulation(lambda post, now: True, 4_000)
    found = Simulation(lambda post, now: post.connection_id not in full, 4_000)
    assert found.given_up.keys() == full
    assert found.seconds <= 1.05 * healthy.seconds
    assert max(found.given_up.values()) <= 3.2


def test_a_client_that_does_not_read_is_found_after_all_were_refused_for_long():
    full = {f"id-{number}" for number in range(0, 4_000, 800)}
    found = Simulation(lambda post, now: now > 30 and post.connection_id not in full, 4_000)
    assert found.given_up.keys() == full
