"""How the time grows with the connections: lines through what was measured, and the pictures of notebook 08."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from loadtest.plots import BLUE, GREEN, INK, ORANGE, PURPLE, NotebookFigure, format_ms, log_axis, new_figure

COLORS = (BLUE, ORANGE, GREEN, PURPLE)


def draw_medians(broadcasts: pd.DataFrame, draws: int = 2_000) -> pd.DataFrame:
    """Each step's median time in milliseconds, over and over of broadcasts drawn again from those measured (bootstrap).

    Args:
        broadcasts: a row for each, with `connections` and `last_ms`.

    Returns:
        A column for each number of connections, in ascending order, and a row for each of the `draws`.
    """
    random = np.random.default_rng(1)
    steps = broadcasts.groupby("connections")["last_ms"]
    return pd.DataFrame({step: np.median(random.choice(ms, (draws, len(ms))), axis=1) for step, ms in steps})


def fit_lines(medians: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The straight line through each row of `draw_medians`, of at least two steps (least squares).

    Returns:
        Slopes in milliseconds a connection, and where the lines meet no connections, in milliseconds; a row's each.
    """
    slopes, intercepts = np.polyfit(medians.columns.to_numpy(dtype=float), medians.to_numpy().T, 1)
    return slopes, intercepts


def plot_growth(broadcasts: pd.DataFrame) -> NotebookFigure:
    """Time to last delivery over connections, and the line through all steps but the largest, drawn on to that one.

    Args:
        broadcasts: a row for each, with `connections` (at least three different numbers) and `last_ms`.
    """
    medians = broadcasts.groupby("connections")["last_ms"].median()
    most = medians.index[-1]
    figure, axes = new_figure(
        f"Everybody in a room of {most:,} has heard it after {format_ms(medians[most])}",
        "Connections",
        "Time to last delivery (ms)",
    )
    slopes, intercepts = fit_lines(draw_medians(broadcasts[broadcasts["connections"] < most]))
    at = np.linspace(0, most, 50)
    low, middle, high = np.quantile(np.outer(slopes, at) + intercepts[:, None], [0.025, 0.5, 0.975], axis=0)
    axes.fill_between(at, low, high, color=ORANGE, alpha=0.2, lw=0)
    axes.plot(at, middle, color=ORANGE, lw=1.5, ls="--")
    axes.plot(broadcasts["connections"], broadcasts["last_ms"], "o", ms=4, alpha=0.25, color=BLUE)
    axes.plot(medians.index, medians, "o", ms=7, color=BLUE)
    # Above a line that rises there is nothing on the left, and below it nothing on the right.
    between = (medians.index[-2] + most) / 2
    line = float(np.interp(between, at, middle))
    for text, place, offset, align in (
        ("the smaller steps' line, drawn on", (between, line), (-14, 14), ("right", "bottom")),
        ("median", (medians.index[-2], medians.iloc[-2]), (10, -10), ("left", "top")),
    ):
        axes.annotate(text, place, offset, textcoords="offset points", ha=align[0], va=align[1], color=INK, fontsize=10)
    axes.set_xlim(0, 1.04 * most)
    axes.set_ylim(0)
    measured = "; ".join(f"{ms:,.0f} ms with {connections:,}" for connections, ms in medians.items())
    figure.alt = (
        f"Median time to last delivery over the connections: {measured}. The line through the smaller steps has "
        f"{low[-1]:,.0f} to {high[-1]:,.0f} ms for {most:,}."
    )
    return figure


def plot_forecasts(tables: Mapping[str, pd.DataFrame], patience_s: float, ends_s: float) -> NotebookFigure:
    """Time to last delivery over connections: a line for each table, which carries its name at its end.

    The band around a line goes from the shortest to the longest time.

    Args:
        tables: of `limits.sweep`, with one number of shards, by what the line is to be called.
        patience_s: a horizontal line, until which a room is called quick.
        ends_s: another one, where the functions' time is over.
    """
    everything = pd.concat(tables.values())
    most = everything["connections"].max()
    first = next(iter(tables.values())).iloc[-1]
    million = EngFormatter(sep="")(most)
    title = f"On AWS (computed): everybody in a room of {million} waits {first['last_s']:,.0f} s with your quota"
    figure, axes = new_figure(title, "People", "Time to last delivery (s)", 4.6)
    figure.kind = "computed"
    log_axis(axes.xaxis, everything["connections"])
    log_axis(axes.yaxis, [*everything["low_s"], *everything["high_s"], ends_s])
    axes.set_xlim(everything["connections"].min(), most)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    for text, seconds in ((f"{patience_s:g} s", patience_s), (f"{ends_s:g} s: the functions' time is over", ends_s)):
        axes.axhline(seconds, color=INK, lw=1, ls=":")
        axes.annotate(text, (axes.get_xlim()[0], seconds), (6, 3), textcoords="offset points", color=INK, fontsize=9)
    said = []
    heights = _apart([table["last_s"].iloc[-1] for table in tables.values()])
    for (name, table), color, y in zip(tables.items(), COLORS, heights, strict=False):
        axes.fill_between(table["connections"], table["low_s"], table["high_s"], color=color, alpha=0.2, lw=0)
        axes.plot(table["connections"], table["last_s"], color=color, lw=2)
        axes.plot(most, table["last_s"].iloc[-1], "o", color=color, ms=7, clip_on=False)
        axes.annotate(
            f"{table['last_s'].iloc[-1]:,.0f} s\n{name}", (most, y), (10, 0), textcoords="offset points", va="center",
            color=INK, fontsize=9, annotation_clip=False,
        )  # fmt: skip
        some = table.iloc[[0, len(table) // 2, -1]].itertuples()
        said.append(f"{name}: " + ", ".join(f"{row.last_s:,.2f} s for {row.connections:,}" for row in some))
    figure.alt = f"Lines of the computed time to last delivery over the people in the room. {'; '.join(said)}."
    return figure


def _apart(seconds: list[float], times: float = 1.9) -> list[float]:
    """The same heights, moved up where one would be less than `times` another: labels need room, on a log axis."""
    moved, above = list(seconds), 0.0
    for index in sorted(range(len(seconds)), key=lambda index: seconds[index]):
        above = moved[index] = max(seconds[index], above * times)
    return moved
