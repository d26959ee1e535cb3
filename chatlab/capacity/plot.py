"""Plots of how far the chat goes."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from loadtest import plots
from loadtest.plots import style

BINDING = {
    "opening connections": (plots.GREEN, "v"),
    "starting the invocations": (plots.GREY, "s"),
    "reading the table": (plots.PURPLE, "^"),
    "posting": (plots.BLUE, "o"),
    "the account's request quota": (plots.RED, "D"),
}
"""A color and a marker for each of `model.limits`."""
STYLES = ("-", "--", "-.", ":")


def forecast(
    tables: dict[str, pd.DataFrame], times_s: dict[str, float], guess: tuple[int, float] | None = None
) -> plots.NotebookFigure:
    """Time to last delivery over connections: a panel for each table, a line for each number of shards.

    A point's color and shape are the limit that binds there; it is not filled if somebody did not receive the message.
    The bar through it goes from the shortest to the longest time that was simulated.

    Args:
        tables: of `simulation.sweep`, by the panel's title.
        times_s: horizontal lines, by what they are.
        guess: connections and seconds, of a star in the first panel.
    """
    figure = plots.NotebookFigure(figsize=(8.5, 5.2), layout="constrained")
    figure.kind = "simulated"
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    everything = pd.concat(tables.values())
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        numbers = sorted(table["shards"].unique())
        for shards, dashes in zip(numbers, STYLES, strict=False):
            rows = table[table["shards"] == shards]
            # A little beside each other: those that take equally long would hide each other.
            _line(axes, rows, 1.12 ** (numbers.index(shards) - (len(numbers) - 1) / 2), dashes)
        style(axes, title, "Connections")
        plots.log_axis(axes.xaxis, table["connections"])
        plots.log_axis(axes.yaxis, [*everything["low_s"], *everything["high_s"], *([guess[1]] if guess else [])])
        axes.set_xticks(sorted(set(table["connections"])))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        for (name, seconds), dashes in zip(times_s.items(), ("--", ":"), strict=False):
            if axes.get_ylim()[0] < seconds < axes.get_ylim()[1]:
                axes.axhline(seconds, color=plots.ORANGE, lw=1.5, ls=dashes, label=name)
    panels[0].set_ylabel("Time to last delivery (s)")
    for name, (color, marker) in BINDING.items():
        if (everything["binds"] == name).any():
            panels[0].plot([], [], marker, color=color, label=f"bound by {name}")
    if (everything["delivered"] < everything["connections"]).any():
        panels[0].plot([], [], "o", mec="black", mfc="white", label="did not reach everyone")
    if guess:
        panels[0].plot(*guess, "*", color=plots.GREEN, ms=14, label="your guess")
    figure.legend(
        *panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3, fontsize=8
    )
    figure.alt = "\n".join(f"{title}: {_in_words(table)}." for title, table in tables.items())
    return figure


def _in_words(table: pd.DataFrame) -> str:
    return "; ".join(
        f"{row.connections:,} connections, {row.shards} at a time, {row.last_s:.2f} s, bound by {row.binds}"
        for row in table.itertuples()
    )


def _line(axes: Axes, rows: pd.DataFrame, shift: float, dashes: str) -> None:
    """The times of one number of shards, shifted to the right by this factor."""
    shards = rows["shards"].iloc[0]
    connections = rows["connections"] * shift
    name = f"{shards} invocation{'' if shards == 1 else 's'}"
    axes.plot(connections, rows["last_s"], dashes, color="black", lw=0.8, label=name)
    for at, (_, row) in zip(connections, rows.iterrows(), strict=True):
        (color, marker), whole = BINDING[row["binds"]], row["delivered"] == row["connections"]
        axes.plot([at, at], [row["low_s"], row["high_s"]], color=color, lw=4, alpha=0.3, solid_capstyle="butt")
        axes.plot(at, row["last_s"], marker, ms=6, mec=color, mfc=color if whole else "white")
