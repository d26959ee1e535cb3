"""Confidence intervals of quantiles."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadtest.intervals import effective_sample_size, quantile_interval, sufficient_groups


@pytest.mark.parametrize("q", [0.5, 0.99])
def test_independent_values_are_covered_19_times_in_20(q):
    random, truth = np.random.default_rng(1), -np.log(1 - q)
    hits = []
    for _ in range(300):
        low, high = quantile_interval(random.exponential(size=800), np.arange(800), q)
        hits.append(low <= truth <= high)
    assert np.mean(hits) >= 0.93


def test_values_that_depend_on_each_other_are_covered_too():
    random, hits, naive = np.random.default_rng(1), [], []
    for _ in range(300):
        # Each broadcast has a delay of its own that all of its 200 deliveries share. The median of the sum is 0.
        values = np.repeat(random.normal(size=30), 200) + 0.2 * random.normal(size=6_000)
        low, high = quantile_interval(values, np.repeat(np.arange(30), 200), 0.5)
        hits.append(low <= 0 <= high)
        low, high = quantile_interval(values, np.arange(6_000), 0.5)
        naive.append(low <= 0 <= high)
    assert np.mean(hits) >= 0.92
    assert np.mean(naive) < 0.5  # what comes of taking them for independent


@pytest.mark.parametrize(("q", "groups"), [(0.5, 7), (0.9, 37), (0.99, 369)])
def test_this_many_groups_are_enough_even_if_each_is_late_as_a_whole(q, groups):
    assert sufficient_groups(q) == groups
    for number, is_enough in ((groups, True), (groups - 1, False)):
        values = np.repeat(np.random.default_rng(1).exponential(size=number), 20)
        interval = quantile_interval(values, np.repeat(np.arange(number), 20), q)
        assert (None not in interval) == is_enough, number


def test_too_little_leaves_one_end_open_or_both():
    low, high = quantile_interval(np.arange(100.0), np.arange(100), 0.99)
    assert low is not None and high is None
    assert quantile_interval(np.arange(1_000.0), np.zeros(1_000), 0.5) == (None, None)  # one broadcast
    assert quantile_interval(np.array([]), np.array([]), 0.5) == (None, None)


@example([(0.0, 0), (1.0, 1)], 0.984375)  # two values that are worth one
@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 5)), max_size=60), st.floats(0.01, 0.99))
def test_an_interval_is_of_the_values_and_around_their_quantile(drawn, q):
    values, groups = np.array([value for value, _ in drawn]), np.array([group for _, group in drawn])
    assert 0 <= effective_sample_size(values, groups, q) <= len(values)
    low, high = quantile_interval(values, groups, q)
    assert low is None or (low in values and low <= np.quantile(values, q))
    assert high is None or (high in values and high >= np.quantile(values, q))
