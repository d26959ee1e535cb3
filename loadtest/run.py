"""One test, as the coordinator leads it through its phases.

For each phase: wait for the connections, plan the broadcasts, wait for their deliveries. Every wait has an end.
"""

import time
import uuid
from collections.abc import Callable

import gevent
import numpy as np
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner

from loadtest import budget, clock, protocol, results, shapes, throttling
from loadtest.arguments import Settings
from loadtest.collector import Collector

POLL_S = 0.05
CLOCK_SET_NS = 100_000_000
"""From here on a clock was set: adjusting it slowly (NTP) changes the monotonic clock with it."""


class TestAborted(Exception):
    """Why a test ends early, in one sentence."""


class TestRun:
    """One test.

    Args:
        environment: Locust's.
        settings: what it is to do.
        connection_rate: new connections a second, of all generators together.
    """

    def __init__(self, environment: Environment, settings: Settings, connection_rate: float):
        self._runner = environment.runner
        self._shape = environment.shape_class
        self.settings = settings
        self.id = uuid.uuid4().hex[:12]
        self.state = "connecting"
        self.problem: str | None = None
        """Why it is not complete, in one sentence."""
        self.stopped = False
        """Whether somebody has ended it who waits for that."""
        self.collector = Collector(self._is_there)
        self.connection_rate = connection_rate
        self.budget_s = budget.test_s(settings, self.connection_rate)
        """The longest that it may take."""
        self._plans: list[protocol.Plan] = []
        self._started_ns = clock.now_ns()
        self._began = time.monotonic()
        self._clock_ns = clock.ahead_ns()
        self._halted_ns = 1 << 63

    def _send(self, message, client: str | None = None) -> None:
        protocol.send(self._runner, message, client)

    def _is_there(self, client: str) -> bool:
        """Whether a generator still runs, as far as Locust knows from its workers' heartbeats."""
        if not isinstance(self._runner, MasterRunner):
            return True
        workers = self._runner.clients
        return client in workers and workers[client].state != STATE_MISSING

    # Its beginning

    def start(self, joining: str | None = None) -> None:
        """Let the generators begin. Again, for one that joins in the middle: all share the connections a second."""
        workers = set(self._runner.clients) | {joining} - {None} if isinstance(self._runner, MasterRunner) else {None}
        for worker in workers:
            self._send(protocol.Start(self.id, self.connection_rate / len(workers), self._plans), worker)

    # Its phases

    def lead(self) -> None:
        """Go through all phases.

        Raises:
            TestAborted: if it has to end early.
        """
        for phase, connections in enumerate(self.settings.phases):
            self._connect(connections)
            self._broadcast(phase)
            self.state = "draining"
            self._wait(self._is_drained, self.settings.drain_time)
        gevent.sleep(budget.SETTLE_S)

    def _wait(self, is_done: Callable[[], bool], at_most_s: float) -> bool:
        """Wait until `is_done` says so; False if it has not in time. Raises TestAborted for what ends the test."""
        deadline = time.monotonic() + at_most_s
        while not is_done():
            if self.problem:
                raise TestAborted(self.problem)
            if time.monotonic() > deadline:
                return False
            self._keep_bounds()
            gevent.sleep(POLL_S)
        return True

    def _keep_bounds(self) -> None:
        """Raises TestAborted for what a test may not go on with."""
        most, told = self.settings.max_handshakes, self.collector
        if most and sum(map(told.total, ("opened", "failed", "refused"))) > most:
            raise TestAborted(f"The test was stopped: more than {most:,} connections were tried (--max-handshakes).")
        if abs(set_ns := clock.ahead_ns() - self._clock_ns) > CLOCK_SET_NS:
            raise TestAborted(
                f"The test was stopped: this machine's clock was set by {set_ns / 1e9:+,.1f} s, or it slept, and what "
                "was measured across that is wrong. Run it again."
            )
        if time.monotonic() - self._began > self.budget_s:
            raise TestAborted(f"The test was stopped: it took longer than the {self.budget_s:,.0f} s that it may take.")

    def _connect(self, target: int) -> None:
        self.state = "connecting"
        settings, told = self.settings, self.collector
        if isinstance(self._shape, shapes.Steps):
            self._shape.grow_to(target)

        def enough() -> bool:
            there, failed = told.total("opened") - told.total("left"), told.total("failed")
            wanted = min(target, settings.speakers) if settings.shape == "ramp" else target
            if not self._shape:  # the web page may ask for fewer in the middle
                wanted = min(wanted, self._runner.target_user_count or wanted)
            return there + failed >= wanted or (not there and failed >= min(target, 20))

        self._wait(enough, budget.connecting_s(settings, target, self.connection_rate))
        if not told.total("open"):
            reasons = told.errors()
            why = f": {'; '.join(reasons)}" if reasons else ""
            tried = told.total("opened") - told.total("left") + told.total("failed")
            none = f"None of the first {tried} connections to {settings.url} could be made{why}."
            raise TestAborted(f"{none} {throttling.explain(told.refusals(), {})}".rstrip())
        if not self._wait(told.synchronised, budget.SYNCHRONISE_S):
            raise TestAborted(
                f"A worker's clock could not be compared with the master's within {budget.SYNCHRONISE_S:g} s."
            )

    def _broadcast(self, phase: int) -> None:
        settings, told = self.settings, self.collector
        clients = told.with_connections()
        speakers = min(settings.speakers, told.total("open"))
        plan = protocol.Plan(
            phase=phase,
            first=sum(len(earlier.offsets_ns) for earlier in self._plans),
            start_ns=clock.now_ns() + round(budget.LEAD_S * 1e9),
            offsets_ns=np.rint(settings.with_warm_up(phase) * 1e9).astype(np.int64).tolist(),
            warm_up=settings.warm_up,
            speakers=speakers,
            own_speakers={client: list(range(speakers))[k :: len(clients)] for k, client in enumerate(clients)},
            payload_bytes=settings.payload_bytes,
            churn=settings.churn,
            seed=settings.seed,
        )
        self._plans.append(plan)
        told.add_plan(plan)
        self.state = "broadcasting"
        self._send(plan)
        last_ns = plan.intended_ns[-1]

        def over() -> bool:
            if not told.total("open"):
                raise TestAborted("Every connection was closed before the last broadcast.")
            return clock.now_ns() >= last_ns

        self._wait(over, (last_ns - clock.now_ns()) / 1e9 + 1)

    def _is_drained(self) -> bool:
        return self.collector.is_drained(min(clock.now_ns(), self._halted_ns))

    # Its end

    def abort(self, reason: str) -> None:
        """End it early, from another greenlet."""
        self.problem = self.problem or reason

    def halt(self) -> None:
        """Send nothing more, and wait a little for what is under way."""
        self._halted_ns = clock.now_ns()
        self._send(protocol.Halt())
        self.state = "draining"
        deadline = time.monotonic() + min(budget.HALT_S, self.settings.drain_time)
        while not self._is_drained() and time.monotonic() < deadline:
            gevent.sleep(POLL_S)
        gevent.sleep(budget.SETTLE_S)

    def collect(self) -> None:
        """Wait for the last records of each generator."""
        self.state = "collecting"
        self._send(protocol.Collect())
        with gevent.Timeout(budget.COLLECT_S, False):
            while not self.collector.is_complete():
                gevent.sleep(POLL_S)
        if lost := self.collector.lost():
            said = f"{len(lost)} of {len(self.collector.clients)} workers did not hand over their last records."
            self.problem = f"{self.problem} {said}" if self.problem else said

    def leave(self) -> None:
        """Let everybody leave as fast as they came: all at once they would be too much for what is told of each.

        A function behind `$disconnect` that Lambda can't run loses that news, and the connection stays in the chat's
        table. Whoever stops a test by hand does not wait for this.
        """
        if self.stopped:
            return
        self.state = "leaving"
        deadline = time.monotonic() + budget.leaving_s(self.collector.total("open"), self.connection_rate)
        self._send(protocol.Leave())
        while not self.stopped and not self.collector.have_left() and time.monotonic() < deadline:
            gevent.sleep(POLL_S)

    def result(self) -> results.Result:
        """What was measured."""
        return self.collector.result(self.id, self.settings, self._started_ns, self.problem)
