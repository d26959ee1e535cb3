"""How far the design goes: a small discrete-event model of one broadcast on AWS, and closed forms to check it against.

    model.simulate(model.Parameters(), connections=100_000, shards=10).last_s

What is modelled: a message's way in, the scan's pages, invocations that are asked for and started, the loop of
`lambdas/event_loop.py` (one thread's CPU, connections that are opened as it opens them, posts under way, the rate that
it keeps, failed posts that are tried again), and its time-out. What is not: other traffic of the account, a rate that
is not known in advance, and clients that leave. `python -m benchmarks.limit` compares it with the real broadcast.
"""

import math
import random
from collections import deque
from dataclasses import dataclass, field, fields, replace

import pandas as pd
import simpy
from matplotlib.figure import Figure

from chatlab import quotas
from loadtest import plots

MAX_SIMULATED = 20_000
"""Of more connections in one invocation, so many are simulated: the steady state in the middle goes on for the rest."""


def _is(value, meaning):
    return field(default=value, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Parameters:
    """What the model knows of AWS and the function. Change one with `dataclasses.replace`; `table` says what is what.

    AWS's quotas are the defaults of November 2026. What is assumed stands for figures that differ by Region and hour.
    """

    arrive_ms: float = _is(15.0, "from the speaker's frame to a warm function's first line; assumed, 5 to 30")
    post_ms: float = _is(10.0, "one post, from request to answer; assumed, 5 to 25: measure it on aws")
    post_variation: float = _is(0.5, "standard deviation of a post's time over its mean, log-normal; assumed")
    cpu_ms: float = _is(0.04, "CPU of one post with a whole vCPU; twice what benchmarks.limit measures over TLS")
    opening_ms: float = _is(1.0, "CPU of opening one connection; twice what benchmarks.limit measures")
    opening_wait_ms: float = _is(5.0, "waiting while it opens: three round trips and the server's work; assumed")
    accept_ms: float = _is(0.0, "CPU of a server that opens them all by itself; AWS's are many")
    serve_ms: float = _is(0.0, "CPU of such a server for one post; the same")
    check_ms: float = _is(0.01, "CPU of seeing whether a kept connection is still there; twice what is measured")
    kept: int = _is(0, "connections that the last broadcast has left open; none, in the worst case")
    first_under_way: int = _is(32, "posts under way at a time at first, of all shards; lambdas/http_pool.py")
    in_flight: int = _is(400, "the same in one invocation at most; lambdas/connection_set.py")
    errors: float = _is(0.0, "share of the connections whose posts always fail with 500")
    memory_mb: int = _is(1769, "of the function, and CPU goes with it, up to one; notebook 03")
    first_page: int = _is(100, "items on the scan's first page; lambdas/lambda_default.py")
    page_growth: int = _is(4, "how much larger each page is than the one before; the same")
    largest_page: int = _is(2_500, "items on the largest page; the same")
    ahead: int = _is(5_000, "posts that wait for their turn before no more is read; lambdas/post_queue.py")
    page_ms: float = _is(10.0, "one scan request of up to 2,500 items; assumed, 3 to 20")
    item_ms: float = _is(0.01, "CPU of each item on a page; twice the local measurement of boto3's parsing")
    invoke_ms: float = _is(20.0, "one asynchronous call of Lambda, to its answer; assumed")
    invokes_at_a_time: int = _is(16, "such calls under way at a time; lambdas/lambda_default.py")
    begin_ms: float = _is(50.0, "from that answer to the invocation's beginning; assumed")
    cold_ms: float = _is(600.0, "a cold start, of all a broadcast's invocations but the first; assumed")
    concurrency: int = _is(1_000, "Lambda's concurrency at the beginning, and what it grows by; AWS's quota")
    concurrency_every_s: float = _is(10.0, "how often it grows; AWS's quota")
    requests_per_s: float = _is(
        float(quotas.default_requests_per_s("us-east-1")),
        "the account's requests, callbacks included; AWS's quota L-8A5B8E43",
    )
    share: float = _is(0.8, "of these requests, what a broadcast may use; POSTS_PER_SECOND of notebook 03")
    timeout_s: float = _is(30.0, "of the function; notebook 03, at most 900")
    hand_over_s: float = _is(18.0, "until the rest is handed to another invocation; lambdas/lambda_default.py")
    reserve_s: float = _is(2.0, "of the time-out, kept for what comes after the posts; the same")
    connects_per_s: float = _is(float(quotas.CONNECTS_PER_S), "new connections; AWS's quota L-9ED1E49A")

    @property
    def cpu(self) -> float:
        """Of a vCPU: Lambda gives it by memory, and one thread can't use more than one."""
        return min(1.0, self.memory_mb / 1769)

    @property
    def posts_per_s(self) -> float:
        """Of one invocation with no quota in its way: as many as are in flight, or as its CPU gives."""
        return min(self.in_flight / self.post_ms, self.cpu / (self.cpu_ms + self.item_ms)) * 1000

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

# As in lambdas/retries.py, lambdas/connection_set.py and lambdas/rate_limiter.py.
MAX_ATTEMPTS = 4
BROADCASTS, BURST_S = 16, 0.02
TURN_S = 0.005  # sys.getswitchinterval()


@dataclass(frozen=True)
class Outcome:
    """What became of a broadcast."""

    last_s: float
    """Until the last connection that was reached had it, in seconds."""
    delivered: int
    failed: int
    """Connections whose posts failed in all attempts."""
    unreached: int
    """Connections that the function's time-out left without a post."""
    done_s: float
    """Until the last invocation had done its posts, those that failed included, in seconds."""


def simulate(parameters: Parameters, connections: int, shards: int = 1, seed: int = 1) -> Outcome:
    """Simulate one broadcast into a room that is otherwise quiet.

    Shards keep to their parts of one rate, so none waits for another. All but the first are alike, and the last one to
    begin is simulated. The first one begins at once and has more time: it is simulated where the last one does not
    reach everyone.
    """
    p, share = parameters, -(-connections // shards)
    first = _Invocation(p, connections - share * (shards - 1), shards, started_s(p, 0), p.hand_over_s, seed)
    if shards == 1:
        return first.run()
    last = _Invocation(p, share, shards, started_s(p, shards - 1), 0.0, seed).run()
    if last.delivered == share:
        return Outcome(last.last_s, connections, 0, 0, last.done_s)
    others = first.run()
    delivered, failed, unreached = (
        getattr(others, name) + (shards - 1) * getattr(last, name) for name in ("delivered", "failed", "unreached")
    )
    last_s, done_s = (max(getattr(others, name), getattr(last, name)) for name in ("last_s", "done_s"))
    return Outcome(last_s, delivered, failed, unreached, done_s)


def started_s(parameters: Parameters, shard: int) -> float:
    """When an invocation of a broadcast begins, in seconds after the speaker's frame; the first one is number 0."""
    p = parameters
    if shard == 0:
        return p.arrive_ms / 1000
    turn = math.ceil(shard / p.invokes_at_a_time)
    asked_s = (p.arrive_ms + p.page_ms + p.first_page * p.item_ms + turn * p.invoke_ms) / 1000
    allowed_s = (shard // p.concurrency) * p.concurrency_every_s
    return max(asked_s + p.begin_ms / 1000, allowed_s) + p.cold_ms / 1000


class _Invocation:
    """One invocation: what the loop of `lambdas/event_loop.py` does, with one CPU whose time is spent in turn."""

    def __init__(self, parameters, connections, shards, at_s, hand_over_s, seed):
        p = self.p = parameters
        self.environment, self.random = simpy.Environment(at_s), random.Random(seed)
        self.connections, self.simulated = connections, min(connections, MAX_SIMULATED)
        self.end_s = at_s + hand_over_s + p.timeout_s - p.reserve_s
        self.post_cpu_s, self.opening_cpu_s = p.cpu_ms / 2000 / p.cpu, p.opening_ms / 2000 / p.cpu  # before and after
        self.server_at, self.cpu_at, self.turn_at, self.interval_s, self.is_waiting = (
            at_s,
            at_s,
            at_s,
            shards / p.shared_per_s,
            False,
        )
        self.to_read, self.page, self.is_reading = self.simulated, p.first_page, False
        self.queue, self.busy = deque(), 0
        self.idle = self.open = min(p.kept, p.in_flight)
        self.under_way = min(p.in_flight, max(2, (p.in_flight if p.kept else p.first_under_way) // shards))
        self.failed, self.delivered_at, self.done_s = 0, [], at_s
        sigma = math.sqrt(math.log(1 + p.post_variation**2))
        self.latency = math.log(p.post_ms / 1000) - sigma**2 / 2, sigma

    def run(self):
        """Until all is done, or there is no time."""
        self._after(self._compute(self.idle * self.p.check_ms / 1000 / self.p.cpu), self._read)
        while self.environment.peek() < self.end_s:
            self.environment.step()
        at, delivered, failed = self.delivered_at, len(self.delivered_at), self.failed
        last_s, done_s = at[-1] if at else 0.0, self.done_s
        if (more := self.connections - self.simulated) and delivered + failed == self.simulated:
            begin, end = delivered // 4, delivered * 5 // 8  # three of the largest pages; later, nothing more is read
            per_s = (end - begin) / (at[end] - at[begin])
            more_delivered = more * delivered / self.simulated
            longer_s = min(more_delivered / per_s, max(0.0, self.end_s - last_s))
            reached = longer_s * per_s / more_delivered
            delivered += round(reached * more_delivered)
            failed += round(reached * (more - more_delivered))
            last_s, done_s = last_s + longer_s, done_s + longer_s
        unreached = self.connections - delivered - failed
        return Outcome(last_s, delivered, failed, unreached, self.end_s if unreached else done_s)

    def _after(self, delay_s, what, *arguments):
        self.environment.timeout(delay_s).callbacks.append(lambda _: what(*arguments))

    def _compute(self, work_s):
        """Spend CPU, after what it is busy with; when that is done, from now."""
        now = self.environment.now
        self.cpu_at = max(self.cpu_at, now) + work_s
        return self.cpu_at - now

    def _serve(self, asked_s, work_s):
        """What is asked for so many seconds from now, the server has done so many seconds from now."""
        now = self.environment.now
        self.server_at = max(self.server_at, now + asked_s) + work_s if work_s else now + asked_s
        return self.server_at - now

    def _read(self):
        """Ask for the next page, unless many wait already."""
        if self.to_read and not self.is_reading and len(self.queue) <= self.p.ahead:
            self.is_reading = True
            items = min(self.page, self.to_read)
            self._after(self.p.page_ms / 1000, self._parse, items, items * self.p.item_ms / 1000 / self.p.cpu)

    def _parse(self, items, left_s):
        """Python's threads take turns: a page is parsed in one, and the posts go on in another."""
        if left_s > 0:
            self._after(self._compute(min(TURN_S, left_s)), self._parse, items, left_s - TURN_S)
        else:
            self._know(items)

    def _know(self, items):
        self.to_read, self.is_reading = self.to_read - items, False
        self.page = min(self.page * self.p.page_growth, self.p.largest_page)
        errors, first = self.p.errors, self.simulated - self.to_read - items
        self.queue.extend(
            (1, int((number + 1) * errors) > int(number * errors)) for number in range(first, first + items)
        )
        self._begin_posts()

    def _begin_posts(self):
        """Send what may be sent, and open connections where that pays off: `Fanout._open_connections`."""
        now = self.environment.now
        while self.queue and self.idle and self.busy < self.under_way:
            if self.turn_at > max(now, self.cpu_at):
                if not self.is_waiting:
                    self.is_waiting = True
                    self._after(self.turn_at - now, self._take_turn)
                break
            sent_s = self._compute(self.post_cpu_s)
            self.turn_at = max(self.turn_at, now + sent_s - BURST_S) + self.interval_s
            self.idle, self.busy = self.idle - 1, self.busy + 1
            served_s = self._serve(sent_s, self.p.serve_ms / 1000)
            self._after(served_s + self.random.lognormvariate(*self.latency), self._answered, *self.queue.popleft())
        else:
            self._open_connections()
        self._read()

    def _take_turn(self):
        self.is_waiting = False
        self._begin_posts()

    def _open_connections(self):
        p, n = self.p, len(self.queue) + self.busy
        useful = min(n, self.under_way, 1 + 2 / self.interval_s * p.post_ms / 1000)
        worth = n * p.post_ms * (BROADCASTS if p.kept else 1) / (p.opening_ms / p.cpu)
        while self.queue and not self.idle and self.open < useful and worth > self.open * (self.open + 1):
            self.open += 1
            asked_s = self._compute(self.opening_cpu_s) + p.opening_wait_ms / 1000
            self._after(self._serve(asked_s, p.accept_ms / 1000), self._accepted)

    def _accepted(self):
        self._after(self._compute(self.opening_cpu_s), self._opened)

    def _opened(self):
        self.idle += 1
        self._begin_posts()

    def _answered(self, attempt, fails):
        answered_s = self._compute(self.post_cpu_s)
        self.done_s = self.environment.now + answered_s
        self.busy, self.idle = self.busy - 1, self.idle + 1
        if not fails:
            self.delivered_at.append(self.environment.now)
            self.under_way = min(self.p.in_flight, self.under_way + 1)
        elif attempt < MAX_ATTEMPTS:
            self._after(answered_s + self.random.random() * 2 ** (attempt - 1), self._again, attempt + 1)
        else:
            self.failed += 1
        self._begin_posts()

    def _again(self, attempt):
        self.queue.append((attempt, True))
        self._begin_posts()


def limits(parameters: Parameters, connections: int, shards: int = 1) -> pd.Series:
    """The seconds that each limit by itself would make the broadcast last, in closed form. The largest one binds."""
    p, share = parameters, connections / shards
    pages, page, left = 0, p.first_page, share
    while left > 0:
        pages, left, page = pages + 1, left - page, min(page * p.page_growth, p.largest_page)
    opened = 0 if p.kept else min(p.in_flight, share, math.sqrt(share * p.post_ms / p.opening_ms * p.cpu))
    turns = 0 if p.kept else math.log2(max(1.0, share * shards / p.first_under_way))  # each allows twice as many
    return pd.Series(
        {
            "starting the invocations": started_s(p, shards - 1),
            "opening connections": (opened * p.opening_ms / p.cpu + min(turns, 5) * p.post_ms) / 1000,
            "reading the table": (pages * p.page_ms + share * p.item_ms) / 1000,
            "posting": share / p.posts_per_s,
            "the account's request quota": connections / p.shared_per_s,
        }
    )


def connect_s(parameters: Parameters, connections: int) -> float:
    """How long so many people take to connect, in seconds."""
    return connections / parameters.connects_per_s


def sweep(
    parameters: Parameters, connections: list[int], shards: list[int], posts_ms=(5.0, 10.0, 25.0), seeds=range(1, 6)
) -> pd.DataFrame:
    """A broadcast for each pair, many times: with each of these times for a post, and with each seed.

    Returns:
        A row for each pair, with `connections` and `shards`; `last_s`, `delivered` and `unreached`, which are medians
        over the seeds with the parameters' own time for a post; `low_s` and `high_s`, the shortest and the longest time
        to last delivery of all; and which of the `limits` `binds`.
    """
    rows = []
    for room in connections:
        for number in shards:
            own = pd.DataFrame(vars(simulate(parameters, room, number, seed)) for seed in seeds)
            others = [
                simulate(replace(parameters, post_ms=post_ms), room, number, seed).last_s
                for post_ms in posts_ms
                for seed in seeds
                if post_ms != parameters.post_ms
            ]
            times = [*own["last_s"], *others]
            row = {"connections": room, "shards": number} | own[["last_s", "delivered", "unreached"]].median().to_dict()
            row |= {"low_s": min(times), "high_s": max(times), "binds": limits(parameters, room, number).idxmax()}
            rows.append(row)
    return pd.DataFrame(rows).astype({"delivered": int, "unreached": int})


BINDING = {
    "opening connections": "#1b9e77",
    "starting the invocations": plots.GREY,
    "reading the table": "#6a51a3",
    "posting": plots.BLUE,
    "the account's request quota": plots.RED,
}
"""A color for each of `limits`."""
STYLES = ("-", "--", "-.", ":")


def plot(tables: dict[str, pd.DataFrame], timeouts_s: dict[str, float]) -> Figure:
    """Time to last delivery over connections: a panel for each table of `sweep`, a line for each number of shards.

    A point's color is the limit that binds there; one that is not filled left somebody without the message. The bar
    through it goes from the shortest to the longest time that was foreseen.

    Args:
        tables: by the panel's title.
        timeouts_s: horizontal lines, by what they are.
    """
    figure = plots.NotebookFigure(figsize=(8.5, 4.8), layout="constrained")
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
