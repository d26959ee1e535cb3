"""Pictures of how far the chat goes: what was measured, what is foreseen, and the forecast under your hands."""

from dataclasses import replace

import ipywidgets as widgets
import pandas as pd
from IPython.display import DisplayHandle, display
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from chatlab import limits
from loadtest.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, NotebookFigure, log_axis, new_figure, style

VARIANTS = {"sequential": ORANGE, "threads": GREY, "fanout": BLUE}  # a color for each broadcast that is measured
BINDING = {
    limits.OPENING: (GREEN, "v"),
    limits.STARTING: (GREY, "s"),
    limits.READING: (PURPLE, "^"),
    limits.POSTING: (BLUE, "o"),
    limits.QUOTA: (RED, "D"),
}
"""A color and a marker for each limit."""
STYLES = ("-", "--", "-.", ":")
ROOMS = (1_000, 10_000, 100_000)  # of the picture with sliders
POSTS_MS, REQUESTS_PER_S, SHARDS, MEMORY_MB = (5, 25), (1_000, 2_500, 10_000, 100_000), (1, 10), (128, 1_769)
"""What each slider goes through, or from where to where."""


def plot_measured(broadcasts: pd.DataFrame) -> NotebookFigure:
    """Time to last delivery over connections, with a line through the medians for each variant.

    Args:
        broadcasts: a row for each, with `variant`, `connections` and `last_ms`.
    """
    median = broadcasts.groupby(["variant", "connections"])["last_ms"].median()
    largest = median["sequential"].index.max()  # the fan-out may have been measured with more
    times = median["sequential"][largest] / median["fanout"][largest]
    figure, axes = new_figure(
        f"{largest:,} connections: everyone has heard it {times:.1f} times sooner",
        "Connections",
        "Time to last delivery (ms)",
    )
    lines = []
    for variant in broadcasts["variant"].unique():
        rows, line, color = broadcasts[broadcasts["variant"] == variant], median[variant], VARIANTS[variant]
        axes.plot(rows["connections"], rows["last_ms"], "o", ms=4, alpha=0.25, color=color)
        axes.plot(line.index, line, "o-", ms=5, lw=2, color=color, label=variant)
        ends = (f"{line.iloc[end]:,.0f} ms with {line.index[end]:,}" for end in (0, -1))
        lines.append(f"{variant} {' and '.join(ends)}")
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.legend(frameon=False, loc="upper left")
    figure.alt = f"Lines of the median time to last delivery over the connections: {'; '.join(lines)}."
    return figure


def plot_forecasts(
    tables: dict[str, pd.DataFrame], times_s: dict[str, float], guess: tuple[int, float] | None = None
) -> NotebookFigure:
    """Time to last delivery over connections: a panel for each table, a line for each number of shards.

    A point's color and shape are the limit that binds there; it is not filled if somebody is not reached. The bar
    through it goes from the shortest to the longest time.

    Args:
        tables: of `limits.sweep`, by the panel's title.
        times_s: horizontal lines, by what they are.
        guess: connections and seconds, of a star in the first panel.
    """
    figure = NotebookFigure(figsize=(8.5, 5.2), layout="constrained")
    figure.kind = "computed"
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    everything = pd.concat(tables.values())
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        numbers = sorted(table["shards"].unique())
        for shards, dashes in zip(numbers, STYLES, strict=False):
            # A little beside each other: lines of equal times would hide each other.
            shift = 1.12 ** (numbers.index(shards) - (len(numbers) - 1) / 2)
            _plot_line(axes, table[table["shards"] == shards], shift, dashes)
        style(axes, title, "Connections")
        log_axis(axes.xaxis, table["connections"])
        log_axis(axes.yaxis, [*everything["low_s"], *everything["high_s"], *([guess[1]] if guess else [])])
        axes.set_xticks(sorted(set(table["connections"])))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        for (name, seconds), dashes in zip(times_s.items(), ("--", ":"), strict=False):
            if axes.get_ylim()[0] < seconds < axes.get_ylim()[1]:
                axes.axhline(seconds, color=ORANGE, lw=1.5, ls=dashes, label=name)
    panels[0].set_ylabel("Time to last delivery (s)")
    for name, (color, marker) in BINDING.items():
        if (everything["binds"] == name).any():
            panels[0].plot([], [], marker, color=color, label=f"bound by {name}")
    if everything["unreached"].any():
        panels[0].plot([], [], "o", mec="black", mfc="white", label="did not reach everyone")
    if guess:
        panels[0].plot(*guess, "*", color=GREEN, ms=14, label="your guess")
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


def _plot_line(axes: Axes, rows: pd.DataFrame, shift: float, dashes: str) -> None:
    """Draw the times of one number of shards, shifted to the right by this factor."""
    shards = rows["shards"].iloc[0]
    connections = rows["connections"] * shift
    name = f"{shards} invocation{'' if shards == 1 else 's'}"
    axes.plot(connections, rows["last_s"], dashes, color="black", lw=0.8, label=name)
    for at, (_, row) in zip(connections, rows.iterrows(), strict=True):
        color, marker = BINDING[row["binds"]]
        axes.plot([at, at], [row["low_s"], row["high_s"]], color=color, lw=4, alpha=0.3, solid_capstyle="butt")
        axes.plot(at, row["last_s"], marker, ms=6, mec=color, mfc="white" if row["unreached"] else color)


def picture(
    parameters: limits.Parameters, post_ms: float, requests_per_s: float, shards: int, memory_mb: int
) -> NotebookFigure:
    """Time to last delivery in three rooms, with these of the parameters changed."""
    changed = replace(parameters, post_ms=post_ms, requests_per_s=requests_per_s, memory_mb=memory_mb)
    table = limits.sweep(changed, ROOMS, [shards], posts_ms=[])
    title = (
        f"{post_ms:g} ms a post, a quota of {requests_per_s:,.0f} a second, {memory_mb:,} MB: "
        f"{table['last_s'].iloc[-1]:,.1f} s to {ROOMS[-1]:,} people"
    )
    return plot_forecasts({title: table}, {})


def show_sliders(parameters: limits.Parameters) -> None:
    """Show the picture, and above it sliders, which need a kernel.

    The picture is an ordinary one, so a page that shows a saved notebook shows it, too.
    """
    controls = {
        "post_ms": widgets.IntSlider(round(parameters.post_ms), *POSTS_MS, description="ms a post"),
        "requests_per_s": widgets.SelectionSlider(
            options=sorted({*REQUESTS_PER_S, round(parameters.requests_per_s)}),
            value=round(parameters.requests_per_s),
            description="quota a second",
        ),
        "shards": widgets.IntSlider(1, *SHARDS, description="invocations"),
        "memory_mb": widgets.IntSlider(parameters.memory_mb, *MEMORY_MB, description="MB of memory"),
    }
    without_kernel = {"text/plain": "Sliders, which need a running kernel: open this notebook in JupyterLab."}
    display(widgets.VBox(list(controls.values()))._repr_mimebundle_() | without_kernel, raw=True)

    def current() -> NotebookFigure:
        return picture(parameters, **{name: control.value for name, control in controls.items()})

    shown: DisplayHandle = display(current(), display_id=True)
    for control in controls.values():
        control.continuous_update = False
        control.style = {"description_width": "7em"}
        control.observe(lambda _: shown.update(current()), "value")
