"""However a load test ends, its results are complete and can be read."""

import signal
import time

import pytest

from loadtest.calibration import reference_server
from loadtest.calibration.calibrate import delay

LONG = "--users 30 --broadcasts 1000 --broadcast-rate 10 --speakers 3 --warm-up 1".split()


@pytest.mark.parametrize(
    ("words", "signals", "pause_s"),
    [
        ([], [signal.SIGINT], 0),
        ([], [signal.SIGINT, signal.SIGINT], 0.3),  # while it still waits for late deliveries
        (["--shape", "steps", "--steps", "30,60"], [signal.SIGTERM, signal.SIGTERM], 0.3),
        (["--processes", 2], [signal.SIGINT, signal.SIGTERM], 0.3),
    ],
)
def test_signals_leave_complete_results(start, words, signals, pause_s, server):
    test = start("--host", server.url, *LONG, *words, forked=bool(words) or len(signals) > 1)
    test.until_received(server, 5)
    for each in signals:
        test.process.send_signal(each)
        time.sleep(pause_s)
    test.wait()
    assert test.status == 1
    assert test.errors == ["The test was stopped before its end."]
    assert "Traceback" not in test.output
    summary = test.summary
    assert summary["broadcasts"] >= 4
    assert summary["delivered"] == summary["expected"] == 30 * summary["broadcasts"]
    assert len(test.result.deliveries) == 30 * (summary["broadcasts"] + 1)


def test_a_signal_while_the_records_are_collected_leaves_complete_results(run, server):
    press_ctrl_c = """
        import os, signal
        import gevent
        from loadtest.generator import Part
        hand_over = Part.hand_over
        def press_ctrl_c(self, final):
            os.kill(os.getpid(), signal.SIGINT)
            gevent.sleep(1)
            hand_over(self, final)
        Part.hand_over = press_ctrl_c
    """
    test = run("--host", server.url, *LONG, "--broadcasts", 5, code=press_ctrl_c)
    assert "Traceback" not in test.output
    assert test.summary["delivered"] == test.summary["expected"] == 30 * 5


def test_locusts_own_time_limit_leaves_complete_results(run):
    with reference_server.run(delay(400)) as server:  # several broadcasts are always under way
        test = run("--host", server.url, *LONG, "--run-time", 5)
    assert test.errors == ["The test was stopped before its end."]
    assert test.summary["missing"] == 0
    assert test.summary["broadcasts"] == max(0, len(server.received) - 1)  # a busy machine may only do the warm-up


def test_a_server_that_closes_some_connections_in_the_middle(start, server):
    test = start("--host", server.url, *LONG, "--broadcasts", 20)
    test.until_received(server, 8)
    server.close(10)
    test.wait()
    assert test.status == 1
    summary, connections = test.summary, test.result.connections
    assert summary["connections_dropped"] == 10
    assert summary["missing"] == 0
    assert connections["error"].dropna().unique().tolist() == ["closed by the server with code 1001"]
    # The speakers are among the ten that have been there longest. Others spoke in their place.
    assert summary["broadcasts"] == 20
    assert test.errors == ["The test is not complete: 10 connections dropped."]


def test_at_the_end_everybody_leaves_as_fast_as_they_came(start, server):
    words = [*LONG, "--broadcasts", 2, "--spawn-rate", 30, "--processes", 2]
    test = start("--host", server.url, *words)
    test.until_received(server, 3)
    departed = []
    while test.process.poll() is None and len(departed) < 29:
        if len(server.ports) < 30 - len(departed):
            departed.append(time.monotonic())
        time.sleep(0.005)
    test.wait()
    assert test.status == 0, test.output
    assert 0.6 < departed[-1] - departed[0] < 2
    assert test.summary["connections_dropped"] == 0


def test_a_server_that_goes_away_ends_the_test(start):
    with reference_server.run() as server:
        test = start("--host", server.url, *LONG)
        test.until_received(server, 8)
    test.wait()
    assert test.status == 1
    assert test.errors == [
        "Every connection was closed before the last broadcast: closed by the server with code 1001."
    ]
    assert test.summary["connections_dropped"] == 30
    assert test.summary["delivered"] > 0


def test_a_test_that_begins_too_early_to_know_anything_can_be_stopped(start, server):
    test = start("--host", server.url, *LONG, "--users", 200, "--spawn-rate", 10)
    while not server.ports:
        time.sleep(0.02)
    test.process.send_signal(signal.SIGINT)
    test.wait()
    assert test.status == 1
    assert test.summary["expected"] == 0
    assert test.summary["connections"] > 0
