"""Plots of a result. Each function returns a matplotlib Figure, which a notebook shows as the last value of a cell.

All have a style in common, colours that everybody can tell apart, and a text for people who can't see them.
"""

import io
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from loadtest.results import Result, first_copies

# Okabe and Ito's colours, which people of every colour vision can tell apart: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, RED, GREEN, PURPLE = "#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7"
GREY, INK = "#7a8088", "#24292f"

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
TIMES = ("first", "median", "last")
LATE_MS = 10.0
"""The timeline marks a broadcast that is sent later than this."""
LATE, DROPPED = f"broadcast sent over {LATE_MS:g} ms late", "connection dropped"

Kind = Literal["measured", "computed"]


class NotebookFigure(Figure):
    """A Figure that a notebook shows once, whatever matplotlib's back end is. A PNG of it carries its texts."""

    alt = ""
    """What is to be seen, in words with figures: the alternative text."""
    kind: Kind = "measured"
    """Where what is drawn comes from."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save it as matplotlib does; a PNG has title, `alt` and `kind` as texts "Title", "Description", "Source"."""
        if options.get("format", str(fname).rpartition(".")[2]) == "png":
            titles = [self.get_suptitle(), *(axes.get_title(loc="left") for axes in self.axes)]
            title = next(filter(None, titles), "").replace("\n", " ")
            texts = {"Title": title, "Description": self.alt, "Source": self.kind}
            options["metadata"] = texts | options.get("metadata", {})
        super().savefig(fname, **options)

    @cached_property
    def png(self) -> bytes:
        """The picture as it was when it was first asked for, which a notebook shows."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        return self.png, {"alt": self.alt}


def new_figure(title: str, x: str, y: str, height: float = 4.2) -> tuple[NotebookFigure, Axes]:
    """An empty Figure with a title and labelled axes, and its Axes."""
    figure = NotebookFigure(figsize=(8.5, height), layout="constrained")
    axes = figure.add_subplot()
    style(axes, title, x, y)
    return figure, axes


def style(axes: Axes, title: str, x: str, y: str = "") -> None:
    """Give Axes the style, a title and labels."""
    set_title(axes, title)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def set_title(axes: Axes, title: str) -> None:
    """Set the title, which states the finding."""
    axes.set_title(title, loc="left", fontsize=12, color=INK)


def format_ms(value: float) -> str:
    """A time in milliseconds with three significant digits and its unit."""
    if not np.isfinite(value):
        return "no time"
    digits = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{round(value, digits):,.{min(digits, 3)}f} ms"


def log_axis(axis: Axis, values: Iterable[float]) -> None:
    """Make an axis logarithmic over the positive values, labelled with plain numbers at round values."""
    shown = np.asarray(values, dtype=float)
    shown = shown[shown > 0]
    low, high = (shown.min(), shown.max()) if len(shown) else (1, 10)
    x_or_y = "x" if axis is axis.axes.xaxis else "y"
    axis.axes.set(**{f"{x_or_y}scale": "log", f"{x_or_y}lim": (low / 1.3, high * 1.3)})
    steps = range(1, 10) if high / low < 4 else (1, 2, 5) if high / low < 2_000 else (1,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def add_legend(figure: Figure, ncols: int, **options: Any) -> None:
    """Explain the labelled parts below the axes."""
    figure.legend(frameon=False, loc="outside lower center", ncols=ncols, **options)


def whole_numbers(axis: Axis) -> None:
    """Label an axis with whole numbers only."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def latency_distribution(result: Result) -> NotebookFigure:
    """Share of deliveries that arrived within a time (log axis), with the quantiles and their 95 % intervals marked.

    The title states only what has an interval.
    """
    latency = result.measured()["latency_ms"].to_numpy()
    figure, axes = new_figure("No deliveries", "Latency of a delivery (ms)", "Share of deliveries (%)")
    if not len(latency):
        return figure
    at = {name: float(np.quantile(latency, q)) for name, q in QUANTILES.items()}
    known = [name for name, ends in result.summary["interval_95"]["latency_ms"].items() if None not in ends]
    shares = ", ".join(f"{100 * QUANTILES[name]:g} % within {format_ms(at[name])}" for name in known)
    set_title(axes, f"Deliveries arrived: {shares}" if shares else "Too few broadcasts to be sure of a median")
    _draw_shares(axes, latency, color=BLUE, lw=2, drawstyle="steps-post")
    log_axis(axes.xaxis, latency)
    texts = []
    for name, value in at.items():
        share = 100 * QUANTILES[name]
        axes.plot([value, value], [0, share], color=ORANGE, lw=1, ls="--", zorder=1)
        axes.plot(value, share, "o", color=ORANGE, mec=INK, ms=6, zorder=3)
        low, high = result.summary["interval_95"]["latency_ms"][name]
        if name in known:
            axes.plot([low, high], [share, share], color=ORANGE, lw=5, alpha=0.5, solid_capstyle="butt")
        texts.append(
            f"{name} {format_ms(value)}"
            + (f" ({format_ms(low)} to {format_ms(high)})" if name in known else ", uncertain")
        )
        # Above the curve on its left, or below it on its right: there is nothing else in these two places.
        is_left = axes.transAxes.inverted().transform(axes.transData.transform((value, share)))[0] > 0.5
        offset, align = ((-9, 2), ("right", "bottom")) if is_left else ((9, -3), ("left", "top"))
        label = axes.annotate(
            texts[-1], (value, share), xytext=offset, textcoords="offset points", ha=align[0], va=align[1], color=INK
        )
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})
    axes.set_ylim(0, 110)
    axes.set_yticks(range(0, 101, 20))
    figure.alt = (
        f"A curve of the share of {len(latency):,} deliveries that arrived within a time, with the 95 % intervals of "
        f"three quantiles: {'; '.join(texts)}."
    )
    return figure


