"""One test, which the coordinator leads through its phases.

For each phase: wait for the connections, plan the broadcasts, wait for their deliveries. Every wait has an end.
"""

import time
import uuid
from collections.abc import Callable

import gevent
import numpy as np
from locust.env import Environment
from locust.runners import STATE_MISSING, LocalRunner, MasterRunner

from loadtest import assembly, budget, clock, protocol, results, shapes, throttling
from loadtest.arguments import Settings
from loadtest.collector import Collector

POLL_S = 0.05
CLOCK_SET_NS = 100_000_000
"""A larger change means that the clock was set: a slow adjustment (NTP) changes the monotonic clock with it."""


class TestAborted(Exception):
    """Why a test ends early, in one sentence."""


class TestRun:
    """One test.

    Args:
        environment: Locust's.
        runner: Locust's.
        settings: what the test has to do.
        connection_rate: new connections a second, of all generators together.
    """

    def __init__(
        self, environment: Environment, runner: LocalRunner | MasterRunner, settings: Settings, connection_rate: float
    ) -> None:
        self._runner = runner
        self._shape = environment.shape_class
        self.settings = settings
        self.id = uuid.uuid4().hex[:12]
        self.state = "connecting"
        self.problem: str | None = None
        """Why it is not complete, in one sentence."""
        self.interrupted = False
        """Whether somebody has stopped it and waits for its end."""
        self.collector = Collector(self._is_running)
        self.connection_rate = connection_rate
        self.budget_s = budget.test_s(settings, self.connection_rate)
        """The longest time that it may take."""
        self._plans: list[protocol.Plan] = []
        self._started_ns = clock.now_ns()
        self._started_monotonic_s = time.monotonic()
        self._clock_ahead_ns = clock.ahead_of_monotonic_ns()
        self._halted_ns = 1 << 63

    def _send(self, message: protocol.Message, client_id: str | None = None) -> None:
        protocol.send(self._runner, message, client_id)

    def _is_running(self, client_id: str) -> bool:
        """Whether a generator still runs, as far as Locust knows from its workers' heartbeats."""
        if not isinstance(self._runner, MasterRunner):
            return True
        workers = self._runner.clients
        return client_id in workers and workers[client_id].state != STATE_MISSING

    # The beginning

    def start(self, joining: str | None = None) -> None:
        """Let the generators begin. Again, for one that joins in the middle: all share the connections a second."""
        workers: set[str | None] = {None}
        if isinstance(self._runner, MasterRunner):
            workers = {*self._runner.clients, joining} - {None}
        for client_id in workers:
            rate = self.connection_rate / len(workers)
            self._send(protocol.Start(self.id, self.settings.url, rate, self._plans), client_id)

    # The phases

    def run_phases(self) -> None:
        """Go through all phases.

        Raises:
            TestAborted: if the test has to end early.
        """
        for phase, connections in enumerate(self.settings.phases):
            self._connect(connections)
            self._broadcast(phase)
            self.state = "draining"
            self._wait(self._is_drained, self.settings.drain_time)
        gevent.sleep(budget.SETTLE_S)

    def _wait(self, is_done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `is_done()`; False if that takes longer. Raises TestAborted for what ends the test."""
        deadline = time.monotonic() + timeout_s
        while not is_done():
            if self.problem:
                raise TestAborted(self.problem)
            if time.monotonic() > deadline:
                return False
            self._check_limits()
            gevent.sleep(POLL_S)
        return True

    def _check_limits(self) -> None:
        """Raises TestAborted if the test may not go on."""
        max_handshakes = self.settings.max_handshakes
        if max_handshakes and sum(map(self.collector.total, ("opened", "failed", "refused"))) > max_handshakes:
            raise TestAborted(
                f"The test was stopped: more than {max_handshakes:,} connections were tried (--max-handshakes)."
            )
        if abs(change_ns := clock.ahead_of_monotonic_ns() - self._clock_ahead_ns) > CLOCK_SET_NS:
            raise TestAborted(
                f"The test was stopped: this machine's clock was set by {change_ns / 1e9:+,.1f} s, or it slept, and "
                "what was measured across that is wrong. Run it again."
            )
        if time.monotonic() - self._started_monotonic_s > self.budget_s:
            raise TestAborted(f"The test was stopped: it took longer than the {self.budget_s:,.0f} s that it may take.")

    def _connect(self, target: int) -> None:
        self.state = "connecting"
        settings, collector = self.settings, self.collector
        if isinstance(self._shape, shapes.Steps):
            self._shape.grow_to(target)

        def are_connected() -> bool:
            stayed, failed = collector.total("opened") - collector.total("departed"), collector.total("failed")
            wanted = min(target, settings.speakers) if settings.shape == "ramp" else target
            if not self._shape:  # the web page may ask for fewer in the middle
                wanted = min(wanted, self._runner.target_user_count or wanted)
            return stayed + failed >= wanted or (not stayed and failed >= min(target, 20))

        self._wait(are_connected, budget.connecting_s(settings, target, self.connection_rate))
        if not collector.total("open"):
            tried = collector.total("opened") - collector.total("departed") + collector.total("failed")
            failed = "stayed open" if collector.total("opened") else "could be made"
            none = f"None of the first {tried} connections to {settings.url} {failed}{collector.why()}."
            raise TestAborted(f"{none} {throttling.explain(collector.refusals(), {})}".rstrip())
        if not self._wait(collector.is_synchronised, budget.SYNCHRONISE_S):
            raise TestAborted(
                f"A worker's clock could not be compared with the master's within {budget.SYNCHRONISE_S:g} s."
            )

    def _broadcast(self, phase: int) -> None:
        settings, collector = self.settings, self.collector
        clients = collector.clients_with_connections()
        speakers = min(settings.speakers, collector.total("open"))
        plan = protocol.Plan(
            run=self.id,
            phase=phase,
            first=sum(len(earlier.offsets_ns) for earlier in self._plans),
            start_ns=clock.now_ns() + round(budget.LEAD_S * 1e9),
            offsets_ns=np.rint(settings.with_warm_up(phase) * 1e9).astype(np.int64).tolist(),
            warm_up=settings.warm_up,
            speakers=speakers,
            own_speakers={client_id: list(range(speakers))[k :: len(clients)] for k, client_id in enumerate(clients)},
            payload_bytes=settings.payload_bytes,
            churn=settings.churn,
            seed=settings.seed,
        )
        self._plans.append(plan)
        collector.add_plan(plan)
        self.state = "broadcasting"
        self._send(plan)
        last_ns = plan.intended_ns[-1]

        def all_are_due() -> bool:
            if not collector.total("open"):
                raise TestAborted(f"Every connection was closed before the last broadcast{collector.why()}.")
            return clock.now_ns() >= last_ns

        self._wait(all_are_due, (last_ns - clock.now_ns()) / 1e9 + 1)

    def _is_drained(self) -> bool:
        return self.collector.is_drained(min(clock.now_ns(), self._halted_ns))

    # The end

    def abort(self, reason: str) -> None:
        """End the test early, from another greenlet."""
        self.problem = self.problem or reason

    def halt(self) -> None:
        """Send no further broadcast, and wait a little for deliveries under way."""
        self._halted_ns = clock.now_ns()
        self._send(protocol.Halt(self.id))
        self.state = "draining"
        self._poll(self._is_drained, min(budget.HALT_S, self.settings.drain_time))
        gevent.sleep(budget.SETTLE_S)

    def collect(self) -> None:
        """Wait for the last records of each generator."""
        self.state = "collecting"
        self._send(protocol.Collect(self.id))
        self._poll(self.collector.is_complete, budget.COLLECT_S)
        if unfinished := self.collector.unfinished():
            sentence = (
                f"{len(unfinished)} of {len(self.collector.clients)} workers did not hand over their last records."
            )
            self.problem = f"{self.problem} {sentence}" if self.problem else sentence

    def leave(self) -> None:
        """Let all connections leave as fast as they came: all at once would be too much for the server.

        If Lambda cannot run a function behind `$disconnect`, that event is lost, and the connection stays in the chat's
        table. Whoever stops a test by hand does not wait for this.
        """
        if self.interrupted:
            return
        self.state = "leaving"
        timeout_s = budget.leaving_s(self.collector.total("open"), self.connection_rate)
        # Another thread meanwhile loads what the end needs; nothing is measured any more that this could delay.
        gevent.get_hub().threadpool.spawn(assembly.load_libraries)
        self._send(protocol.Leave(self.id))
        self._poll(lambda: self.interrupted or self.collector.have_departed(), timeout_s)

    def _poll(self, is_done: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `is_done()`, whatever else happens to the test."""
        deadline = time.monotonic() + timeout_s
        while not is_done() and time.monotonic() < deadline:
            gevent.sleep(POLL_S)

    def result(self) -> results.Result:
        """What was measured."""
        return self.collector.result(self.id, self.settings, self._started_ns, self.problem)
