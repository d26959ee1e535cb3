"""A small discrete-event simulation of one broadcast on AWS.

    simulation.simulate(model.DEFAULT, connections=100_000, shards=10).last_s

It covers a message's way in, the scan's pages, the invocations' start, the loop of `lambdas/fanout/posting.py` (the
CPU of one thread, connections that are opened as it opens them, posts in flight, the rate that it keeps, failed posts
that are tried again), and its time-out. It leaves out other traffic of the account, a rate that is not known in
advance, and clients that leave.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from chatlab.capacity.model import Outcome, Parameters, limits, started_s

MAX_SIMULATED = 20_000
"""Of more connections in one invocation, so many are simulated: the steady state in the middle goes on for the rest."""

# As in lambdas/fanout/pacing.py and lambdas/fanout/http_connections.py.
MAX_ATTEMPTS = 4
BROADCASTS, BURST_S = 16, 0.02
TURN_S = 0.005  # sys.getswitchinterval()


def simulate(parameters: Parameters, connections: int, shards: int = 1, seed: int = 1) -> Outcome:
    """Simulate one broadcast into a room that is otherwise quiet.

    Shards keep to their parts of one rate, so none waits for another. All but the first are alike, and the last one to
    begin is simulated. The first one begins at once and has more time: it is simulated if the last one does not reach
    everyone.
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


