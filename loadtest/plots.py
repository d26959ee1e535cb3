"""Plots of a result. Each function returns a matplotlib Figure, which a notebook shows as the last value of a cell."""

import io
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from loadtest.results import Result

__all__ = [
    "NotebookFigure",
    "completeness",
    "harness_lag",
    "last_delivery",
    "latency_distribution",
    "log_axis",
    "measured",
    "ms",
    "new_figure",
    "readings",
    "timeline",
]

# Okabe and Ito's, and a purple of Tol's, which people who see few colors can tell apart.
BLUE, ORANGE, PURPLE, GREEN, SKY, GREY = "#0072b2", "#d55e00", "#aa3377", "#009e73", "#56b4e9", "#767676"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


class NotebookFigure(Figure):
    """A Figure that a notebook shows once, whatever matplotlib's back end is."""

    @property
    def alt(self) -> str:
        """For who does not see it: what each panel's title says, and what its axes are."""
        return " ".join(
            f"{axes.get_title(loc='left')}. {axes.get_ylabel()} over {axes.get_xlabel()}.".replace("\n", " ")
            for axes in self.axes
        )

    @cached_property
    def png(self) -> bytes:
        """The picture as it was when it was first asked for."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        return self.png, {"alt": self.alt}


def new_figure(title: str, x: str, y: str, height: float = 4.2) -> tuple[NotebookFigure, Axes]:
    """An empty Figure with a title and labelled axes, and its Axes."""
    figure = NotebookFigure(figsize=(8.5, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def latency_distribution(result: Result) -> NotebookFigure:
    """Share of deliveries that arrived within a time (log axis), with the quantiles and their 95 % intervals marked.

    The title states only what has an interval.
    """
    latency = np.sort(measured(result)["latency_ms"].to_numpy())
    figure, axes = new_figure("No deliveries", "Latency of a delivery (ms)", "Share of deliveries (%)")
    if not len(latency):
        return figure
    at = {name: float(np.quantile(latency, q)) for name, q in QUANTILES.items()}
    known = [name for name, ends in result.summary["interval_95"]["latency_ms"].items() if None not in ends]
    shares = [f"{100 * QUANTILES[name]:g} % within {ms(at[name])}" for name in known]
    axes.set_title(f"Deliveries arrived: {', '.join(shares) or 'too few to be sure'}", loc="left", fontsize=12)
    axes.plot(latency, 100 * np.arange(1, len(latency) + 1) / len(latency), color=BLUE, lw=2, drawstyle="steps-post")
    for name, value in at.items():
        share = 100 * QUANTILES[name]
        axes.plot([value, value], [0, share], color=ORANGE, lw=1, ls="--")
        axes.plot(value, share, "o", color=ORANGE, ms=5)
        low, high = result.summary["interval_95"]["latency_ms"][name]
        if name in known:
            axes.plot([low, high], [share, share], color=ORANGE, lw=5, alpha=0.4, solid_capstyle="butt")
        text = f"{name} {ms(value)}" + ("" if name in known else " (too few broadcasts to be sure)")
        axes.annotate(text, (value, share), xytext=(-8, 3), textcoords="offset points", ha="right", color=ORANGE)
    log_axis(axes.xaxis, latency)
    axes.set_ylim(0, 110)
    axes.set_yticks(range(0, 101, 20))
    return figure


def last_delivery(result: Result, guess_ms: float | None = None) -> NotebookFigure:
    """How long each broadcast took to reach its first, its median and its last connection, and what you had guessed."""
    sent = result.broadcasts[result.broadcasts["last_ms"].notna()]
    counted = sent[~sent["warm_up"]]
    title = f"A broadcast reached everyone in {ms(counted['last_ms'].median())} (median)" if len(counted) else ""
    figure, axes = new_figure(title or "No deliveries", "Broadcast (number)", "Time after it was due (ms)")
    for name, label, color in (
        ("last_ms", "last delivery", PURPLE),
        ("median_ms", "median delivery", BLUE),
        ("first_ms", "first delivery", GREY),
    ):
        axes.plot(sent["broadcast"], sent[name], "o-", color=color, ms=3.5, lw=1, label=label)
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
    _whole(axes.xaxis)
    figure.legend(frameon=False, loc="outside lower center", ncols=5)
    return figure


def completeness(result: Result) -> NotebookFigure:
    """What happened to each broadcast's deliveries: arrived, missing, or of a connection that dropped or left."""
    rows = result.broadcasts
    lost, twice = int(rows["missing"].sum()), int(rows["duplicate"].sum())
    arrived = f"{rows['delivered'].sum():,} of {rows['expected'].sum():,} deliveries arrived"
    title = f"{arrived}, {lost:,} missing, {twice:,} twice"
    figure, axes = new_figure(title, "Broadcast (number)", "Deliveries")
    bottom = np.zeros(len(rows))
    for name, label, color in (
        ("delivered", "arrived", BLUE),
        ("departed", "connection left", GREY),
        ("dropped", "connection dropped", ORANGE),
        ("missing", "missing", PURPLE),
    ):
        if name == "delivered" or rows[name].any():
            axes.bar(rows["broadcast"], rows[name], bottom=bottom, color=color, width=0.9, label=label)
        bottom += rows[name].to_numpy()
    _whole(axes.xaxis)
    _whole(axes.yaxis)
    axes.set_ylim(0, max(1.0, bottom.max(initial=0)) * 1.15)
    axes.legend(frameon=False, ncols=3, loc="upper right")
    return figure


