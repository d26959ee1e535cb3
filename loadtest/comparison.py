"""Compare two results: did it get faster, or is it noise?"""

from collections.abc import Iterator
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
}
"""What two load tests should have alike, and what to call it."""
RESAMPLES = 2_000
MAX_RESAMPLED = 200_000
"""Of more deliveries, every second, third, … by latency is resampled, which hardly changes a quantile."""
TOO_FEW, NOISE = "too few broadcasts to tell", "may be noise"


@dataclass(frozen=True)
class Comparison:
    """Two results beside each other."""

    table: pd.DataFrame
    """A row for each quantity: `before_ms`, `after_ms`, `difference_ms`, the ends `low_ms` and `high_ms` of the
    difference's 95 % interval, and the `finding`: faster, slower, or why it is neither."""
    warnings: list[str]
    """A sentence for each reason not to compare these two."""

    @property
    def conclusion(self) -> str:
        """The finding in one sentence."""
        changes = {word: self.table[self.table["finding"] == word] for word in ("faster", "slower")}
        parts = [
            f"{word} in {_enumerate([f'{name} by {_interval(row)}' for name, row in rows.iterrows()])}"
            for word, rows in changes.items()
            if len(rows)
        ]
        if not parts:
            return (
                "Neither is faster as far as these broadcasts can tell: the difference may be noise. "
                "More broadcasts make the intervals narrower."
            )
        return f"The second is {', and '.join(parts)}: more than chance makes of one broadcast and the next."

    def __str__(self) -> str:
        return "\n".join([*_lines(self.table), "", self.conclusion, *self.warnings])


def compare(before: Result, after: Result) -> Comparison:
    """Compare the quantiles of latency, and the median time to last delivery, of two results without their warm-up.

    Only the broadcasts to numbers of connections that both have are compared, unless they have none in common.

    The 95 % interval of a difference is a bootstrap's, in which whole broadcasts are drawn, each result's anew and each
    step's apart: the deliveries of one broadcast are late together, so they are not independent (Davison and Hinkley,
    Bootstrap Methods and their Application, sections 2.4 and 3.8). It knows what differs from broadcast to broadcast.
    What differs from one run to the next, such as what else the machine has to do, it can't know.

    Raises:
        ValueError: in one sentence, if one of them has no deliveries.
    """
    numbers, parts = _parts(before, after)
    values = pd.DataFrame({name: part.values() for name, part in zip(("before_ms", "after_ms"), parts, strict=True)})
    table = values.assign(difference_ms=values["after_ms"] - values["before_ms"])
    first, second, ends = _resample_both(parts)
    table["low_ms"], table["high_ms"] = np.quantile(second - first, ends, axis=0)
    table["finding"] = np.select([table["high_ms"] < 0, table["low_ms"] > 0], ["faster", "slower"], NOISE)
    table.loc[sorted(set().union(*(_uncertain(part) for part in parts))), "finding"] = TOO_FEW
    return Comparison(table, list(_warnings(before, after, numbers)))


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
    _, parts = _parts(before, after)
    first, second, ends = _resample_both(parts)
    low, high = np.quantile(first[:, -1] / second[:, -1], ends)
    value = parts[0].values()[LAST_DELIVERY] / parts[1].values()[LAST_DELIVERY]
    return TimesSooner(value, float(low), float(high))


@dataclass(frozen=True)
class _Part:
    """What of a result is compared: its broadcasts, and their deliveries by latency."""

    broadcasts: pd.DataFrame
    deliveries: pd.DataFrame

    def values(self) -> dict[str, float]:
        latency_ms = self.deliveries["latency_ms"]
        own = {name: float(latency_ms.quantile(q)) for name, q in LATENCY_QUANTILES.items()}
        return own | {LAST_DELIVERY: float(self.broadcasts["last_ms"].median())}


def _parts(before: Result, after: Result) -> tuple[list[set[int]], list[_Part]]:
    """The numbers of connections of both, and what of both is compared. Raises ValueError."""
    numbers = [set(result.heard_broadcasts()["expected"]) for result in (before, after)]
    if not all(numbers):
        raise ValueError("There is nothing to compare: one of the two load tests has no deliveries.")
    return numbers, [_part(result, set.intersection(*numbers)) for result in (before, after)]


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


def _resample_both(parts: list[_Part]) -> tuple[NDArray[np.float64], NDArray[np.float64], list[float]]:
    """What `_resample` returns for each of the two, and the quantiles that are the ends of an interval."""
    random = np.random.default_rng(1)  # the same two results always give the same intervals
    first, second = (_resample(part, random) for part in parts)
    beyond = _expanded(min(len(part.broadcasts) for part in parts))
    return first, second, [beyond, 1 - beyond]


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


def _warnings(before: Result, after: Result, numbers: list[set[int]]) -> Iterator[str]:
    common = set.intersection(*numbers)
    if common and numbers[0] != numbers[1]:
        yield f"Compared are the broadcasts to {_list(common)} connections only, which both have."
    settings = [result.summary["settings"] for result in (before, after)]
    facts = {title: [f"{each.get(name, 0):g}" for each in settings] for name, title in SETTINGS.items()}
    if not common:
        facts = {"connections": [_list(each) for each in numbers]} | facts
    others = [f"{title} {first} and {second}" for title, (first, second) in facts.items() if first != second]
    if others:
        yield f"These two did not measure the same: {_enumerate(others)}."
    for name, result in (("first", before), ("second", after)):
        if not result.summary["verdict"]["believable"]:
            yield f"The {name} does not trust itself: {' '.join(result.summary['verdict']['warnings'])}"


def _list(numbers: set[int]) -> str:
    return _enumerate([f"{number:,}" for number in sorted(numbers)])


def _enumerate(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _interval(row: "pd.Series[float]") -> str:
    low, high = sorted(abs(row[["low_ms", "high_ms"]].astype(float)))
    return f"{abs(row['difference_ms']):,.1f} ms ({low:,.1f} to {high:,.1f})"


def _lines(table: pd.DataFrame) -> Iterator[str]:
    yield f"{'':<26}{'first':>12}{'second':>12}{'difference':>13}   {'95 % interval':<22}"
    for name, row in table.iterrows():
        difference = f"{row['difference_ms']:+,.1f} ms"
        interval = f"{row['low_ms']:+,.1f} to {row['high_ms']:+,.1f} ms"
        times = "".join(f"{row[key]:>9,.1f} ms" for key in ("before_ms", "after_ms"))
        yield f"{name!s:<26}{times}{difference:>13}   {interval:<22}{row['finding']}"
