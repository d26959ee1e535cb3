"""Ctrl-C and SIGTERM before a load test begins, and at any moment of it."""

import signal
import time

import pytest

from chatlab import poll
from loadtest.arguments import STOP_S
from tests.support.failures import LOCUST_S, checked_summary
from tests.support.load_tests import free_port


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)],
    ids=["Ctrl-C while it waits for workers", "SIGTERM while it waits for workers"],
)
def test_interrupted_while_it_waits_for_workers_it_says_so_and_ends(failure, tmp_path, number):
    waits = tmp_path / "waits"
    code = f"""
        @events.init.add_listener
        def tell(**_):
            open("{waits}", "w").close()
    """
    failure.begin(code, "--master", "--master-bind-port", free_port(), "--expect-workers", 1)
    poll(waits.exists, "Locust to be ready", timeout_s=LOCUST_S, every_s=0.02)
    failure.test.process.send_signal(number)
    test = failure.end()
    assert (test.status, test.errors) == (1, ["The test was stopped before it began."])
    assert "Traceback" not in test.output
    assert failure.seconds < LOCUST_S


@pytest.mark.long
def test_interrupted_at_any_moment_it_ends(failure, tmp_path):
    """Signals at moments from Locust's start to its end, in one test after another."""
    for k, seconds in enumerate((0.3, 1.2, 2.0, 2.6, 3.2, 4.0, 5.5, 6.5)):
        failure.folder = tmp_path / f"{k}"
        failure.begin(forked=False)
        time.sleep(seconds)
        failure.test.process.send_signal(signal.SIGINT)
        test = failure.end()
        assert failure.seconds - seconds < STOP_S, seconds
        is_complete = False
        if (failure.folder / "summary.json").exists():
            summary = checked_summary(test)
            is_complete = summary["complete"]
            assert summary["missing"] == 0
        assert test.status in (0 if is_complete else 1, -signal.SIGINT), (seconds, test.output)
