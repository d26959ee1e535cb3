"""How far the design goes: a small discrete-event model of one broadcast on AWS, and closed forms to check it against.

    model.broadcast(model.Parameters(), connections=100_000, shards=10).last_s

What is modelled: a message's way in, the scan's pages, invocations that are asked for and started, posts on a number
of connections each, and the rate that they all share. What is not: opening connections, the network's jitter beyond a
post's own, other traffic of the account, errors, and clients that leave.
"""

import math
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pandas as pd
import simpy
from matplotlib.figure import Figure

from loadtest import plots

MOST_SIMULATED = 32_000
"""Of more connections, one that is simulated stands for several: quotas and posts in flight are scaled with them. Up to
a million it stands for fewer than an invocation has in flight, so a post's time stays true."""


def _is(value, meaning):
    return field(default=value, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Parameters:
    """What the model knows of AWS and the function. Change one with `dataclasses.replace`; `table` says what is what.

    AWS's quotas are the defaults of November 2026. What is assumed stands for figures that differ by Region and hour.
    """

    arrive_ms: float = _is(15.0, "from the speaker's frame to a warm function's first line; assumed")
    post_ms: float = _is(10.0, "one post, from request to answer; assumed, measure it on aws")
    post_variation: float = _is(0.5, "standard deviation of a post's time over its mean; assumed")
    in_flight: int = _is(400, "posts under way at a time in one invocation, at most; lambdas/fanout.py")
    cpu_ms: float = _is(0.04, "CPU of one post with a whole vCPU; twice what benchmarks.limit measures over TLS")
    memory_mb: int = _is(1769, "of the function, and CPU goes with it; notebook 03")
    first_page: int = _is(100, "items on the scan's first page; lambdas/lambda_default.py")
    page_growth: int = _is(4, "how much larger each page is than the one before; the same")
    largest_page: int = _is(10_000, "items on the largest page; the same, about DynamoDB's 1 MB")
    page_ms: float = _is(5.0, "one scan request; assumed")
    item_ms: float = _is(0.01, "each item on a page, on top; twice the local measurement of boto3's parsing")
    invoke_ms: float = _is(20.0, "one asynchronous call of Lambda, to its answer; assumed")
    invokes_at_a_time: int = _is(16, "such calls under way at a time; lambdas/lambda_default.py")
    begin_ms: float = _is(50.0, "from that answer to the invocation's beginning; assumed")
    cold_ms: float = _is(600.0, "a cold start, of all a broadcast's invocations but the first; assumed")
    concurrency: int = _is(1_000, "Lambda's concurrency at the beginning, and what it grows by; AWS's quota")
    concurrency_every_s: float = _is(10.0, "how often it grows; AWS's quota")
    requests_per_s: float = _is(10_000.0, "the account's requests, callbacks included; AWS's quota L-8A5B8E43")
    share: float = _is(0.8, "of these requests, what a broadcast may use; POSTS_PER_SECOND of notebook 03")
    timeout_s: float = _is(60.0, "of the function; notebook 03, at most 900")
    connects_per_s: float = _is(500.0, "new connections; AWS's quota L-9ED1E49A")

    @property
    def posts_per_s(self) -> float:
        """Of one invocation with no quota in its way: as many as are in flight, or as its CPU gives."""
        return min(self.in_flight / self.post_ms, self.memory_mb / 1769 / self.cpu_ms) * 1000

    @property
    def shared_per_s(self) -> float:
        """Posts of all invocations of a broadcast, which pace themselves: `benchmarks.limit` finds 0.99 of it."""
        return self.requests_per_s * self.share

    def table(self) -> pd.DataFrame:
        """Each parameter's `value`, and its `meaning` with where it comes from."""
        rows = {known.name: (getattr(self, known.name), known.metadata["meaning"]) for known in fields(self)}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "meaning"])


DEFAULT = Parameters()
RAISED = replace(DEFAULT, requests_per_s=100_000.0, connects_per_s=5_000.0)
"""Quotas ten times the default, as one would ask AWS for."""


@dataclass(frozen=True)
class Outcome:
    """What became of a broadcast."""

    last_s: float
    """Until the last connection that was reached had it, in seconds."""
    delivered: int
    unreached: int
    """Connections that the function's time-out left without a post."""