def timeline(result: Result) -> NotebookFigure:
    """Every delivery over the time of the test, and what went wrong: late sends, missing deliveries, drops."""
    rows, broadcasts, connections = result.deliveries, result.broadcasts, result.connections
    figure, axes = new_figure("No deliveries", "Time since the first connection (s)", "Latency (ms)")
    rows = rows[rows["expected"] & (rows["copy"] == 0)]
    if rows.empty:
        return figure
    start = connections["started_ns"].min()
    shown = rows.sample(min(len(rows), 20_000), random_state=1)
    for warm_up, color, label in ((False, BLUE, "delivery"), (True, GREY, "delivery of the warm-up")):
        part = shown[shown["warm_up"] == warm_up]
        if len(part):
            axes.plot(
                (part["arrived_ns"] - start) / 1e9, part["latency_ms"], ".", ms=2, color=color, alpha=0.5, label=label
            )
    log_axis(axes.yaxis, rows["latency_ms"])
    low, high = axes.get_ylim()
    lossy = broadcasts[broadcasts["missing"] > 0]
    late = broadcasts[broadcasts["send_late_ms"] > LATE_MS]
    dropped = connections[connections["closed_ns"].notna() & ~connections["left"]]
    failures = []
    for part, column, marker, color, label in (
        (lossy, "intended_ns", "x", PURPLE, "broadcast with missing deliveries"),
        (late, "intended_ns", "^", ORANGE, f"broadcast sent over {LATE_MS:g} ms late"),
        (dropped, "closed_ns", "v", PURPLE, "connection dropped"),
    ):
        if len(part):
            x = (part[column].astype(float) - start) / 1e9
            axes.plot(
                x, np.full(len(part), high), marker, color=color, ms=6, clip_on=False, label=f"{label} ({len(part):,})"
            )
            failures.append(f"{len(part):,} times: {label}")
    axes.set_ylim(low, high)
    axes.set_xlim(0)
    title = "; ".join(failures) or f"{len(rows):,} deliveries of {len(broadcasts):,} broadcasts, nothing went wrong"
    axes.set_title(title, loc="left", fontsize=12)
    figure.legend(frameon=False, markerscale=2, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def harness_lag(result: Result) -> NotebookFigure:
    """Latency by the kernel's clock beside the time that the load test then took to handle the delivery."""
    rows = measured(result)
    figure, axes = new_figure("No deliveries", "Time (ms)", "Share of deliveries (%)")
    if rows.empty:
        return figure
    lag, latency = np.sort(rows["harness_lag_ms"]), np.sort(rows["latency_ms"])
    share = 100 * np.arange(1, len(rows) + 1) / len(rows)
    axes.plot(latency, share, color=BLUE, lw=2, label="latency: due to arrived in the kernel")
    axes.plot(lag, share, color=ORANGE, lw=2, label="harness lag: arrived to handled (not in the latency)")
    axes.set_title(
        f"The load test looked {ms(np.median(lag))} late (median); by its own clock alone,\n"
        f"a latency of {ms(np.median(latency))} would have read "
        f"{ms(float((rows['latency_ms'] + rows['harness_lag_ms']).median()))}",
        loc="left",
        fontsize=12,
    )
    log_axis(axes.xaxis, np.concatenate([lag, latency]))
    axes.set_ylim(0, 103)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    return figure


def readings(rows: dict[str, pd.DataFrame]) -> NotebookFigure:
    """Readings beside the truth: for each reader a table of deliveries with `truth_ms` and `latency_ms`."""
    figure, axes = new_figure("", "Time from due to arrival (ms)", "Share of deliveries (%)")
    errors = []
    for (name, part), color in zip(rows.items(), (BLUE, ORANGE, PURPLE), strict=False):
        share = 100 * np.arange(1, len(part) + 1) / len(part)
        axes.plot(np.sort(part["truth_ms"]), share, color=color, lw=5, alpha=0.25, label=f"{name}: truth")
        axes.plot(np.sort(part["latency_ms"]), share, color=color, lw=1.5, label=f"{name}: what it read")
        errors.append(f"{name} is off by {ms((part['latency_ms'] - part['truth_ms']).median())}")
    axes.set_title("; ".join(errors) + " (median)", loc="left", fontsize=12)
    times = [part[["truth_ms", "latency_ms"]].to_numpy().ravel() for part in rows.values()]
    log_axis(axes.xaxis, np.concatenate(times))
    axes.set_ylim(0, 103)
    axes.legend(frameon=False, loc="upper left")
    return figure


LATE_MS = 10.0
"""The timeline marks a broadcast that is sent later than this."""


def measured(result: Result) -> pd.DataFrame:
    """First copies of the expected deliveries, without the warm-up."""
    rows = result.deliveries
    return rows[rows["expected"] & (rows["copy"] == 0) & ~rows["warm_up"]]


def ms(value: float) -> str:
    """A time in milliseconds with three significant digits and its unit."""
    if not np.isfinite(value):
        return "no time"
    digits = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{round(value, digits):,.{min(digits, 3)}f} ms"


def log_axis(axis: Axis, values: Iterable[float]) -> None:
    """Make an axis logarithmic over the positive values, labelled with plain numbers at 1, 2 and 5."""
    shown = np.asarray(values, dtype=float)
    shown = shown[shown > 0]
    low, high = (shown.min(), shown.max()) if len(shown) else (1, 10)
    is_x = axis is axis.axes.xaxis
    set_limits = axis.axes.set_xlim if is_x else axis.axes.set_ylim
    (axis.axes.set_xscale if is_x else axis.axes.set_yscale)("log")
    set_limits(low / 1.3, high * 1.3)
    decades = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if high / low < 2_000 else (1,)
    axis.set_ticks([step * 10.0**decade for decade in decades for step in steps])
    axis.set_ticks([], minor=True)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    set_limits(low / 1.3, high * 1.3)


def _whole(axis: Axis) -> None:
    """Label an axis with whole numbers only."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
