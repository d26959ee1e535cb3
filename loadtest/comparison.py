"""Compare two results: did it get faster, or is it noise?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from loadtest.intervals import CONFIDENCE
from loadtest.results import Result
from loadtest.verdict import MIN_BROADCASTS

LATENCY_QUANTILES = {"latency p50": 0.5, "latency p90": 0.9, "latency p99": 0.99}
LAST_DELIVERY = "time to last delivery p50"
RESAMPLES = 2_000
TOO_FEW, NOISE = "too few broadcasts to tell", "may be noise"


@dataclass(frozen=True)
class Comparison:
    """Two results beside each other."""

    table: pd.DataFrame
    """A row for each quantity: `before_ms`, `after_ms`, `difference_ms`, the ends `low_ms` and `high_ms` of the
    difference's 95 % interval, and the `finding`: faster, slower, or why neither can be told."""
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

    The 95 % interval of a difference is a bootstrap's, in which whole broadcasts are drawn, each result's anew and each
    step's apart: the deliveries of one broadcast are late together, so they are not independent (Davison and Hinkley,
    Bootstrap Methods and their Application, sections 2.4 and 3.8). It knows what differs from broadcast to broadcast.
    What differs from one run to the next, such as what else the machine has to do, it can't know.

    Raises:
        ValueError: in one sentence, if one of them has no deliveries.
    """
    if before.summary["latency_ms"]["p50"] is None or after.summary["latency_ms"]["p50"] is None:
        raise ValueError("There is nothing to compare: one of the two load tests has no deliveries.")
    values = pd.DataFrame({"before_ms": _values(before), "after_ms": _values(after)})
    table = values.assign(difference_ms=values["after_ms"] - values["before_ms"])
    random = np.random.default_rng(1)  # the same two results always give the same intervals
    differences = -_resample(before, random) + _resample(after, random)
    beyond = (1 - CONFIDENCE) / 2
    table["low_ms"], table["high_ms"] = np.quantile(differences, [beyond, 1 - beyond], axis=0)
    table["finding"] = np.select([table["high_ms"] < 0, table["low_ms"] > 0], ["faster", "slower"], NOISE)
    table.loc[sorted(_uncertain(before) | _uncertain(after)), "finding"] = TOO_FEW
    return Comparison(table, list(_warnings(before, after)))


def _values(result: Result) -> dict[str, float]:
    summary = result.summary
    latencies = {name: summary["latency_ms"][name.split()[-1]] for name in LATENCY_QUANTILES}
    return latencies | {LAST_DELIVERY: summary["last_delivery_ms"]["p50"]}


def _resample(result: Result, random: np.random.Generator) -> NDArray[np.float64]:
    """The quantities of resampled broadcasts, shape (resamples, quantities)."""
    broadcasts = _measured(result).reset_index(drop=True)
    # How often each broadcast is drawn, shape (resamples, broadcasts).
    drawn = np.empty((RESAMPLES, len(broadcasts)), dtype=np.int64)
    for rows in broadcasts.groupby("phase").indices.values():
        drawn[:, rows] = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES)
    deliveries = result.deliveries
    deliveries = deliveries[deliveries["expected"] & (deliveries["copy"] == 0) & ~deliveries["warm_up"]]
    deliveries = deliveries.sort_values("latency_ms")
    latency_ms = deliveries["latency_ms"].to_numpy()
    broadcast = pd.Index(broadcasts["broadcast"]).get_indexer(pd.Index(deliveries["broadcast"]))
    last = broadcasts["last_ms"].to_numpy()
    order = np.argsort(last)
    quantities = np.empty((RESAMPLES, len(LATENCY_QUANTILES) + 1))
    for row, times in zip(quantities, drawn, strict=True):
        row[:-1] = _weighted_quantiles(latency_ms, times[broadcast], list(LATENCY_QUANTILES.values()))
        row[-1:] = _weighted_quantiles(last[order], times[order], [0.5])
    return quantities


def _weighted_quantiles(
    ordered: NDArray[np.float64], weights: NDArray[np.int64], at: list[float]
) -> NDArray[np.float64]:
    """Quantiles of sorted values of which each is there so many times."""
    up_to = weights.cumsum()
    quantiles: NDArray[np.float64] = ordered[np.searchsorted(up_to, np.multiply(at, up_to[-1]))]
    return quantiles


def _measured(result: Result) -> pd.DataFrame:
    """The broadcasts that count, and that reached somebody."""
    rows = result.broadcasts
    return rows[~rows["warm_up"] & rows["last_ms"].notna()]


def _uncertain(result: Result) -> set[str]:
    """The quantities for which a result has too few broadcasts."""
    if len(_measured(result)) < MIN_BROADCASTS:
        return {*LATENCY_QUANTILES, LAST_DELIVERY}
    intervals = result.summary["interval_95"]["latency_ms"]
    return {name for name in LATENCY_QUANTILES if None in intervals[name.split()[-1]]}


def _warnings(before: Result, after: Result) -> Iterator[str]:
    settings = [result.summary["settings"] for result in (before, after)]
    connections = [sorted(set(_measured(result)["expected"])) for result in (before, after)]
    facts = {"connections": [", ".join(f"{number:,}" for number in numbers) for numbers in connections]}
    for name, title in {
        "payload_bytes": "payload (bytes)",
        "broadcast_rate": "broadcasts a second",
        "speakers": "speakers",
        "churn": "churn",
    }.items():
        facts[title] = [f"{each.get(name, 0):g}" for each in settings]
    others = [f"{title} {first} and {second}" for title, (first, second) in facts.items() if first != second]
    if others:
        yield f"These two did not measure the same: {_enumerate(others)}."
    for name, result in (("first", before), ("second", after)):
        if not result.summary["verdict"]["believable"]:
            yield f"The {name} does not trust itself: {' '.join(result.summary['verdict']['warnings'])}"


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
