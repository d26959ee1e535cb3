"""A small load test in which something is to fail."""

import math
import textwrap
import time
from contextlib import suppress

import pandas as pd
import psutil

from tests.support.load_tests import settings

PEOPLE, BROADCASTS, RATE = 10, 15, 100.0
WORDS = (
    f"--broadcasts {BROADCASTS} --broadcast-rate 10 --warm-up 0 --speakers 2 --drain-time 2 "
    "--connect-timeout 3 --retry-time 1 --seed 4"
).split()
LOCUST_S = 20.0
"""For Locust itself to start and to end, on a machine that is busy."""


def longest_s():
    return settings(*WORDS, users=PEOPLE).longest_s(RATE)


WHEN_SENT = """
def when_sent(number, action):
    def sent():
        part = hasattr(ChatUser, "generator") and ChatUser.generator.part
        return part.sender.sent if part else 0

    def wait():
        while sent() < number:
            gevent.sleep(0.02)
        action()

    gevent.spawn(wait)
"""


class Failure:
    """A load test in which something is to fail."""

    def __init__(self, start, server, tmp_path):
        self.start, self.server, self.tmp_path = start, server, tmp_path
        self.folder = tmp_path / "results"
        self.words = ["--host", server.url, "--users", PEOPLE, *WORDS]

    def begin(self, code="", *more, **options):
        """Start it with a locustfile that runs `code` first."""
        self.code = WHEN_SENT + textwrap.dedent(code)
        self.began = time.monotonic()
        self.test = self.start(*self.words, *more, folder=self.folder, code=self.code, **options)
        return self.test

    def until_received(self, broadcasts=5):
        self.test.until_received(self.server, broadcasts)

    def end(self, max_mb=math.inf):
        """Wait for its end, which has to be in time, with no process left; it may not take more memory than `max_mb`.

        `peak_mb` is the most that its processes have had, each at its own peak.
        """
        family, peaks, deadline = [], {}, self.began + longest_s() + LOCUST_S
        while self.test.process.poll() is None and time.monotonic() < deadline and sum(peaks.values()) < max_mb:
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                family = psutil.Process(self.test.process.pid).children(recursive=True)
                for pid in (self.test.process.pid, *(child.pid for child in family)):
                    peaks[pid] = max(peaks.get(pid, 0), psutil.Process(pid).memory_info().rss / 1e6)
            time.sleep(0.05)
        self.seconds, self.peak_mb = time.monotonic() - self.began, sum(peaks.values())
        assert self.test.process.poll() is not None, f"after {self.seconds:.0f} s it has {self.peak_mb:.0f} MB"
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive
        return self.test

    def written(self, folder=None):
        return pd.read_parquet((folder or self.folder) / "deliveries.parquet")


def checked_summary(test):
    """Each delivery that was expected has come to something."""
    summary = test.summary
    parts = ("delivered", "missing", "dropped", "departed")
    assert summary["expected"] == sum(summary[part] for part in parts), summary
    return summary
