"""The search for the largest room in which everybody has a message in time: how many people does a server carry?

    print(Search(url, folder, Goal(within_s=1, rate=1), connection_rate=100).run())

Each step is a load test. The room grows, twofold or up to fourfold, until a step fails; then the search halves the
difference, until the smallest room that failed, twice, is at most `PRECISION` larger than the largest one that held.

**When a step holds.** A broadcast is late if anybody heard it after `within_s`, from when it was due. Wald's sequential
probability ratio test (Annals of Mathematical Statistics 16, 1945) tells a share of `GOOD` late broadcasts from one of
`BAD`; it errs on them in about `WRONG_NO` and `WRONG_YES` of all cases. So 14 in time are enough, and two late ones
among the first 11 too many. Anything missing or refused is a no at once, and so is a queue that builds up: 14
broadcasts may be over before it is too long (`builds_up`). The room that is named holds once more, in `FINAL` new
broadcasts, one of which may be late: with 0.2 % of late ones in 98 of 100 cases, with 5 % in 4.

**Whose limit it is.** What the load test does late makes a latency longer, never shorter, so a step that holds does so
on a busy machine, too. One that fails is this machine's fault if its processors were busy, if the load test's verdict
is that it used up its core, or if the step would hold without the load test's own lateness.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from loadtest import live, plots, results
from loadtest.errors import LoadTestError
from loadtest.intervals import trend
from loadtest.results import Json, Result
from loadtest.verdict import DRIFT_P, MIN_BROADCASTS

GOOD, BAD = 0.01, 0.2
WRONG_NO, WRONG_YES = 0.02, 0.05
# What a broadcast adds to the logarithm of the likelihood ratio, and from which sums on the test is sure.
LATE, IN_TIME = math.log(BAD / GOOD), math.log((1 - BAD) / (1 - GOOD))
NO, YES = math.log((1 - WRONG_YES) / WRONG_NO), math.log(WRONG_YES / (1 - WRONG_NO))
FINAL = 100
PRECISION = 0.1
MAX_GROWTH = 4.0
WARM_UP = 2
START_S = 8.0  # what a load test takes besides connecting, broadcasting and leaving, about
MAX_CPU_PERCENT = 95.0  # of all of this machine's processors, during a load test


@dataclass(frozen=True)
class Goal:
    """Everybody has a message within `within_s` seconds, at `rate` messages a second."""

    within_s: float = 1.0
    rate: float = 1.0

    def __str__(self) -> str:
        return f"within {self.within_s:g} s, at {self.rate:g} message{'' if self.rate == 1 else 's'} a second"


@dataclass
class Step:
    """A room that was tried. `holds` is None if that is not known, `limit` says in a clause what ends it."""

    people: int
    is_final: bool = False
    last_ms: list[float] = field(default_factory=list)  # of each broadcast that counts; infinite if nobody heard it
    late: list[bool] = field(default_factory=list)  # whether it was
    holds: bool | None = None
    limit: str = ""

    @property
    def in_time(self) -> str:
        """How many broadcasts everybody had in time."""
        return f"{len(self.late) - sum(self.late)} of {len(self.late)}"

    @property
    def outcome(self) -> str:
        """In words."""
        return {True: "holds", False: f"too many: {self.limit}", None: self.limit or "not known"}[self.holds]

    def __str__(self) -> str:
        ms = self.last_ms or [math.inf]
        times = f"median {plots.format_ms(float(np.median(ms)))}, slowest {plots.format_ms(max(ms))}"
        return f"{self.people:>7,} people: {self.in_time} broadcasts in time, {times}; {self.outcome}"


@dataclass
class Found:
    """What a search has found. `ended` is why it ended early, in a sentence, or ""."""

    goal: Goal
    steps: list[Step] = field(default_factory=list)
    ended: str = ""

    def _last(self, holds: bool, below: float = math.inf) -> list[Step]:
        """The last step of each room below a size, if that room held or not, the smallest first."""
        last = {step.people: step for step in self.steps if step.holds is not None and step.people < below}
        return [last[people] for people in sorted(last) if last[people].holds is holds]

    @property
    def high(self) -> Step | None:
        """The smallest room that failed."""
        return next(iter(self._last(False)), None)

    @property
    def low(self) -> Step | None:
        """The largest smaller one that held."""
        return next(reversed(self._last(True, self.high.people if self.high else math.inf)), None)

    @property
    def people(self) -> str:
        """The interval, in words."""
        ends = " to ".join(f"{step.people:,}" for step in (self.low, self.high) if step)
        before = "" if self.low and self.high else "At least " if self.low else "Fewer than "
        return f"{before}{ends} people" if ends else "An unknown number of people"

    def __str__(self) -> str:
        low, high = self.low, self.high
        held = f": with {low.people:,}, {low.in_time} broadcasts were in time, nothing missing" if low else ""
        ends = f" What ends it with {high.people:,}: {high.limit}." if high else ""
        early = f" The search ended early: {self.ended}" if self.ended else ""
        return f"{self.people} hear a message {self.goal}{held}.{ends}{early}"

    def as_json(self) -> Json:
        """The answer in `sentences`, and the steps."""
        names = ("people", "in_time", "holds", "outcome")
        steps = [{name: getattr(step, name) for name in names} for step in self.steps]
        return {"sentences": [f"{self}"], "within_s": self.goal.within_s, "rate": self.goal.rate, "steps": steps}

    def plot(self) -> plots.NotebookFigure:
        """Time to last delivery over the people: a dot for each broadcast, and the goal."""
        title = f"{self.people} hear a message within {self.goal.within_s:g} s"
        figure, axes = plots.new_figure(title, "People", "Time to last delivery (s)")
        for holds, color, marker, label in ((True, plots.BLUE, "o", "holds"), (False, plots.RED, "x", "too many")):
            dots = [(step.people, ms / 1000) for step in self.steps if step.holds is holds for ms in step.last_ms]
            axes.plot(*np.array(dots or np.empty((0, 2))).T, marker, color=color, alpha=0.4, ms=4, label=label)
        axes.axhline(self.goal.within_s, color=plots.GREEN, ls="--", lw=1.5, label=f"{self.goal.within_s:g} s")
        times = [ms / 1000 for step in self.steps for ms in step.last_ms if ms < math.inf]
        plots.log_axis(axes.xaxis, [step.people for step in self.steps])
        plots.log_axis(axes.yaxis, [*times, self.goal.within_s])
        plots.add_legend(figure, ncols=3)
        figure.alt = "; ".join(f"{step}".strip() for step in self.steps)
        return figure


def decide(late: Sequence[bool], is_final: bool = False) -> bool | None:
    """Whether a room holds, by whether its broadcasts were late, in their order; None if more of them are needed."""
    total = 0.0
    for is_late in () if is_final else late:
        total += LATE if is_late else IN_TIME
        if total >= NO or total <= YES:
            return total <= YES
    is_over = len(late) >= FINAL or (is_final and sum(late) > GOOD * FINAL)
    return sum(late) <= GOOD * FINAL if is_over else None


def needed(late: Sequence[bool]) -> int:
    """How many more broadcasts would decide, if all were in time."""
    total = sum(LATE if is_late else IN_TIME for is_late in late)
    return min(FINAL - len(late), math.ceil((YES - total) / IN_TIME))


def builds_up(last_ms: Sequence[float], within_ms: float) -> bool:
    """Whether a queue builds up: the times of one load test's broadcasts rise so that number `FINAL` would be late."""
    if len(last_ms) < MIN_BROADCASTS:
        return False
    slope, start_ms, p = trend(np.arange(len(last_ms)), last_ms)
    return p < DRIFT_P and start_ms + FINAL * slope > within_ms