def broadcast(parameters: Parameters, connections: int, shards: int = 1, seed: int = 1) -> Outcome:
    """Simulate one broadcast into a room that is otherwise quiet."""
    weight = max(1, math.ceil(connections / MOST_SIMULATED))
    simulation = _Simulation(parameters, weight, np.random.default_rng(seed))
    share = -(-connections // shards)
    for shard in range(shards):
        simulation.start(started_s(parameters, shard), min(share, connections - shard * share))
    simulation.environment.run()
    unreached = min(connections, simulation.unreached * weight)
    return Outcome(simulation.last_s, connections - unreached, unreached)


def started_s(parameters: Parameters, shard: int) -> float:
    """When an invocation of a broadcast begins, in seconds after the speaker's frame; the first one is number 0."""
    p = parameters
    if shard == 0:
        return p.arrive_ms / 1000
    turn = math.ceil(shard / p.invokes_at_a_time)
    asked_s = (p.arrive_ms + p.page_ms + p.first_page * p.item_ms + turn * p.invoke_ms) / 1000
    allowed_s = (shard // p.concurrency) * p.concurrency_every_s
    return max(asked_s + p.begin_ms / 1000, allowed_s) + p.cold_ms / 1000


class _Simulation:
    """Invocations, each with its posts in flight, that share one rate."""

    def __init__(self, parameters, weight, random):
        self.environment, self.parameters, self.weight, self.random = simpy.Environment(), parameters, weight, random
        self.pace = _Pace(parameters.shared_per_s / weight)
        self.unreached, self.last_s = 0, 0.0
        self.lanes = max(1, round(parameters.in_flight / weight))
        self.post_s = weight * self.lanes / parameters.posts_per_s

    def start(self, at_s, connections):
        """An invocation that begins at `at_s` and posts to its share."""
        known_s = self._known_s(at_s, round(connections / self.weight))
        end_s = at_s + self.parameters.timeout_s
        for _ in range(self.lanes):
            self.environment.process(self._lane(known_s, end_s))

    def _known_s(self, at_s, connections):
        """When each connection is read from the table: the pages come one after another."""
        p, page, left = self.parameters, self.parameters.first_page, connections * self.weight
        while left > 0:
            items = min(page, left)
            at_s += (p.page_ms + items * p.item_ms) / 1000
            for _ in range(min(connections, math.ceil(items / self.weight))):
                connections -= 1
                yield at_s
            left -= items
            page = min(page * p.page_growth, p.largest_page)

    def _lane(self, known_s, end_s):
        """One connection to the API: a post at a time, and none before it is its turn."""
        p, now = self.parameters, self.environment
        spread = p.post_variation**2
        for at_s in known_s:
            if at_s > now.now:
                yield now.timeout(at_s - now.now)
            wait_s = self.pace.reserve(now.now)
            if now.now + wait_s >= end_s:
                self.unreached += 1
                continue
            yield now.timeout(wait_s)
            yield now.timeout(self.random.gamma(1 / spread, spread) * self.post_s if spread else self.post_s)
            self.last_s = now.now


class _Pace:
    """A rate that posts leave at."""

    def __init__(self, per_s):
        self.per_s, self.next_s = per_s, 0.0

    def reserve(self, now_s):
        """Take the next turn; how many seconds it is until then."""
        turn_s = max(self.next_s, now_s)
        self.next_s = turn_s + 1 / self.per_s
        return turn_s - now_s


def limits(parameters: Parameters, connections: int, shards: int = 1) -> pd.Series:
    """The seconds that each limit by itself would make the broadcast last, in closed form. The largest one binds."""
    p, share = parameters, connections / shards
    pages, page, left = 0, p.first_page, share
    while left > 0:
        pages, left, page = pages + 1, left - page, min(page * p.page_growth, p.largest_page)
    return pd.Series(
        {
            "starting the invocations": started_s(p, shards - 1),
            "reading the table": (pages * p.page_ms + share * p.item_ms) / 1000,
            "posting": share / p.posts_per_s,
            "the account's request quota": connections / p.shared_per_s,
        }
    )


def connect_s(parameters: Parameters, connections: int) -> float:
    """How long so many people take to connect, in seconds."""
    return connections / parameters.connects_per_s


def sweep(parameters: Parameters, connections: list[int], shards: list[int], seed: int = 1) -> pd.DataFrame:
    """A broadcast for each pair: a row with `connections`, `shards`, the Outcome's figures, and what `binds`."""
    rows = []
    for room in connections:
        for number in shards:
            outcome, binds = broadcast(parameters, room, number, seed), limits(parameters, room, number).idxmax()
            rows.append({"connections": room, "shards": number, **vars(outcome), "binds": binds})
    return pd.DataFrame(rows)


BINDING = {
    "starting the invocations": plots.GREY,
    "reading the table": "#6a51a3",
    "posting": plots.BLUE,
    "the account's request quota": plots.RED,
}
"""A color for each of `limits`."""
STYLES = ("-", "--", ":")


def picture(tables: dict[str, pd.DataFrame], timeouts_s: dict[str, float]) -> Figure:
    """Time to last delivery over connections: a panel for each table of `sweep`, a line for each number of shards.

    A point's color is the limit that binds there; one that is not filled left somebody without the message.

    Args:
        tables: by the panel's title.
        timeouts_s: horizontal lines, by what they are.
    """
    figure = plots.Picture(figsize=(8.5, 4.8), layout="constrained")
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        for (shards, rows), style in zip(table.groupby("shards"), STYLES, strict=False):
            axes.plot(
                rows["connections"],
                rows["last_s"],
                style,
                color="black",
                lw=1,
                label=f"{shards} invocation{'s' if shards > 1 else ''}",
            )
            for _, row in rows.iterrows():
                color, whole = BINDING[row["binds"]], row["delivered"] == row["connections"]
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
