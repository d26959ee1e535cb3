"""Compare the results of two pieces of code: did it get faster, or is it noise?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from loadtest.intervals import CONFIDENCE, quantile_interval
from loadtest.results import Result, first_copies
from loadtest.verdict import MIN_BROADCASTS

LATENCY_QUANTILES = {"latency p50": 0.5, "latency p90": 0.9, "latency p99": 0.99}
LAST_DELIVERY = "time to last delivery p50"
SETTINGS = {
    "payload_bytes": "payload (bytes)",
    "broadcast_rate": "broadcasts a second",
    "speakers": "speakers",
    "churn": "churn",
    "storm": "storm",
}
"""What load tests should have alike, and what to call it."""
RESAMPLES = 2_000
MAX_RESAMPLED = 200_000
"""Of more deliveries, every second, third, … by latency is resampled, which hardly changes a quantile."""
FOUND = 0.8
FINDINGS, ONCE = ("faster", "slower"), ("faster this time", "slower this time")  # the latter of one run of each
TOO_FEW, NOISE = "too few broadcasts to tell", "may be noise"
ONE_RUN = (
    "One run of each says how broadcasts differ, not how runs do: two runs of the same code have differed by 14 % in "
    "the median, and up to 45 %. Give three or more of each."
)


@dataclass(frozen=True)
class Comparison:
    """The runs of two pieces of code beside each other."""

    table: pd.DataFrame
    """A row for each quantity: `before_ms` and `after_ms` (the geometric mean of several runs) and `difference_ms`;
    `times`, the second as a multiple of the first, and the ends `low` and `high` of its 95 % interval; `found`, the
    smallest slowdown, as such a multiple, that `FOUND` of these comparisons would find (NaN from one run of each); and
    the `finding`: one of `FINDINGS` or `ONCE`, or why it is none."""
    warnings: list[str]
    """A sentence for each reason not to compare these."""

    @property
    def conclusion(self) -> str:
        """The finding in a few sentences. Of several runs, it is about the time to last delivery alone: of four
        quantities, chance makes one or another differ more often than 1 time in 20."""
        if self.table["found"].isna().all():
            return f"{self._this_time()} {ONE_RUN}"
        row = self.table.loc[LAST_DELIVERY]
        finding = "which may be noise" if row["finding"] == NOISE else f"so it is {row['finding']}"
        return (
            f"The second takes {row['times']:.2f} times as long to reach everybody "
            f"({row['low']:.2f} to {row['high']:.2f}), {finding}. "
            f"{10 * FOUND:.0f} of 10 such comparisons would find a slowdown of {100 * (row['found'] - 1):.0f} %."
        )

    def _this_time(self) -> str:
        parts = [
            f"{word!s} in {_enumerate([f'{name} ({_times(row)})' for name, row in rows.iterrows()])}"
            for word, rows in self.table.groupby("finding")
            if word in ONCE
        ]
        if not parts:
            return "Neither is faster as far as these broadcasts can tell: the difference may be noise."
        return f"The second was {', and '.join(parts)}: more than chance makes of one broadcast and the next."

    def __str__(self) -> str:
        return "\n".join([*_lines(self.table), "", self.conclusion, *self.warnings])


def compare(before: Sequence[Result], after: Sequence[Result]) -> Comparison:
    """Compare the quantiles of latency, and the median time to last delivery, of runs without their warm-up.

    Only the broadcasts to numbers of connections that all runs have are compared, unless they have none in common.

    Of several runs of each, the 95 % interval is `welch`'s, which knows what differs from run to run. Of one run of
    each, it is a bootstrap's, in which whole broadcasts are drawn, each result's anew and each step's apart: the
    deliveries of one broadcast are late together, so they are not independent (Davison and Hinkley, Bootstrap Methods
    and their Application, sections 2.4 and 3.8). It knows what differs from broadcast to broadcast. What differs from
    one run to the next, such as what else the machine has to do, it can't know.

    Raises:
        ValueError: in one sentence, if one of them has no deliveries, or if there is one run beside several.
    """
    if len(before) != len(after) and 1 in (len(before), len(after)):
        raise ValueError("Give one run of each, or several of each: one alone does not say how such runs differ.")
    numbers, parts = _parts([*before, *after])
    values = pd.DataFrame([part.values() for part in parts])
    first, second = values[: len(before)], values[len(before) :]
    before_ms, after_ms = (np.exp(np.log(each).mean()) for each in (first, second))
    table = pd.DataFrame({"before_ms": before_ms, "after_ms": after_ms})
    table["difference_ms"], table["times"] = after_ms - before_ms, after_ms / before_ms
    if len(before) > 1:
        words, uncertain = FINDINGS, set()
        table["low"], table["high"], table["found"] = welch(first, second)
    else:
        words, uncertain = ONCE, set.union(*map(_uncertain, parts))
        (table["low"], table["high"]), table["found"] = _bootstrap(parts), np.nan
    table["finding"] = np.select([table["high"] < 1, table["low"] > 1], words, NOISE)
    table.loc[sorted(uncertain), "finding"] = TOO_FEW
    return Comparison(table, list(_warnings(before, after, numbers)))


def welch(first: pd.DataFrame, second: pd.DataFrame) -> tuple[NDArray[np.float64], ...]:
    """How many times the first the second is, by Welch's t interval of the difference of the means of the logarithms.

    B. L. Welch, The Generalization of "Student's" Problem, Biometrika 34 (1947). By the logarithm, a difference is a
    ratio. The slowdown that is found follows from the runs' own spread by the noncentral t distribution.

    Args:
        first: each run's statistics, above 0, shape (runs, quantities); at least two runs.
        second: the same of the second, which may have more or fewer runs.

    Returns:
        `low`, `high` and `found` of `Comparison`, each of shape (quantities,).
    """
    from scipy import special, stats  # here, as in `loadtest.intervals`

    test = stats.ttest_ind(np.log(second), np.log(first), equal_var=False)
    low, high = test.confidence_interval(CONFIDENCE)
    t = stats.t.ppf((1 + CONFIDENCE) / 2, test.df)
    standard_error = (high - low) / 2 / t
    return np.exp(low), np.exp(high), np.exp(special.nctdtrinc(test.df, 1 - FOUND, t) * standard_error)


@dataclass(frozen=True)
class TimesSooner:
    """How many times sooner the second of two results reaches everybody, and the 95 % interval of that."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low <= 1 <= self.high:
            return (
                f"as far as these broadcasts can tell, no sooner and no later ({self.low:.1f} to {self.high:.1f} times)"
            )
        if self.value > 1:
            return f"{self.value:.1f} times sooner ({self.low:.1f} to {self.high:.1f})"
        return f"{1 / self.value:.1f} times later ({1 / self.high:.1f} to {1 / self.low:.1f})"