@dataclass
class Search:
    """One search. `run` prints a line for each step; Ctrl-C ends it with what is known until then."""

    url: str
    folder: Path  # for the results: a folder for each load test, and `capacity.json`
    goal: Goal
    connection_rate: float  # new connections a second
    minutes: float = 10.0  # a load test that would not end by then does not begin
    start: int = 50
    most: int = 9_000  # people; Locust sees to 10,000 open files
    price: Callable[[int, int, float], float] = lambda people, broadcasts, seconds: 0.0  # of a load test, in US dollars
    max_dollars: float = 1.0
    explain: Callable[[Result, int], str] = lambda result, broadcast: ""  # what made a broadcast late, in a clause

    def __post_init__(self) -> None:
        self._found = Found(self.goal)
        self._deadline_s = time.monotonic() + 60 * self.minutes
        self._dollars = 0.0

    def run(self) -> Found:
        """Search. Raises LoadTestError, in a sentence, if nobody can connect, or the load test can't be run."""
        try:
            while not self._found.ended and (following := self._next()):
                self._try(following)
        except KeyboardInterrupt:
            self._found.ended = "it was stopped."
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "capacity.json").write_text(json.dumps(self._found.as_json(), indent=2))
        return self._found

    def _next(self) -> Step | None:
        """The next step; None at the end, which `ended` then explains if it is early."""
        low, high = self._found.low, self._found.high
        held = low.people if low else 0
        # More than twofold where that would take half of the time at most, if time grows as the room does.
        growth = 500 * self.goal.within_s / max(low.last_ms, default=math.inf) if low else 0.0
        larger = float(f"{held * min(MAX_GROWTH, max(2.0, growth)):.2g}")
        people = (held + high.people) // 2 if high else min(self.most, int(larger) or self.start)
        is_done = people == held or bool(high and high.people <= (1 + PRECISION) * held)
        if high and is_done and [step.people for step in self._found.steps].count(high.people) == 1:
            people, is_done = high.people, False  # a moment's disturbance must not end the search
        needs_final = bool(low and not low.is_final)
        why_no_final = self._why_not((held, FINAL)) if needs_final else ""
        # As long as there is time for the last step, keep it free.
        reserve = [(people, FINAL)] if low and not why_no_final else []
        why = f"more than {held:,} were not tried." if is_done and not high else ""
        if not is_done and not (why := self._why_not((people, needed([])), *reserve)):
            return Step(people)
        if needs_final and not why_no_final:
            return Step(held, is_final=True)
        self._found.ended = why_no_final or why
        return None

    def _needs(self, people: int, broadcasts: int) -> tuple[float, float]:
        """Seconds and US dollars of a load test."""
        seconds = START_S + 2 * people / self.connection_rate + (WARM_UP + broadcasts) / self.goal.rate
        return seconds + self.goal.within_s, self.price(people, broadcasts, seconds)

    def _why_not(self, *tests: tuple[int, int]) -> str:
        """Why there is no time or no money left for load tests of so many people and broadcasts; "" if there is."""
        seconds, dollars = (sum(each) for each in zip(*(self._needs(*test) for test in tests), strict=True))
        if time.monotonic() + seconds > self._deadline_s:
            return f"the {self.minutes:g} minutes were over (MINUTES)."
        too_much = f"more could have cost over {self.max_dollars:.2f} US dollars (MAX_DOLLARS)."
        return too_much if self._dollars + dollars > self.max_dollars else ""

    def _try(self, step: Step) -> None:
        """Run load tests with these people until it is known whether they are too many."""
        found = self._found
        found.steps.append(step)
        display = live.Display()
        while step.holds is None and not found.ended:
            broadcasts = FINAL if step.is_final else needed(step.late)
            self._dollars += self._needs(step.people, broadcasts)[1]
            folder = self.folder / f"{len(found.steps):02}-{step.people}-{len(step.late)}"
            process = live.begin(self.url, folder, **self._options(step.people, broadcasts))
            psutil.cpu_percent()  # of all processors, from here on
            why = ""
            try:
                live.watch(process, folder, lambda text, last=False: display(f"{step.people:>7,} people: {text}"))
            except LoadTestError as error:
                why = str(error)
            with suppress(FileNotFoundError):  # the load test could not even begin
                result = results.load(folder)
                if result.summary["connections"]:
                    self._judge(step, result, psutil.cpu_percent())
            if not step.late and step.holds is None and not found.low and not found.high:
                raise LoadTestError(why)
            if step.holds is None:
                step.limit = found.ended = why  # "" if the test has only to go on
        display(f"{step}", last=True)

    def _options(self, people: int, broadcasts: int) -> dict[str, object]:
        """Those of a load test."""
        return {
            "users": people,
            "spawn_rate": self.connection_rate,
            "max_connection_rate": self.connection_rate,
            "max_handshakes": 100 + 3 * people,
            "speakers": 3,
            "broadcasts": broadcasts,
            "broadcast_rate": self.goal.rate,
            "warm_up": WARM_UP,
            "drain_time": max(5, 10 * self.goal.within_s),  # a server that is behind must not be so in the next step
            "run_time": math.ceil(max(START_S, self._deadline_s - time.monotonic())),
        }

    def _judge(self, step: Step, result: Result, cpu_percent: float) -> None:
        """Add what a load test has measured, and decide if that is possible."""
        within_ms, summary, before = 1000 * self.goal.within_s, result.summary, step.late
        rows = result.broadcasts[~result.broadcasts["warm_up"] & result.broadcasts["sent_ns"].notna()]
        step.last_ms += rows["last_ms"].fillna(math.inf).tolist()
        step.late = [ms > within_ms for ms in step.last_ms]
        sent = summary["broadcasts"] + summary["broadcasts_refused"]  # others would have been sent later
        lost = (results.shortfall(summary | {"broadcasts_asked": sent}) or "").partition(": ")[2].rstrip(".")
        heard_ms = rows["last_ms"].dropna().tolist()

        def fails_without(own_ms: float) -> bool:
            late = [ms > within_ms + own_ms for ms in heard_ms]
            return decide([*before, *late], step.is_final) is False or builds_up(heard_ms, within_ms + own_ms)

        step.holds = False if lost or fails_without(0) else decide(step.late, step.is_final)
        if step.holds is not False:
            return

        shut = summary["connections_failed"] or summary["connections_dropped"] or summary["broadcasts_refused"]
        failed = {check["check"] for check in summary["verdict"]["checks"] if not check["ok"]}
        own_ms = summary["send_late_ms"]["p99"] or 0.0
        if "harness_lag" in failed:  # otherwise the kernel's timestamps leave it out
            own_ms += summary["harness_lag_ms"]["p99"] or 0.0
        if lost and (shut or not fails_without(0)):
            step.limit = lost
        elif cpu_percent > MAX_CPU_PERCENT:
            step.limit = f"this machine, whose processors are {cpu_percent:.0f} % busy"
        elif "saturation" in failed:
            step.limit = "this machine, of which the load test uses up a core"
        elif not fails_without(own_ms):
            step.limit = f"this machine, on which the load test itself is late by {plots.format_ms(own_ms)}"
        else:
            slowest = rows.sort_values("last_ms")
            late = slowest[slowest["last_ms"] > within_ms]["broadcast"].tolist() or slowest["broadcast"].tolist()[-1:]
            queue = "a queue builds up; " if builds_up(heard_ms, within_ms) else ""
            step.limit = queue + (self.explain(result, late[len(late) // 2]) or "the server answers slowly")
