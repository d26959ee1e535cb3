"""One load test, from its first connection to its results on disk, and how its connections grow in number."""

import json
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import gevent
import numpy as np
import pandas as pd
from gevent.event import Event
from locust import LoadTestShape
from locust.env import Environment
from locust.runners import STATE_MISSING, LocalRunner, MasterRunner

from loadtest import arguments, clock, exchange, results
from loadtest.arguments import Settings
from loadtest.collector import Collector
from loadtest.connections import fire
from loadtest.errors import describe
from loadtest.results import Json

logger = logging.getLogger(__name__)

POLL_S = 0.05
WATCH_S = 0.5
"""Between two states of a test that its watchers see."""
CLOCK_SET_NS = 100_000_000
"""A larger change means that the clock was set: a slow adjustment (NTP) changes the monotonic clock with it."""


# Locust itself starts a test of --shape constant. These two shapes end only when LoadTest does: how long a phase takes
# depends on its broadcasts.


class Ramp(LoadTestShape):
    """From 1 connection to --users, evenly over the time that the broadcasts take."""

    abstract = True  # --shape chooses it, not its presence in the locustfile
    use_common_options = True

    def __init__(self, users: int, seconds: float, max_rate: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Locust's, without types
        self.users, self.seconds, self.max_rate = users, seconds, max_rate

    def tick(self) -> tuple[int, float]:
        run_time_s = self.get_run_time()  # type: ignore[no-untyped-call]  # Locust's, without types
        share = run_time_s / self.seconds if self.seconds else 1
        return min(self.users, max(1, round(self.users * share))), min(self.max_rate, self.users)


class Steps(LoadTestShape):
    """The number of connections that the coordinator has reached."""

    abstract = True
    use_common_options = True

    def __init__(self, first: int, rate: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Locust's, without types
        self.first, self.rate = first, rate
        self._changed = Event()
        self.reset_time()

    def reset_time(self) -> None:
        """Begin again with the first step: Locust calls this when a test starts."""
        super().reset_time()  # type: ignore[no-untyped-call]  # Locust's, without types
        self.users = self.first
        self._changed.set()

    def grow_to(self, users: int) -> None:
        """Have this many connections from now on."""
        if users != self.users:
            self.users = users
            self._changed.set()

    def tick(self) -> tuple[int, float]:
        # Locust calls this once a second. Waiting here for the change saves that second at each step.
        self._changed.wait()
        self._changed.clear()
        return self.users, self.rate


class Aborted(Exception):
    """Why a test ends early, in one sentence."""


class LoadTest:
    """One test, from its first connection to its results on disk, however it ends.

    Its `state` is connecting, broadcasting and draining for each phase, then collecting and leaving, and at the end
    complete or incomplete. Locust's exit status is 0 if the test is complete, else 1.

    Args:
        connection_rate: new connections a second, of all generators together.
        end_locust: called when the test has ended by itself, with its results written.
    """

    def __init__(
        self,
        environment: Environment,
        runner: LocalRunner | MasterRunner,
        settings: Settings,
        connection_rate: float,
        end_locust: Callable[[], None],
    ) -> None:
        self._environment, self._runner, self._settings = environment, runner, settings
        self._connection_rate = connection_rate
        self._end_locust = end_locust
        self.id = uuid.uuid4().hex[:12]
        self.state = "connecting"
        self.problem: str | None = None
        """Why it is not complete, in one sentence."""
        self._interrupted = False
        """Whether somebody has stopped it and waits for its end."""
        self.collector = Collector(self._is_running)
        self.progress: Json = {}  # the newest, as progress.json has it
        self._plans: list[exchange.Plan] = []
        self._started_ns = clock.now_ns()
        self._started_monotonic_s = time.monotonic()
        self._clock_ahead_ns = clock.ahead_of_monotonic_ns()
        self._max_s = settings.longest_s(connection_rate)
        self._phases = gevent.Greenlet(self._run)
        self._end: gevent.Greenlet[..., None] | None = None

    @property
    def is_ending(self) -> bool:
        """Whether the phases are over, or have been ended."""
        return self._end is not None

    @property
    def is_over(self) -> bool:
        """Whether the results are written."""
        return self._end is not None and self._end.ready()

    def _send(self, message: exchange.Message, client_id: str | None = None) -> None:
        exchange.send(self._runner, message, client_id)

    def _is_running(self, client_id: str) -> bool:
        """Whether a generator still runs, as far as Locust knows from its workers' heartbeats."""
        if not isinstance(self._runner, MasterRunner):
            return True
        workers = self._runner.clients
        return client_id in workers and workers[client_id].state != STATE_MISSING

    # From one state to the next

    def begin(self) -> None:
        """Let the generators begin, and go through the phases."""
        self._start_generators(set(self._runner.clients) if isinstance(self._runner, MasterRunner) else {None})
        self._phases.start()
        gevent.spawn(self._watch)

    def _start_generators(self, client_ids: set[str] | set[None]) -> None:
        for client_id in client_ids:
            rate = self._connection_rate / len(client_ids)
            self._send(exchange.Start(self.id, self._settings.url, rate), client_id)

    def add_worker(self, client_id: str) -> None:
        """Let a worker take part that joins in the middle: all share the connections a second."""
        assert isinstance(self._runner, MasterRunner)
        self._start_generators({*self._runner.clients, client_id})
        for plan in self._plans:
            self._send(plan, client_id)

    def _run(self) -> None:
        self._guard(self._go_through_phases)
        self._finish()
        self._end_locust()

    def interrupt(self) -> None:
        """Stop the test early: Ctrl-C, --run-time, Locust's stop button. Returns when the results are written."""
        self._interrupted = True
        if not self.is_ending:
            self._phases.kill()
            self.abort("The test was stopped before its end.")
            self._halt()
        self._finish()

    def abort(self, reason: str) -> None:
        """End the test early, from another greenlet."""
        self.problem = self.problem or reason

    def fail_by(self, error: Exception) -> None:
        """End the test because of an error of the load test's own. What it has measured until then is kept."""
        if isinstance(error, exchange.ExchangeError):
            self.abort(str(error))
            return
        logger.error("The load test failed.", exc_info=error)
        self.abort(f"The load test failed by an error of its own: {type(error).__name__}: {describe(error)}")

    def _guard(self, step: Callable[[], None]) -> None:
        """Do a part of the test. An error in it ends the test, but not the parts after this one."""
        try:
            step()
        except Aborted as reason:
            self.abort(str(reason))
        except Exception as error:
            self.fail_by(error)

    def _finish(self) -> None:
        """Collect the records and write the results. Happens once; further calls wait for its end."""
        if self._end is None:
            self._end = gevent.spawn(self._collect_and_write)
        self._end.join()

    def _collect_and_write(self) -> None:
        self._environment.process_exit_code = 1
        for step in (self._collect, self._leave, self._conclude):
            self._guard(step)
        if self.problem:
            logger.error(self.problem)
        else:
            self._environment.process_exit_code = 0

    # The phases

    def _go_through_phases(self) -> None:
        """For each phase: wait for the connections, plan the broadcasts, wait for their deliveries.

        Raises:
            Aborted: if the test has to end early.
        """
        for phase, connections in enumerate(self._settings.phases):
            self._connect(connections)
            self._broadcast(phase)
            if self._settings.storm:
                self._wait(lambda: self.collector.total("open") >= self._settings.users, self._settings.retry_time)
            self.state = "draining"
            self._wait(lambda: self.collector.is_drained(clock.now_ns()), self._settings.drain_time)
        gevent.sleep(arguments.SETTLE_S)

    def _wait(self, is_done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `is_done()`; False if that takes longer. Raises Aborted for what ends the test."""
        deadline_s = time.monotonic() + timeout_s
        while not is_done():
            if self.problem:
                raise Aborted(self.problem)
            if time.monotonic() > deadline_s:
                return False
            self._check_limits()
            gevent.sleep(POLL_S)
        return True

    def _check_limits(self) -> None:
        """Raises Aborted if the test may not go on."""
        max_handshakes = self._settings.max_handshakes
        if max_handshakes and sum(map(self.collector.total, ("opened", "failed", "refused"))) > max_handshakes:
            raise Aborted(
                f"The test was stopped: more than {max_handshakes:,} connections were tried (--max-handshakes)."
            )
        if abs(change_ns := clock.ahead_of_monotonic_ns() - self._clock_ahead_ns) > CLOCK_SET_NS:
            raise Aborted(
                f"The test was stopped: this machine's clock was set by {change_ns / 1e9:+,.1f} s, or it slept, and "
                "what was measured across that is wrong. Run it again."
            )
        if time.monotonic() - self._started_monotonic_s > self._max_s:
            raise Aborted(f"The test was stopped: it took longer than the {self._max_s:,.0f} s that it may take.")

    def _connect(self, target: int) -> None:
        self.state = "connecting"
        settings, collector, shape = self._settings, self.collector, self._environment.shape_class
        if isinstance(shape, Steps):
            shape.grow_to(target)

        def are_connected() -> bool:
            stayed, failed = collector.total("opened") - collector.total("departed"), collector.total("failed")
            wanted = min(target, settings.speakers) if settings.shape == "ramp" else target
            if not shape:  # the web page may ask for fewer in the middle
                wanted = min(wanted, self._runner.target_user_count or wanted)
            return stayed + failed >= wanted or (not stayed and failed >= min(target, 20))

        self._wait(are_connected, settings.connecting_s(target, self._connection_rate))
        if not collector.total("open"):
            tried = collector.total("opened") - collector.total("departed") + collector.total("failed")
            outcome = "stayed open" if collector.total("opened") else "could be made"
            none = f"None of the first {tried} connections to {settings.url} {outcome}{collector.why()}."
            raise Aborted(f"{none} {results.explain_refusals(collector.refusals(), {})}".rstrip())
        if not self._wait(collector.is_synchronised, arguments.SYNCHRONISE_S):
            raise Aborted(
                f"A worker's clock could not be compared with the master's within {arguments.SYNCHRONISE_S:g} s."
            )

    def _broadcast(self, phase: int) -> None:
        settings, collector = self._settings, self.collector
        clients = collector.clients_with_connections()
        speakers = min(settings.speakers, collector.total("open"))
        plan = exchange.Plan(
            test_id=self.id,
            phase=phase,
            first=sum(len(earlier.offsets_ns) for earlier in self._plans),
            start_ns=clock.now_ns() + round(arguments.LEAD_S * 1e9),
            offsets_ns=np.rint(settings.with_warm_up(phase) * 1e9).astype(np.int64).tolist(),
            warm_up=settings.warm_up,
            speakers=speakers,
            own_speakers={client_id: list(range(speakers))[k :: len(clients)] for k, client_id in enumerate(clients)},
            payload_bytes=settings.payload_bytes,
            churn=settings.churn,
            storm=settings.storm,
            seed=settings.seed,
        )
        self._plans.append(plan)
        collector.add_plan(plan)
        self.state = "broadcasting"
        self._send(plan)
        last_ns = plan.intended_ns[-1]

        def all_are_due() -> bool:
            if not collector.total("open"):
                raise Aborted(f"Every connection was closed before the last broadcast{collector.why()}.")
            return clock.now_ns() >= last_ns

        self._wait(all_are_due, (last_ns - clock.now_ns()) / 1e9 + 1)

    # The end

    def _halt(self) -> None:
        """Send no further broadcast, and wait a little for deliveries under way."""
        halted_ns = clock.now_ns()
        self._send(exchange.Halt(self.id))
        self.state = "draining"
        self._poll(lambda: self.collector.is_drained(halted_ns), min(arguments.HALT_S, self._settings.drain_time))
        gevent.sleep(arguments.SETTLE_S)

    def _collect(self) -> None:
        """Wait for the last records of each generator."""
        self.state = "collecting"
        self._send(exchange.Collect(self.id))
        self._poll(self.collector.is_complete, arguments.COLLECT_S)
        if unfinished := self.collector.unfinished():
            sentence = (
                f"{len(unfinished)} of {len(self.collector.clients)} workers did not hand over their last records."
            )
            self.problem = f"{self.problem} {sentence}" if self.problem else sentence

    def _leave(self) -> None:
        """Let all connections leave as fast as they came: all at once would be too much for the server.

        If Lambda cannot run a function behind `$disconnect`, that event is lost, and the connection stays in the chat's
        table. Somebody who stops a test by hand does not wait for this.
        """
        if self._interrupted:
            return
        self.state = "leaving"
        timeout_s = arguments.leaving_s(self.collector.total("open"), self._connection_rate)
        # Another thread meanwhile loads what the end needs; nothing is measured any more that this could delay.
        gevent.get_hub().threadpool.spawn(results.load_libraries)
        self._send(exchange.Leave(self.id))
        self._poll(lambda: self._interrupted or self.collector.have_departed(), timeout_s)

    def _poll(self, is_done: Callable[[], bool], timeout_s: float) -> None:
        """As `_wait`, but after the phases: nothing that happens to the test ends this."""
        deadline_s = time.monotonic() + timeout_s
        while not is_done() and time.monotonic() < deadline_s:
            gevent.sleep(POLL_S)

    def _conclude(self) -> None:
        """Write the results, and log what has to be said about them.

        Raises:
            Exception: if there is no result; the records have been written then.
        """
        try:
            result = self.collector.result(self.id, self._settings, self._started_ns, self.problem)
        except Exception:
            self._write(self.collector.tables())
            raise
        summary = result.summary
        self.state = "complete" if summary["complete"] else "incomplete"
        self.problem = self.problem or results.shortfall(summary)
        folder = self._write(result.tables(), summary)
        self._write_progress(0.0, summary["missing"])
        for _ in range(summary["missing"]):
            fire(self._environment, "delivery", None, error=TimeoutError("not delivered within the drain time"))
        for warning in summary["verdict"]["warnings"]:
            logger.warning(warning)
        if folder:
            logger.info("Results are in %s", folder)

    def _write(self, tables: dict[str, pd.DataFrame], summary: Json | None = None) -> Path | None:
        """Write the results to their folder or, if that fails, to a temporary one; the folder that has them."""
        wanted = self._settings.results
        try:
            results.write(wanted, tables, summary)
            return wanted
        except OSError as error:
            problem = f"The results could not be written to {wanted}: {error.strerror}."
        try:
            folder = Path(tempfile.mkdtemp(prefix="loadtest-"))
            results.write(folder, tables, summary)
        except OSError:
            self.problem = problem
            return None
        self.problem = f"{problem} They are in {folder}."
        return folder

    # What watchers see

    def _watch(self) -> None:
        """Write progress.json again and again until the end of the test, which writes the last one."""
        delivered, seen_s = 0, time.monotonic()
        while True:
            gevent.sleep(WATCH_S)
            if self.is_ending:
                return
            earlier, earlier_s = delivered, seen_s
            delivered, seen_s = self.collector.total("delivered"), time.monotonic()
            self._write_progress((delivered - earlier) / (seen_s - earlier_s))

    def _write_progress(self, deliveries_per_s: float, missing: int | None = None) -> None:
        """Write the state of the test to the small file that `loadtest.live` reads, replaced in one piece."""
        collector, settings = self.collector, self._settings
        counts = ("open", "failed", "refused", "sent", "delivered")
        self.progress = {
            "pid": os.getpid(),
            "state": self.state,
            "users": settings.phases[-1],
            "broadcasts": settings.total_broadcasts,
            **{name: collector.total(name) for name in counts},
            "deliveries_per_s": round(deliveries_per_s, 1),
            "p50_ms": collector.latency_ms(50),
            "p99_ms": collector.latency_ms(99),
            "in_flight": max(0, collector.total("in_flight")),
            "missing": missing,
            "message": self.problem or "",
        }
        # A full disk, for example: the test goes on, and says at its end if the results can't be written.
        with suppress(OSError), results.replacing(settings.results / "progress.json") as partial:
            partial.write_text(json.dumps(self.progress))