def last_delivery(result: Result, guess_ms: float | None = None) -> NotebookFigure:
    """How long each broadcast took to reach its first, its median and its last connection, and what you had guessed."""
    sent = result.broadcasts[result.broadcasts["last_ms"].notna()]
    counted = sent[~sent["warm_up"]]
    title = f"A broadcast reached everyone in {format_ms(counted['last_ms'].median())} (median)"
    figure, axes = new_figure(
        title if len(counted) else "No deliveries", "Broadcast (number)", "Time after it was due (ms)"
    )
    for name, label, color, marker in (
        ("last_ms", "last delivery", RED, "^"),
        ("median_ms", "median delivery", BLUE, "o"),
        ("first_ms", "first delivery", GREY, "v"),
    ):
        axes.plot(sent["broadcast"], sent[name], f"{marker}-", color=color, ms=4.5, lw=1, label=label)
    guesses = [] if guess_ms is None else [guess_ms]
    for guess in guesses:
        axes.axhline(guess, color=GREEN, ls="--", lw=1.5, label="your guess")
    shown = [*sent[["first_ms", "last_ms"]].to_numpy().ravel(), *guesses]
    if len(sent) and max(shown) > 30 * sent["median_ms"].median():
        log_axis(axes.yaxis, shown)
    else:
        axes.set_ylim(0)
    warm_up = sent[sent["warm_up"]]
    for _, rows in warm_up.groupby("phase"):
        axes.axvspan(rows["broadcast"].min() - 0.5, rows["broadcast"].max() + 0.5, color=GREY, alpha=0.15, lw=0)
    if len(warm_up):
        axes.plot([], [], color=GREY, alpha=0.3, lw=8, label="warm-up, not counted")
    whole_numbers(axes.xaxis)
    add_legend(figure, ncols=5)
    if len(counted):
        figure.alt = "Three lines over {count} broadcasts. Median and range: {times}.".format(
            count=len(counted),
            times="; ".join(f"{name} delivery {_median_and_range(counted[f'{name}_ms'])}" for name in TIMES),
        )
    return figure


def completeness(result: Result) -> NotebookFigure:
    """What happened to each broadcast's deliveries: arrived, missing, or of a connection that dropped or left."""
    rows = result.broadcasts
    lost, twice = int(rows["missing"].sum()), int(rows["duplicate"].sum())
    arrived = f"{rows['delivered'].sum():,} of {rows['expected'].sum():,} deliveries arrived"
    title = f"{arrived}, {lost:,} missing, {twice:,} twice"
    figure, axes = new_figure(title, "Broadcast (number)", "Deliveries")
    bottom = np.zeros(len(rows))
    for name, label, color, hatch in (
        ("delivered", "arrived", BLUE, ""),
        ("departed", "connection left", GREY, ""),
        ("dropped", "connection dropped", ORANGE, "//"),
        ("missing", "missing", RED, "xx"),
    ):
        if name == "delivered" or rows[name].any():
            style: dict[str, Any] = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
            axes.bar(rows["broadcast"], rows[name], bottom=bottom, width=0.9, label=label, **style)
        bottom += rows[name].to_numpy()
    whole_numbers(axes.xaxis)
    whole_numbers(axes.yaxis)
    axes.set_ylim(0, max(1.0, bottom.max(initial=0)) * 1.05)
    add_legend(figure, ncols=4)
    figure.alt = f"A bar for each of {len(rows):,} broadcasts, as high as its deliveries. {title}."
    return figure