def times_sooner(before: Result, after: Result) -> TimesSooner:
    """The median time to last delivery of one result over that of another, with an interval as in `compare`.

    Raises:
        ValueError: in one sentence, if one of them has no deliveries.
    """
    _, parts = _parts([before, after])
    low, high = (float(1 / ends[-1]) for ends in reversed(_bootstrap(parts)))
    value = parts[0].values()[LAST_DELIVERY] / parts[1].values()[LAST_DELIVERY]
    return TimesSooner(value, low, high)


@dataclass(frozen=True)
class _Part:
    """What of a result is compared: its broadcasts, and their deliveries by latency."""

    broadcasts: pd.DataFrame
    deliveries: pd.DataFrame

    def values(self) -> dict[str, float]:
        latency_ms = self.deliveries["latency_ms"]
        own = {name: float(latency_ms.quantile(q)) for name, q in LATENCY_QUANTILES.items()}
        return own | {LAST_DELIVERY: float(self.broadcasts["last_ms"].median())}


def _parts(runs: Sequence[Result]) -> tuple[list[set[int]], list[_Part]]:
    """The numbers of connections of each, and what of each is compared. Raises ValueError."""
    numbers = [set(result.heard_broadcasts()["expected"]) for result in runs]
    if not all(numbers):
        raise ValueError("There is nothing to compare: one of the load tests has no deliveries.")
    return numbers, [_part(result, set.intersection(*numbers)) for result in runs]


def _part(result: Result, connections: set[int]) -> _Part:
    broadcasts, deliveries = result.heard_broadcasts(), result.deliveries
    if connections:
        broadcasts = broadcasts[broadcasts["expected"].isin(connections)]
    deliveries = first_copies(deliveries[deliveries["broadcast"].isin(broadcasts["broadcast"])])
    return _Part(broadcasts.reset_index(drop=True), deliveries.sort_values("latency_ms"))


def _expanded(n: int) -> float:
    """The share of resamples beyond each end of an interval, which is too narrow if made from few values as it is.

    T. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69 (2015): expanded
    percentile intervals.
    """
    from scipy import stats  # here, as in `loadtest.intervals`

    t = stats.t.ppf((1 + CONFIDENCE) / 2, max(1, n - 1))
    return float(stats.norm.sf(np.sqrt(n / max(1, n - 1)) * t))


