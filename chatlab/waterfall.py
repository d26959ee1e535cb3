"""The waterfall of one broadcast: what everybody waits for, from the message to the last delivery, by name.

    found = waterfall.find(lab, result)  # of a load test
    if found:
        display(waterfall.plot(found))

The load test has the ends: when the message was said, and when each connection received it. The function's log line has
what is between: when it began, read the table, and posted. On AWS that is by another clock than yours. But the function
can't begin before the message was said, and nobody can hear it before the first post. So the difference of the clocks
lies between two bounds, and their middle is taken: half of the distance between them is the uncertainty.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from chatlab.errors import LabError, poll
from chatlab.lab import Lab
from loadtest import plots
from loadtest.plots import BLUE, GREEN, GREY, INK, ORANGE
from loadtest.results import Result

Bounds = NDArray[np.float64]
Line = dict[str, Any]
"""A log line of the broadcast: docs/fanout.md explains its fields."""
TIMES = ("began_ms", "scan_ms", "first_post_ms", "post_ms")
TIMEOUT_S = {"local": 3.0, "aws": 20.0}
"""How long to wait for the log lines. On AWS they take a few seconds."""
CLOCKS_S = 60
"""The clocks of this machine and of AWS differ by less."""
TOLERANCE_MS = 1.0
"""Of two clocks that should be one: those of two of the function's instances, for example."""
MAX_GUESSES = 300
"""How many pairs of a broadcast and a line are tried for the difference of the clocks, those that say most of it."""


@dataclass(frozen=True)
class Waterfall:
    """One broadcast. All times are in milliseconds after it was said."""

    broadcast: int
    began_ms: float
    """The function begins: the end of the way in, through API Gateway and Lambda."""
    read_ms: float
    """The whole table is read."""
    first_post_ms: float
    answered_ms: float
    """The last post is answered."""
    deliveries_ms: tuple[float, ...]
    """Each delivery, in order."""
    uncertainty_ms: float
    """How far the four times before the deliveries may be off, all together."""

    @property
    def parts(self) -> dict[str, float]:
        """What the last one waits for, in milliseconds; the parts add up to the time of the last delivery."""
        has_read = self.first_post_ms >= self.read_ms  # the fast broadcast reads while it posts
        return {
            "the way in": self.began_ms,
            "reading the table" if has_read else "to the first post": self.first_post_ms - self.began_ms,
            "posting": self.deliveries_ms[-1] - self.first_post_ms,
        }

    def __str__(self) -> str:
        way_in, *others = (f"{plots.format_ms(value)} are {name}" for name, value in self.parts.items())
        parts = ", ".join([way_in, *(part.replace(" are ", " ") for part in others)])
        return f"Of the {plots.format_ms(self.deliveries_ms[-1])} that the last one waits, {parts}"


def find(lab: Lab, result: Result, broadcast: int | None = None) -> Waterfall | None:
    """The waterfall of a broadcast of a load test, by default of the one whose time to last delivery is the median.

    Without its log line there is none; then a sentence is printed that says why.
    """
    lines: list[Line] = []
    is_local = lab.target == "local"

    def match_all() -> Waterfall | None:
        lines[:] = read_log(lab, result)
        return match(lines, result, broadcast, is_local)

    try:
        return poll(match_all, "the log lines", TIMEOUT_S[lab.target], every_s=0.2 if is_local else 2)
    except (LabError, ClientError) as error:  # if only some lines are late, those that are there may be enough
        found = match(lines, result, broadcast, is_local, min_share=0.5)
        if not found:
            print(f"There is no waterfall of this message. {error}")
        return found


def read_log(lab: Lab, result: Result) -> list[Line]:
    """The log lines of the broadcasts since a load test began, oldest first."""
    pages = lab.client("logs").get_paginator("filter_log_events").paginate(
        logGroupName=lab.log_groups["default"],
        startTime=int(result.broadcasts["sent_ns"].min()) // 1_000_000 - CLOCKS_S * 1000,
        filterPattern='{ $.event = "broadcast" }',
    )  # fmt: skip
    lines = []
    for event in (event for page in pages for event in page["events"]):
        with suppress(ValueError):  # whatever else a function prints
            line = json.loads(event["message"])
            if isinstance(line, dict) and "shard" not in line and all(name in line for name in TIMES):
                lines.append(line)
    return lines


