"""Whose fault a 429 is: the quota's, or one connection's own."""

import random

import fanout
import pytest
from throttles import ACCIDENT, LEAST, MOST, TELLING, Throttles


@pytest.fixture
def throttles():
    return Throttles()


def posts(number):
    return [fanout.Post(f"id-{n}") for n in range(number)]


def test_one_connection_that_is_refused_among_many_tells_nothing_of_the_quota(throttles):
    (one,) = posts(1)
    for other in posts(200):
        throttles.taken(other)
        assert not throttles.refused(one)
    assert not throttles.is_limited


def test_of_many_that_are_taken_some_that_are_refused_tell_nothing_either(throttles):
    for number, post in enumerate(posts(1_000)):
        assert not throttles.refused(post) if number % 50 == 0 else throttles.taken(post) is None
    assert not throttles.is_limited


def test_when_each_second_one_is_refused_the_quota_is_used_up(throttles):
    told = [throttles.refused(post) if number % 2 else throttles.taken(post) for number, post in enumerate(posts(20))]
    assert told.index(True) == 9
    assert throttles.is_limited
    assert all(told[9::2])


def test_a_quota_that_is_known_to_be_used_up_is_told_of_by_each_refusal_but_by_one_connections_own(throttles):
    for post in posts(5):
        throttles.refused(post)
    (one,) = posts(1)
    assert [throttles.refused(one) for _ in range(6)] == [True] * TELLING + [False] * (6 - TELLING)


@pytest.mark.parametrize(("others", "at_most"), [(9, 15), (0, 30)])
def test_who_is_refused_again_and_again_is_given_up(throttles, others, at_most):
    (one,) = posts(1)
    for other in posts(others):
        throttles.taken(other)
    for _ in range(at_most):
        assert not throttles.is_its_own(one)
        throttles.refused(one)
    assert throttles.is_its_own(one)
    assert LEAST**15 <= ACCIDENT and MOST**30 <= ACCIDENT


@pytest.mark.parametrize("share", [0.02, 0.13, 0.3])
def test_a_quota_makes_nobody_be_given_up(throttles, share):
    """So much of all that is sent is refused, whoever it is for: 40,000 posts."""
    drawn = random.Random(1)
    for post in posts(40_000):
        while drawn.random() < share:
            throttles.refused(post)
            assert not throttles.is_its_own(post)
        throttles.taken(post)


def test_the_pause_before_the_next_try_grows_to_a_bound(throttles):
    (one,) = posts(1)
    pauses = []
    for _ in range(5):
        throttles.refused(one)
        pauses.append(throttles.pause_s(one))
    assert pauses == [0.05, 0.1, 0.2, 0.2, 0.2]