def timeline(result: Result) -> NotebookFigure:
    """Every delivery over the time of the test, and what went wrong: late sends, missing deliveries, drops."""
    rows, broadcasts, connections = result.deliveries, result.broadcasts, result.connections
    figure, axes = new_figure("No deliveries", "Time since the first connection (s)", "Latency (ms)")
    rows = first_copies(rows)
    if rows.empty:
        return figure
    start = connections["started_ns"].min()
    shown = rows.sample(min(len(rows), 20_000), random_state=1)
    for warm_up, color, label in ((False, BLUE, "delivery"), (True, GREY, "delivery of the warm-up")):
        part = shown[shown["warm_up"] == warm_up]
        if len(part):
            times_s = (part["arrived_ns"] - start) / 1e9
            axes.plot(times_s, part["latency_ms"], ".", ms=2, color=color, alpha=0.5, label=label)
    log_axis(axes.yaxis, rows["latency_ms"])
    low, high = axes.get_ylim()
    failures = []
    for part, column, marker, color, label in (
        (broadcasts[broadcasts["missing"] > 0], "intended_ns", "x", RED, "broadcast with missing deliveries"),
        (broadcasts[broadcasts["send_late_ms"] > LATE_MS], "intended_ns", "^", ORANGE, LATE),
        (connections[connections["closed_ns"].notna() & ~connections["left"]], "closed_ns", "v", PURPLE, DROPPED),
    ):
        if len(part):
            x, y = (part[column].astype(float) - start) / 1e9, np.full(len(part), high)
            axes.plot(x, y, marker, color=color, ms=4, clip_on=False, label=f"{label} ({len(part):,})")
            failures.append(f"{len(part):,} times: {label}")
    axes.set_ylim(low, high)
    axes.set_xlim(0)
    title = "; ".join(failures) or f"{len(rows):,} deliveries of {len(broadcasts):,} broadcasts, nothing went wrong"
    set_title(axes, title)
    add_legend(figure, ncols=3, markerscale=4, fontsize=9)
    seconds = (rows["arrived_ns"].max() - start) / 1e9
    figure.alt = f"A dot for each delivery over the {seconds:.0f} s of the test, {_range(rows['latency_ms'])}. {title}."
    return figure


def harness_lag(result: Result) -> NotebookFigure:
    """Latency by the kernel's clock beside the time that the load test then took to handle the delivery."""
    rows = result.measured()
    figure, axes = new_figure("No deliveries", "Time (ms)", "Share of deliveries (%)")
    if rows.empty:
        return figure
    lag, latency = rows["harness_lag_ms"], rows["latency_ms"]
    _draw_shares(axes, latency, color=BLUE, lw=2, label="latency: due to arrived in the kernel")
    _draw_shares(axes, lag, color=ORANGE, lw=2, ls="--", label="harness lag: arrived to handled (not in the latency)")
    both = format_ms((latency + lag).median())
    set_title(
        axes,
        f"The load test looked {format_ms(lag.median())} late (median); by its own clock alone,\n"
        f"a latency of {format_ms(latency.median())} would have read {both}",
    )
    log_axis(axes.xaxis, np.concatenate([lag, latency]))
    axes.set_ylim(0, 103)
    add_legend(figure, ncols=2)
    figure.alt = (
        f"Two curves of the share of deliveries over time: latency, {_median_and_range(latency)}; and the "
        f"load test's own lag behind it, {_median_and_range(lag)}."
    )
    return figure


def readings(rows: dict[str, pd.DataFrame]) -> NotebookFigure:
    """Readings beside the truth: for each reader a table of deliveries with `truth_ms` and `latency_ms`."""
    figure, axes = new_figure("", "Time from due to arrival (ms)", "Share of deliveries (%)")
    errors = []
    for (name, part), color in zip(rows.items(), (BLUE, ORANGE, GREEN), strict=False):
        _draw_shares(axes, part["truth_ms"], color=color, lw=5, alpha=0.3, label=f"{name}: truth")
        _draw_shares(axes, part["latency_ms"], color=color, lw=1.5, label=f"{name}: what it read")
        errors.append(f"{name} is off by {format_ms((part['latency_ms'] - part['truth_ms']).median())}")
    set_title(axes, "; ".join(errors) + " (median)")
    times = [part[["truth_ms", "latency_ms"]].to_numpy().ravel() for part in rows.values()]
    log_axis(axes.xaxis, np.concatenate(times))
    axes.set_ylim(0, 103)
    add_legend(figure, ncols=2)
    figure.alt = (
        "For each reader two curves of the share of deliveries over time: a wide one, the truth, and a thin one, what "
        f"it read. Medians: {'; '.join(errors)}."
    )
    return figure


def _draw_shares(axes: Axes, values: ArrayLike, **style: Any) -> None:
    """Draw the percentage of values that are at most as large as each of them."""
    ordered = np.sort(values)
    axes.plot(ordered, 100 * np.arange(1, len(ordered) + 1) / len(ordered), **style)


def _range(values: "pd.Series[float]") -> str:
    return f"from {format_ms(values.min())} to {format_ms(values.max())}"


def _median_and_range(values: "pd.Series[float]") -> str:
    return f"{format_ms(values.median())} ({_range(values)})"
