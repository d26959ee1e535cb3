"""Whose fault a 429 is: the quota's, or one connection's own."""

import random

import pytest
from post_queue import Post
from throttles import (
    MAX_INFORMATIVE_THROTTLES,
    MAX_THROTTLED_SHARE,
    MIN_THROTTLED_SHARE,
    SIGNIFICANCE,
    ThrottleClassifier,
)


@pytest.fixture
def throttles():
    return ThrottleClassifier()


def posts(number):
    return [Post(f"id-{n}") for n in range(number)]


def test_one_connection_that_is_refused_among_many_tells_nothing_of_the_quota(throttles):
    (one,) = posts(1)
    for other in posts(200):
        throttles.accepted(other)
        assert not throttles.throttled(one)
    assert not throttles.is_quota_exhausted


def test_of_many_that_are_taken_some_that_are_refused_tell_nothing_either(throttles):
    for number, post in enumerate(posts(1_000)):
        assert not throttles.throttled(post) if number % 50 == 0 else throttles.accepted(post) is None
    assert not throttles.is_quota_exhausted


def test_when_each_second_one_is_refused_the_quota_is_used_up(throttles):
    answer = (throttles.accepted, throttles.throttled)
    is_quota = [answer[number % 2](post) for number, post in enumerate(posts(20))]
    assert is_quota.index(True) == 9
    assert throttles.is_quota_exhausted
    assert all(is_quota[9::2])


def test_a_quota_that_is_known_to_be_used_up_is_told_of_by_each_refusal_but_by_one_connections_own(throttles):
    for post in posts(5):
        throttles.throttled(post)
    (one,), few = posts(1), MAX_INFORMATIVE_THROTTLES
    assert [throttles.throttled(one) for _ in range(6)] == [True] * few + [False] * (6 - few)


@pytest.mark.parametrize(("others", "at_most"), [(9, 15), (0, 30)])
def test_who_is_refused_again_and_again_is_given_up(throttles, others, at_most):
    (one,) = posts(1)
    for other in posts(others):
        throttles.accepted(other)
    for _ in range(at_most):
        assert not throttles.is_slow_consumer(one)
        throttles.throttled(one)
    assert throttles.is_slow_consumer(one)
    assert MIN_THROTTLED_SHARE**15 <= SIGNIFICANCE and MAX_THROTTLED_SHARE**30 <= SIGNIFICANCE


@pytest.mark.parametrize("share", [0.02, 0.13, 0.3])
def test_a_quota_makes_nobody_be_given_up(throttles, share):
    """So much of all that is sent is refused, whoever it is for: 40,000 posts."""
    drawn = random.Random(1)
    for post in posts(40_000):
        while drawn.random() < share:
            throttles.throttled(post)
            assert not throttles.is_slow_consumer(post)
        throttles.accepted(post)


def test_the_backoff_of_a_throttled_post_grows_to_a_bound(throttles):
    (one,) = posts(1)
    backoffs = []
    for _ in range(5):
        throttles.throttled(one)
        backoffs.append(throttles.backoff_s(one))
    assert backoffs == [0.05, 0.1, 0.2, 0.2, 0.2]