def _bootstrap(parts: list[_Part]) -> NDArray[np.float64]:
    """The ends of the intervals of second / first, by resampling the broadcasts of one run of each."""
    random = np.random.default_rng(1)  # the same two results always give the same intervals
    first, second = (_resample(part, random) for part in parts)
    beyond = _expanded(min(len(part.broadcasts) for part in parts))
    ends: NDArray[np.float64] = np.quantile(second / first, [beyond, 1 - beyond], axis=0)
    return ends


def _resample(part: _Part, random: np.random.Generator) -> NDArray[np.float64]:
    """The quantities of resampled broadcasts, shape (resamples, quantities)."""
    # How often each broadcast is drawn, shape (resamples, broadcasts).
    drawn = np.empty((RESAMPLES, len(part.broadcasts)), dtype=np.int64)
    for rows in part.broadcasts.groupby("phase").indices.values():
        drawn[:, rows] = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES)
    deliveries = part.deliveries.iloc[:: len(part.deliveries) // MAX_RESAMPLED + 1]
    latency_ms = deliveries["latency_ms"].to_numpy()
    broadcast = pd.Index(part.broadcasts["broadcast"]).get_indexer(pd.Index(deliveries["broadcast"]))
    last_ms = part.broadcasts["last_ms"].to_numpy()
    order = np.argsort(last_ms)
    quantities = np.empty((RESAMPLES, len(LATENCY_QUANTILES) + 1))
    for row, times in zip(quantities, drawn, strict=True):
        row[:-1] = _weighted_quantiles(latency_ms, times[broadcast], list(LATENCY_QUANTILES.values()))
        row[-1:] = _weighted_quantiles(last_ms[order], times[order], [0.5])
    return quantities


def _weighted_quantiles(
    ordered: NDArray[np.float64], weights: NDArray[np.int64], at: list[float]
) -> NDArray[np.float64]:
    """Quantiles of sorted values, each repeated as often as its weight says."""
    up_to = weights.cumsum()
    quantiles: NDArray[np.float64] = ordered[np.searchsorted(up_to, np.multiply(at, up_to[-1]))]
    return quantiles


def _uncertain(part: _Part) -> set[str]:
    """The quantities for which there are too few broadcasts."""
    if len(part.broadcasts) < MIN_BROADCASTS:
        return {*LATENCY_QUANTILES, LAST_DELIVERY}
    latency_ms, groups = part.deliveries["latency_ms"], part.deliveries["broadcast"]
    return {name for name, q in LATENCY_QUANTILES.items() if None in quantile_interval(latency_ms, groups, q)}


def _warnings(before: Sequence[Result], after: Sequence[Result], numbers: list[set[int]]) -> Iterator[str]:
    common = set.intersection(*numbers)
    if common and common != set.union(*numbers):
        yield f"Compared are the broadcasts to {_list(common)} connections only, which all have."
    settings = [result.summary["settings"] for result in (*before, *after)]
    facts = {
        title: [f"{each.get(name) or 'none'}".removesuffix(".0") for each in settings]
        for name, title in SETTINGS.items()
    }
    if not common:
        facts = {"connections": [_list(each) for each in numbers]} | facts
    others = [f"{title} {_enumerate(list(dict.fromkeys(of)))}" for title, of in facts.items() if len(set(of)) > 1]
    if others:
        yield f"These did not measure the same: {_enumerate(others)}."
    for name, runs in (("first", before), ("second", after)):
        for number, result in enumerate(runs, start=1):
            if not result.summary["verdict"]["believable"]:
                which = f"Run {number} of the {name}" if len(runs) > 1 else f"The {name}"
                yield f"{which} does not trust itself: {' '.join(result.summary['verdict']['warnings'])}"


def _list(numbers: set[int]) -> str:
    return _enumerate([f"{number:,}" for number in sorted(numbers)])


def _enumerate(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _times(row: "pd.Series[float]") -> str:
    return f"{row['times']:.2f} times, {row['low']:.2f} to {row['high']:.2f}"


def _lines(table: pd.DataFrame) -> Iterator[str]:
    yield f"{'':<26}{'first':>12}{'second':>12}{'difference':>13}   {'95 % interval':<27}{'found':<8}"
    for name, row in table.iterrows():
        times = "".join(f"{row[key]:>9,.1f} ms" for key in ("before_ms", "after_ms"))
        found = f"{row['found']:.2f}".replace("nan", "")  # of one run of each
        yield f"{name!s:<26}{times}{row['difference_ms']:>+10,.1f} ms   {_times(row):<27}{found:<8}{row['finding']}"
