"""What a test tells its watchers while it runs, and what it leaves behind: progress.json, results, statistics."""

import json
import logging
import os
import tempfile
import time
from pathlib import Path

import gevent
import pandas as pd
from locust.env import Environment

from loadtest import assembly, results
from loadtest.results import Json
from loadtest.run import TestRun

logger = logging.getLogger(__name__)

WATCH_S = 0.5
"""Between two states of a test that its watchers see."""


class Reporter:
    """Reports on one test."""

    def __init__(self, environment: Environment, run: TestRun) -> None:
        self._environment = environment
        self._run = run
        self._seen = 0, time.monotonic()
        self.progress: Json = {}
        """The newest state, as progress.json has it."""
        self.finishing = False
        """Set when the end of the test begins: `conclude` writes the last state."""

    def watch(self) -> None:
        """Write progress.json again and again until the end of the test."""
        while True:
            gevent.sleep(WATCH_S)
            if self.finishing:
                return
            (earlier, earlier_s), now_s = self._seen, time.monotonic()
            delivered = self._run.collector.total("delivered")
            self._seen = delivered, now_s
            self._write_progress((delivered - earlier) / (now_s - earlier_s))

    def _write_progress(self, deliveries_per_s: float, missing: int | None = None) -> None:
        """Write the state of the test to the small file that `loadtest.live` reads, replaced in one piece."""
        run, collector = self._run, self._run.collector
        counts = ("open", "opened", "failed", "refused", "sent", "expected", "delivered")
        self.progress = {
            "pid": os.getpid(),
            "state": run.state,
            "users": run.settings.phases[-1],
            "broadcasts": run.settings.total_broadcasts,
            **{name: collector.total(name) for name in counts},
            "deliveries_per_s": round(deliveries_per_s, 1),
            "p50_ms": collector.latency_ms(50),
            "p99_ms": collector.latency_ms(99),
            "outstanding": max(0, collector.total("outstanding")),
            "missing": missing,
            "message": run.problem or "",
        }
        path = run.settings.results / "progress.json"
        try:
            path.with_suffix(".tmp").write_text(json.dumps(self.progress))
            os.replace(path.with_suffix(".tmp"), path)
        except OSError:
            pass  # a full disk, for example: the test goes on, and says at its end if the results can't be written

    def conclude(self) -> None:
        """Write the results, and log what has to be said about them.

        Raises:
            Exception: if there is no result; the records have been written then.
        """
        run = self._run
        try:
            result = run.result()
        except Exception:
            self._write(run.collector.tables())
            raise
        run.state = "complete" if result.summary["complete"] else "incomplete"
        run.problem = run.problem or assembly.shortfall(result.summary)
        folder = self._write(result.tables(), result.summary)
        self._write_progress(0.0, result.summary["missing"])
        self._fire_missing(result.summary["missing"])
        for warning in result.summary["verdict"]["warnings"]:
            logger.warning(warning)
        if folder:
            logger.info("Results are in %s", folder)

    def _write(self, tables: dict[str, pd.DataFrame], summary: Json | None = None) -> Path | None:
        """Write the results to their folder or, if that fails, to a temporary one; the folder that has them."""
        wanted = self._run.settings.results
        try:
            results.write(wanted, tables, summary)
            return wanted
        except OSError as error:
            problem = f"The results could not be written to {wanted}: {error.strerror}."
        try:
            folder = Path(tempfile.mkdtemp(prefix="loadtest-"))
            results.write(folder, tables, summary)
        except OSError:
            self._run.problem = problem
            return None
        self._run.problem = f"{problem} They are in {folder}."
        return folder

    def _fire_missing(self, missing: int) -> None:
        """Show in Locust's own statistics what never arrived."""
        for _ in range(missing):
            self._environment.events.request.fire(
                request_type="WS",
                name="delivery",
                response_time=None,
                response_length=0,
                exception=TimeoutError("not delivered within the drain time"),
                context={},
            )