class _Invocation:
    """One invocation: what the loop of `fanout/posting.py` does, with one CPU whose time is spent in turn."""

    def __init__(
        self, parameters: Parameters, connections: int, shards: int, at_s: float, hand_over_s: float, seed: int
    ) -> None:
        p = self.p = parameters
        self.now, self.random = at_s, random.Random(seed)
        # What is to happen when, the earliest first. The number keeps what is due at the same time in its order.
        self.agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.number = itertools.count()
        self.connections, self.simulated = connections, min(connections, MAX_SIMULATED)
        self.end_s = at_s + hand_over_s + p.timeout_s - p.reserve_s
        self.post_cpu_s, self.opening_cpu_s = p.cpu_ms / 2000 / p.cpu, p.opening_ms / 2000 / p.cpu  # before and after
        self.server_at = self.cpu_at = self.turn_at = at_s
        self.interval_s, self.is_waiting = shards / p.shared_per_s, False
        self.to_read, self.page, self.is_reading = self.simulated, p.first_page, False
        self.queue: deque[tuple[int, bool]] = deque()  # posts that wait: which attempt, and whether it fails
        self.busy = 0
        self.idle = self.open = min(p.kept, p.in_flight)
        self.under_way = min(p.in_flight, max(2, (p.in_flight if p.kept else p.first_under_way) // shards))
        self.failed, self.done_s = 0, at_s
        self.delivered_at: list[float] = []
        sigma = math.sqrt(math.log(1 + p.post_variation**2))
        self.latency = math.log(p.post_ms / 1000) - sigma**2 / 2, sigma

    def run(self) -> Outcome:
        """Run until all is done, or until the time-out."""
        self._after(self._compute(self.idle * self.p.check_ms / 1000 / self.p.cpu), self._read)
        while self.agenda and self.agenda[0][0] < self.end_s:
            self.now, _, action, arguments = heapq.heappop(self.agenda)
            action(*arguments)
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

    def _after(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self.agenda, (self.now + delay_s, next(self.number), action, arguments))

    def _compute(self, work_s: float) -> float:
        """Spend CPU time, after what the CPU is busy with; the seconds from now until that is done."""
        now = self.now
        self.cpu_at = max(self.cpu_at, now) + work_s
        return self.cpu_at - now

    def _serve(self, asked_s: float, work_s: float) -> float:
        """The seconds from now until the server has done what is asked of it in `asked_s` seconds."""
        now = self.now
        self.server_at = max(self.server_at, now + asked_s) + work_s if work_s else now + asked_s
        return self.server_at - now

    def _read(self) -> None:
        """Ask for the next page, unless many wait already."""
        if self.to_read and not self.is_reading and len(self.queue) <= self.p.ahead:
            self.is_reading = True
            items = min(self.page, self.to_read)
            self._after(self.p.page_ms / 1000, self._parse, items, items * self.p.item_ms / 1000 / self.p.cpu)

    def _parse(self, items: int, work_s: float) -> None:
        """Python's threads take turns: a page is parsed in one, and the posts go on in another."""
        if work_s > 0:
            self._after(self._compute(min(TURN_S, work_s)), self._parse, items, work_s - TURN_S)
        else:
            self._know(items)

    def _know(self, items: int) -> None:
        self.to_read, self.is_reading = self.to_read - items, False
        self.page = min(self.page * self.p.page_growth, self.p.largest_page)
        errors, first = self.p.errors, self.simulated - self.to_read - items
        self.queue.extend(
            (1, int((number + 1) * errors) > int(number * errors)) for number in range(first, first + items)
        )
        self._begin_posts()

    def _begin_posts(self) -> None:
        """Send what may be sent, and open connections where that pays off: `Fanout._open_connections`."""
        now = self.now
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

    def _take_turn(self) -> None:
        self.is_waiting = False
        self._begin_posts()

    def _open_connections(self) -> None:
        p, n = self.p, len(self.queue) + self.busy
        useful = min(n, self.under_way, 1 + 2 / self.interval_s * p.post_ms / 1000)
        worth = n * p.post_ms * (BROADCASTS if p.kept else 1) / (p.opening_ms / p.cpu)
        while self.queue and not self.idle and self.open < useful and worth > self.open * (self.open + 1):
            self.open += 1
            asked_s = self._compute(self.opening_cpu_s) + p.opening_wait_ms / 1000
            self._after(self._serve(asked_s, p.accept_ms / 1000), self._accepted)

    def _accepted(self) -> None:
        self._after(self._compute(self.opening_cpu_s), self._opened)

    def _opened(self) -> None:
        self.idle += 1
        self._begin_posts()

    def _answered(self, attempt: int, fails: bool) -> None:
        answered_s = self._compute(self.post_cpu_s)
        self.done_s = self.now + answered_s
        self.busy, self.idle = self.busy - 1, self.idle + 1
        if not fails:
            self.delivered_at.append(self.now)
            self.under_way = min(self.p.in_flight, self.under_way + 1)
        elif attempt < MAX_ATTEMPTS:
            self._after(answered_s + self.random.random() * 2 ** (attempt - 1), self._again, attempt + 1)
        else:
            self.failed += 1
        self._begin_posts()

    def _again(self, attempt: int) -> None:
        self.queue.append((attempt, True))
        self._begin_posts()


def sweep(
    parameters: Parameters,
    connections: Sequence[int],
    shards: Sequence[int],
    posts_ms: Sequence[float] = (5.0, 25.0),
    seed: int = 1,
) -> pd.DataFrame:
    """Simulate a broadcast for each pair, and again with each of these times for a post.

    One seed is enough: a point is thousands of posts, and another seed moves it by far less than the time for a post.

    Returns:
        A row for each pair, with `connections` and `shards`; `last_s`, `delivered` and `unreached` with the parameters'
        own time for a post; `low_s` and `high_s`, the shortest and the longest time to last delivery of all; and which
        of `model.limits` `binds`.
    """
    rows = []
    for room in connections:
        for number in shards:
            own = simulate(parameters, room, number, seed)
            others = (replace(parameters, post_ms=post_ms) for post_ms in posts_ms)
            times = [own.last_s, *(simulate(other, room, number, seed).last_s for other in others)]
            row = {"connections": room, "shards": number, "last_s": own.last_s}
            row |= {"delivered": own.delivered, "unreached": own.unreached, "low_s": min(times), "high_s": max(times)}
            rows.append(row | {"binds": limits(parameters, room, number).idxmax()})
    return pd.DataFrame(rows)
