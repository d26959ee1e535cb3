"""In which order a broadcast reaches its connections, and what a late place in it costs.

A plot of latency against the place at which a delivery came would always rise: it is the distribution again. So half of
the broadcasts say which place a connection usually has, and the other half how long it waits. And the speaker shows
whether the place is the cause, if it is served first: it has another place then.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from loadtest import plots
from loadtest.results import Result


class Order(NamedTuple):
    """What half of the broadcasts say of the other half."""

    listening: pd.DataFrame
    """A row for each connection, in the order of its usual place: `connection`; `place`, 1 for the one that is usually
    reached first; and of the other half, where it does not speak: `low_ms`, `later_ms` and `high_ms`, the quartiles and
    the median of how much later than the broadcast's first delivery its own is; `actual_place`, the median."""
    speaking: pd.DataFrame
    """The same for the broadcasts of the other half in which it speaks itself; few connections do."""
    kept: float
    """How much of the order both halves share: Spearman's rank correlation, 1 for all of it, and 0 for none."""


def usual_order(result: Result) -> Order:
    """The usual places, from one half of the measured broadcasts, and the latencies of the other half.

    The halves are every other broadcast. Without two in each half, or three connections, the tables are empty.
    """
    rows, of_broadcast = result.measured(), result.broadcasts.set_index("broadcast")
    rows = rows.assign(
        place_then=rows["position"].astype(float) + 1,
        later_ms=(rows["latency_ms"] - rows["broadcast"].map(of_broadcast["first_ms"])).astype(float),
        speaks=rows["connection"].eq(rows["broadcast"].map(of_broadcast["speaker"])),
    )
    numbers = np.sort(rows["broadcast"].unique())
    first = rows["broadcast"].isin(numbers[::2])
    usual = rows[first & ~rows["speaks"]].groupby("connection")["place_then"].mean().rank(method="first")
    other = rows[~first].assign(place=lambda rows: rows["connection"].map(usual)).dropna(subset=["place"])
    listening, speaking = (_latencies(other[other["speaks"] == speaks]) for speaks in (False, True))
    if len(numbers) < 4 or len(listening) < 3:
        return Order(listening[:0], speaking[:0], np.nan)
    kept = float(listening["place"].corr(listening["actual_place"], method="spearman"))
    return Order(listening, speaking, kept)


def _latencies(rows: pd.DataFrame) -> pd.DataFrame:
    """How much later than the first each connection is reached, by its usual place."""
    by_connection = rows.groupby(["place", "connection"])
    at = {"low_ms": 0.25, "later_ms": 0.5, "high_ms": 0.75}
    table = pd.DataFrame({name: by_connection["later_ms"].quantile(q) for name, q in at.items()})
    return table.assign(actual_place=by_connection["place_then"].median()).reset_index()


def explain(order: Order) -> str:
    """What the order shows, in sentences that take their figures from it."""
    rows = order.listening
    if rows.empty:
        return "There are too few broadcasts or connections to see an order."
    last = rows.tail(max(1, len(rows) // 10))["later_ms"].median()
    sentences = [
        f"The rank correlation of the two halves is {order.kept:.2f}, and 1 if their orders are the same: "
        + ("the place is no accident." if order.kept > 0.5 else "the order is another one each time."),
        f"The last tenth hears it {last:.1f} ms after the first one.",
    ]
    both = order.speaking.merge(rows, on=["connection", "place"], suffixes=("_then", ""))
    sentences += [
        f"Connection {row.connection} hears it {row.later_ms:.1f} ms after the first one, in place {row.place:.0f}, "
        f"and when it speaks itself after {row.later_ms_then:.1f} ms, in place {row.actual_place_then:.0f}."
        for row in both.itertuples()
    ]
    return "\n".join(sentences)


def later_by_place(order: Order) -> plots.NotebookFigure:
    """How much later than the first one a connection is reached, by its usual place, and when it speaks itself."""
    rows, speaking = order.listening, order.speaking
    figure, axes = plots.new_figure(
        "Too few to see an order",
        "Usual place, as every other broadcast has it (1 = reached first)",
        "Later than the first, in the others (ms)",
    )
    if rows.empty:
        return figure
    slope_ms = np.polyfit(rows["place"], rows["later_ms"], 1)[0]  # of medians, which a late broadcast is not in
    title = f"Each place further back costs {plots.format_ms(slope_ms)}; the orders agree to {order.kept:.2f}"
    plots.set_title(axes, title)
    axes.fill_between(
        rows["place"], rows["low_ms"], rows["high_ms"], color=plots.BLUE, alpha=0.2, lw=0, label="quartiles"
    )
    axes.plot(rows["place"], rows["later_ms"], ".", color=plots.BLUE, ms=4, label="listening (median)")
    axes.plot(speaking["place"], speaking["later_ms"], "D", color=plots.ORANGE, ms=7, label="speaking (median)")
    axes.set_xlim(0, len(rows) + 1)
    axes.set_ylim(0)
    plots.add_legend(figure, ncols=3)
    said = explain(order).replace("\n", " ")
    figure.alt = f"A dot for each connection over its usual place, and others for the speakers. {title}. {said}"
    return figure
