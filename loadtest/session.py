"""One test from its first connection to its results on disk, however it ends."""

import logging
from collections.abc import Callable

import gevent
from gevent.event import Event
from locust.env import Environment

from loadtest import protocol
from loadtest.connection import describe
from loadtest.reporter import Reporter
from loadtest.run import TestAborted, TestRun

logger = logging.getLogger(__name__)


class Session:
    """Takes one test to its end, and sets Locust's exit status: 0 if the test is complete, else 1.

    Args:
        environment: Locust's.
        run: the test.
        end_locust: called when the test has ended by itself, with its results written.
    """

    def __init__(self, environment: Environment, run: TestRun, end_locust: Callable[[], None]) -> None:
        self._environment = environment
        self.run = run
        self._end_locust = end_locust
        self._reporter = Reporter(environment, run)
        self._phases = gevent.Greenlet(self._run_phases)
        self.finishing = False
        self._finished = Event()

    @property
    def progress(self) -> dict[str, object]:
        """The newest state of the test, as progress.json has it."""
        return self._reporter.progress

    def begin(self) -> None:
        """Begin the phases, and the reports on them."""
        self._phases.start()
        gevent.spawn(self._reporter.watch)

    def is_reporting(self, run: str) -> bool:
        """Whether the session takes reports on the test with this id."""
        return run == self.run.id and not self._finished.is_set()

    def _run_phases(self) -> None:
        self._guard(self.run.run_phases)
        self._finish()
        self._end_locust()

    def interrupt(self) -> None:
        """Stop the test early: Ctrl-C, --run-time, Locust's stop button. Returns when the results are written."""
        self.run.interrupted = True
        if not self.finishing:
            self._phases.kill()
            self.run.abort("The test was stopped before its end.")
            self.run.halt()
        self._finish()

    def _finish(self) -> None:
        """Collect the records and write the results. Happens once; further calls wait for its end."""
        if self.finishing:
            self._finished.wait()
            return
        self.finishing = self._reporter.finishing = True
        self._environment.process_exit_code = 1
        try:
            for step in (self.run.collect, self.run.leave, self._reporter.conclude):
                self._guard(step)
            if self.run.problem:
                logger.error(self.run.problem)
            else:
                self._environment.process_exit_code = 0
        finally:
            self._finished.set()

    def _guard(self, step: Callable[[], None]) -> None:
        """Do a part of the test. An error in it ends the test, but not the parts after this one."""
        try:
            step()
        except TestAborted as reason:
            self.run.abort(str(reason))
        except Exception as error:
            self._fail_by(error)

    def on_message_error(self, error: Exception) -> None:
        """A message could not be read or handled, which ends the test."""
        if self.run.problem:
            return
        if isinstance(error, protocol.ProtocolError):
            self.run.abort(str(error))
        else:
            self._fail_by(error)

    def _fail_by(self, error: Exception) -> None:
        """End the test because of an error of the load test's own. What it has measured until then is kept."""
        logger.error("The load test failed.", exc_info=error)
        self.run.abort(f"The load test failed by an error of its own: {type(error).__name__}: {describe(error)}")
