"""A plot of how far the chat goes."""

import pandas as pd
from matplotlib.figure import Figure

from loadtest import plots

BINDING = {
    "opening connections": plots.GREEN,
    "starting the invocations": plots.GREY,
    "reading the table": plots.PURPLE,
    "posting": plots.BLUE,
    "the account's request quota": plots.RED,
}
"""A color for each of `model.limits`."""
STYLES = ("-", "--", "-.", ":")


def forecast(tables: dict[str, pd.DataFrame], timeouts_s: dict[str, float]) -> Figure:
    """Time to last delivery over connections: a panel for each table, a line for each number of shards.

    A point's color is the limit that binds there; it is not filled if somebody did not receive the message. The bar
    through it goes from the shortest to the longest time that was simulated.

    Args:
        tables: of `simulation.sweep`, by the panel's title.
        timeouts_s: horizontal lines, by what they are.
    """
    figure = plots.NotebookFigure(figsize=(8.5, 4.8), layout="constrained")
    figure.kind = "simulated"
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        for (shards, rows), style in zip(table.groupby("shards"), STYLES, strict=False):
            axes.plot(
                rows["connections"],
                rows["last_s"],
                style,
                color="black",
                lw=1,
                label=f"{shards} invocation{'' if shards == 1 else 's'}",
            )
            for _, row in rows.iterrows():
                color, whole = BINDING[row["binds"]], row["delivered"] == row["connections"]
                axes.plot([row["connections"]] * 2, [row["low_s"], row["high_s"]], color=color, lw=5, alpha=0.25)
                axes.plot(row["connections"], row["last_s"], "o", ms=7, mec=color, mfc=color if whole else "white")
        for name, seconds in timeouts_s.items():
            axes.axhline(seconds, color=plots.ORANGE, lw=0.8)
            axes.annotate(name, (table["connections"].min(), seconds * 1.08), color=plots.ORANGE, fontsize=8)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("Connections")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        plots.log_axis(axes.xaxis, table["connections"])
        plots.log_axis(axes.yaxis, pd.concat(tables.values())["last_s"])
        axes.set_xticks(sorted(set(table["connections"])))
    panels[0].set_ylabel("Time to last delivery (s)")
    for name, color in BINDING.items():
        if any((table["binds"] == name).any() for table in tables.values()):
            panels[0].plot([], [], "o", color=color, label=f"bound by {name}")
    if any((table["delivered"] < table["connections"]).any() for table in tables.values()):
        panels[0].plot([], [], "o", mec="black", mfc="white", label="did not reach everyone")
    figure.legend(
        *panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3, fontsize=8
    )
    return figure
