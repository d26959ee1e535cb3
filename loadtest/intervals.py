"""Confidence intervals of quantiles, and trends, which assume nothing about the distribution."""

import math

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95


def quantile_interval(values: ArrayLike, groups: ArrayLike, q: float) -> tuple[float | None, float | None]:
    """A 95 % confidence interval of the `q` quantile, by order statistics.

    For n independent values the number of them below the true quantile is binomial, so the interval lies between two of
    the sorted values whatever the distribution (David and Nagaraja, Order Statistics, section 7.1). Deliveries of one
    broadcast are not independent: a slow function invocation delays all of them. So n is divided by the design effect,
    which is how much more the share of values below the quantile varies from group to group than it would by chance
    (Woodruff 1952, Confidence Intervals for Medians and Other Position Measures; Kish 1965, Survey Sampling).

    Args:
        values: shape (n,), any unit.
        groups: shape (n,); the same for values that may depend on each other, such as the number of their broadcast.
        q: between 0 and 1.

    Returns:
        The ends of the interval in the unit of `values`; None for an end for which there are too few values.
    """
    from scipy import stats  # here, since its import takes longer than all else that a load test does at its start

    values, groups = np.asarray(values), np.asarray(groups)
    n_independent = effective_sample_size(values, groups, q)
    if n_independent < 1:
        return None, None
    n, ordered = len(values), np.sort(values)
    beyond = (1 - CONFIDENCE) / 2
    # The interval of the ranks l and u holds the quantile if l <= Binomial(n, q) < u.
    ranks = stats.binom.ppf(beyond, n_independent, q), stats.binom.ppf(1 - beyond, n_independent, q) + 1
    low, high = (round(rank * n / n_independent) for rank in ranks)
    # Of very few independent values, those ranks may both lie on one side of the quantile of all.
    middle = (n - 1) * q
    low, high = min(low, math.floor(middle) + 1), max(high, math.ceil(middle) + 1)
    return (
        float(ordered[low - 1]) if ranks[0] >= 1 else None,
        float(ordered[min(high, n) - 1]) if ranks[1] <= n_independent else None,
    )


def effective_sample_size(values: ArrayLike, groups: ArrayLike, q: float) -> int:
    """How many independent values say as much about the `q` quantile as these: at most `n`; 0 from a single group."""
    values, groups = np.asarray(values), np.asarray(groups)
    n = len(values)
    if n == 0:
        return 0
    below = values <= np.quantile(values, q)
    share = below.mean()
    _, group = np.unique(groups, return_inverse=True)
    sizes, counts = np.bincount(group), np.bincount(group, weights=below)
    if len(sizes) < 2:
        return 0
    if share == 1:
        return n
    variance = len(sizes) / (len(sizes) - 1) * np.sum((counts - share * sizes) ** 2) / n**2
    design_effect = max(1.0, variance / (share * (1 - share) / n))
    return int(n / design_effect + 1e-9)


def sufficient_groups(q: float) -> int:
    """How many groups (broadcasts) are enough for an interval of the `q` quantile, however much depends on each group.

    At the worst all values of a group are late together; then m groups are worth m - 1 values. n independent values
    have an interval if the smallest and the largest of them are one: if all of them lie on one side of the quantile in
    no more than 2.5 % of all cases.
    """
    beyond = (1 - CONFIDENCE) / 2
    return math.ceil(math.log(beyond) / math.log(max(q, 1 - q))) + 1


def trend(at: ArrayLike, values: ArrayLike) -> tuple[float, float, float]:
    """The slope and the intercept of the line through some values (Theil and Sen's), and Kendall's p of no trend.

    One value that is far off changes none of the three much.
    """
    from scipy import stats  # here, as above

    x, y = np.asarray(at, dtype=float), np.asarray(values, dtype=float)
    line = stats.theilslopes(y, x)
    return float(line.slope), float(line.intercept), float(stats.kendalltau(x, y).pvalue)