def match(
    lines: list[Line], result: Result, broadcast: int | None = None, is_same_clock: bool = True, min_share: float = 1.0
) -> Waterfall | None:
    """The waterfall of a broadcast, from the log lines of all; None if less than `min_share` of them have one."""
    sent = result.broadcasts[result.broadcasts["last_ms"].notna() & result.broadcasts["sent_ns"].notna()]
    if broadcast is None:
        heard = result.heard_broadcasts()
        middle = heard["last_ms"].sub(heard["last_ms"].median()).abs().argsort()[:1]
        broadcast = int(heard["broadcast"].iloc[middle].sum())
    if not lines or broadcast not in set(sent["broadcast"]):
        return None
    log, own = pd.DataFrame(lines), int(np.flatnonzero(sent["broadcast"].eq(broadcast))[0])
    sent_ns = sent["sent_ns"].to_numpy(dtype=np.int64)
    zero_ns = int(sent_ns[own])  # from here on, times are milliseconds after this
    began_ms = log["began_ms"].to_numpy(dtype=float) - zero_ns / 1e6
    first_post_ms = began_ms + log["first_post_ms"].to_numpy(dtype=float)
    heard_ms = (sent["intended_ns"].to_numpy() - zero_ns) / 1e6 + sent["first_ms"].to_numpy(dtype=float)
    # If the line is the broadcast's, the clocks differ by at least and at most this: shape (broadcasts, lines).
    low, high = (sent_ns[:, None] - zero_ns) / 1e6 - began_ms, heard_ms[:, None] - first_post_ms
    least, most = (0.0, 0.0) if is_same_clock else _difference(low, high)
    fits = _fitting(low, high, least, most)
    # Somebody else may have spoken, too. The speaker is the connection that most of its broadcasts have in common.
    own_rows = fits[sent["speaker"].eq(sent["speaker"].iloc[own]).to_numpy()]
    ids = log["connection_id"].to_numpy()
    connection_id = max(ids, key=lambda each: own_rows[:, ids == each].any(axis=1).sum())
    (found,) = np.nonzero(fits[own] & (ids == connection_id))
    if fits.any(axis=1).mean() < min_share or not len(found):
        return None
    number = int(found[high[own, found].argmin()])  # the latest: others began while this message waited for its turn
    line, began = lines[number], max(0.0, float(began_ms[number]) + (least + most) / 2)
    first = began + line["first_post_ms"]
    arrived_ns = result.deliveries.query("broadcast == @broadcast and copy == 0")["arrived_ns"]
    return Waterfall(
        broadcast=broadcast,
        began_ms=began,
        read_ms=began + line["scan_ms"],
        first_post_ms=first,
        answered_ms=first + line["post_ms"],
        deliveries_ms=tuple(np.sort((arrived_ns.to_numpy() - zero_ns) / 1e6)),
        uncertainty_ms=(most - least) / 2,
    )


def _fitting(low: Bounds, high: Bounds, least: float, most: float) -> NDArray[np.bool_]:
    """Which line may be which broadcast's, if the clocks differ by between `least` and `most` milliseconds."""
    both = np.maximum(low, least) <= np.minimum(high, most) + TOLERANCE_MS
    return np.asarray(both)


def _difference(low: Bounds, high: Bounds) -> tuple[float, float]:
    """What to add to the function's clock, at least and at most: with it, most broadcasts have a line.

    Of several, because the broadcasts came at equal distances, it is the smallest.
    """
    width = np.where(high >= low, high - low, np.inf)
    narrow = np.unravel_index(np.argsort(width, axis=None)[:MAX_GUESSES], width.shape)
    guesses = [(float(low[pair]), float(high[pair])) for pair in zip(*narrow, strict=True) if width[pair] < np.inf]
    if not guesses:
        return 0.0, 0.0
    least, most = max(guesses, key=lambda guess: (_fitting(low, high, *guess).any(axis=1).sum(), -abs(sum(guess))))
    for row in range(len(low)):
        (lines,) = np.nonzero(_fitting(low, high, least, most)[row])
        if len(lines) == 1:  # no doubt which line is this broadcast's, so it narrows the bounds
            ends = max(least, float(low[row, lines[0]])), min(most, float(high[row, lines[0]]))
            least, most = ends if ends[0] <= ends[1] else (least, most)
    return least, most


def plot(found: Waterfall) -> plots.NotebookFigure:
    """A bar for each part of the way, and below it a dot for each delivery."""
    figure = plots.NotebookFigure(figsize=(8.5, 5.2), layout="constrained")
    bars, dots = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
    plots.style(bars, str(found).replace("waits, ", "waits,\n"), "")
    plots.style(dots, "", "Time since the message was said (ms)", "Place (1 = heard it first)")
    deliveries = found.deliveries_ms
    rows = {
        "the way in": (0.0, found.began_ms, GREY),
        "reading the table": (found.began_ms, found.read_ms, ORANGE),
        "posting": (found.first_post_ms, found.answered_ms, GREEN),
        "delivered": (deliveries[0], deliveries[-1], BLUE),
    }
    for row, (name, (start, end, color)) in enumerate(rows.items()):
        bars.barh(row, end - start, left=start, color=color, height=0.7)
        bars.text(end, row, f" {name}, {plots.format_ms(end - start)}", va="center", color=INK)
    bars.invert_yaxis()
    bars.set_yticks([])
    bars.grid(axis="y", visible=False)
    dots.plot(deliveries, range(1, len(deliveries) + 1), ".", color=BLUE, ms=4)
    dots.set_ylim(0, len(deliveries) + 1)
    dots.set_xlim(0, 1.3 * max(found.answered_ms, deliveries[-1]))
    plots.whole_numbers(dots.yaxis)
    clocks = ""
    if found.uncertainty_ms:
        clocks = f"The function's times are by its own clock: ± {plots.format_ms(found.uncertainty_ms)}."
        bars.text(1, 0, clocks, transform=bars.transAxes, ha="right", fontsize=9, color=INK)
    times = "; ".join(f"{name} from {start:.1f} to {end:.1f} ms" for name, (start, end, _) in rows.items())
    figure.alt = f"Bars over time: {times}. A dot for each of {len(deliveries):,} deliveries. {found}. {clocks}".strip()
    return figure
