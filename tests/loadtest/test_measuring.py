"""A load test measures what a server does."""

from dataclasses import replace

import numpy as np
import pytest
from websockets.sync.client import connect

from loadtest import live, messages
from loadtest.calibration import reference_server
from loadtest.calibration.calibrate import Case, delay
from loadtest.calibration.reference_server import Faults

SMALL = "--users 40 --broadcasts 10 --broadcast-rate 10 --speakers 3 --warm-up 1".split()


def test_a_complete_test(run, server):
    words = ["--html", "report.html", "--max-connection-rate", 40]
    test = run("--host", server.url, *SMALL, *words)
    (live.ROOT / "report.html").unlink()
    summary, result = test.summary, test.result
    assert test.status == 0, test.output
    assert (summary["complete"], summary["clock"]) == (True, "kernel")
    counts = [summary[name] for name in ("connections", "broadcasts", "expected", "delivered")]
    assert counts == [40, 10, 400, 400]
    assert result.broadcasts["speaker"].nunique() == 3
    assert result.broadcasts["phase"].eq(0).all()
    requests = {name: entry["num_requests"] for name, entry in test.statistics.items()}
    assert requests == {"connect": 40, "send": 11, "delivery": 440}
    started_ns = np.sort(result.connections["started_ns"])
    # All at once would take 0.05 s. Where the machine is busy, the first begins a little late.
    assert (started_ns[-1] - started_ns[0]) / 1e9 >= 39 / 40 * 0.8


def test_latency_is_right_to_a_fraction_of_a_millisecond_and_exactly_the_faults_are_found(measure):
    faults = replace(delay(5), drop=0.05, double=0.05, reorder=0.05)
    reading = measure(Case("faults", faults, connections=60, broadcasts=10, broadcast_rate=10))
    metrics = reading.metrics()
    assert metrics["truth_ms"]["p50"] > 5
    assert abs(metrics["error_ms"]["p50"]) < 0.3
    assert abs(metrics["error_ms"]["p99"]) < 0.3
    for fault in reading.detected_faults.values():
        assert fault["truth"] > 0
        assert fault["wrong"] == 0


def test_wss_is_measured_as_exactly(measure):
    metrics = measure(Case("wss", connections=50, broadcasts=8, broadcast_rate=10, tls=True)).metrics()
    assert metrics["clock"] == "kernel"
    assert (metrics["delivered"], metrics["missing"]) == (50 * 8, 0)
    assert abs(metrics["error_ms"]["p50"]) < 0.5


def test_a_certificate_that_nobody_vouches_for_is_refused(run, tmp_path):
    with reference_server.run(tls=reference_server.server_tls(tmp_path / "ca.pem")) as server:
        test = run("--host", server.url, "--users", 2)
    assert test.status == 1
    assert "certificate verify failed" in test.errors[0]


def test_a_stopped_reader_is_not_taken_for_a_slow_server(measure):
    case = Case("stalled", delay(20), connections=50, broadcasts=12, stall=True)
    for _ in range(3):  # a busy machine's noise is not in each of three; the time for which the reader stood still is
        metrics = measure(case).metrics()
        assert metrics["harness_lag_ms"]["max"] > 100
        errors_ms = [abs(metrics["error_ms"][name]) for name in ("p50", "p99")]
        if max(errors_ms) < 0.3:
            break
    assert max(errors_ms) < 0.3, errors_ms


def test_steps_give_latency_by_number_of_connections(run):
    growing = Faults(delay_ms=lambda random, n: np.arange(n) * 5.0)  # five milliseconds for each connection
    with reference_server.run(growing) as server:
        test = run(
            *["--host", server.url, "--shape", "steps", "--steps", "5,20,40"],
            *["--broadcasts", 4, "--broadcast-rate", 10, "--warm-up", 0],
        )
    phases = test.summary["phases"]
    assert test.status == 0, test.output
    assert [phase["expected"] for phase in phases] == [20, 80, 160]
    last_ms = [phase["last_delivery_ms"]["p50"] for phase in phases]
    assert last_ms[0] < last_ms[1] < last_ms[2]


def test_a_ramp_connects_while_it_broadcasts(run, server):
    test = run(
        *["--host", server.url, "--shape", "ramp", "--users", 60],
        *["--broadcasts", 8, "--broadcast-rate", 2, "--warm-up", 0],
    )
    assert test.status == 0, test.output
    assert test.result.broadcasts["expected"].is_monotonic_increasing
    assert test.result.broadcasts["expected"].nunique() > 2
    assert test.summary["missing"] == 0


def test_broadcasts_leave_on_their_schedule_whatever_the_system_does(run):
    with reference_server.run(delay(400)) as server:
        test = run(
            *["--host", server.url, "--users", 5, "--warm-up", 0],
            *["--arrivals", "poisson", "--seed", 7, "--broadcasts", 30, "--broadcast-rate", 20],
            *["--payload-bytes", messages.MAX_BYTES],  # the largest message is measured, too
        )
    intended_ns = test.result.broadcasts["intended_ns"].to_numpy()
    truth = np.random.default_rng(7).exponential(1 / 20, 30).cumsum()
    assert (intended_ns - intended_ns[0]) / 1e9 == pytest.approx(truth - truth[0], abs=1e-6)
    assert test.summary["send_late_ms"]["p50"] < 100  # who waits for the answers is seconds late
    assert test.summary["latency_ms"]["p50"] > 400
    assert test.summary["delivered"] == 5 * 30


def test_foreign_messages_are_counted_and_do_no_harm(start, server):
    test = start("--host", server.url, *SMALL, "--broadcasts", 20)
    with connect(server.url, compression=None, close_timeout=0.1) as stranger:
        while not server.received:  # the first broadcast is under way
            stranger.recv(timeout=30)
        for text in ["hello", "", "{}", '{"type":"load"}', "\N{PARTY POPPER}" * 1_000, "x" * messages.MAX_BYTES]:
            stranger.send(text)
        stranger.send(messages.encode("another-run", 3, 1, 1, 200))
        stranger.send(messages.encode("another-run", 999_999, 1, 1, 200))
        test.wait()
    assert test.status == 0, test.output
    assert (test.summary["delivered"], test.summary["missing"]) == (800, 0)
    assert test.summary["foreign"] == 8 * 40


def test_people_come_and_leave_and_everybody_who_stays_hears_everything(run):
    with reference_server.run(delay(50)) as server:
        test = run(
            *["--host", server.url, "--users", 40, "--speakers", 3, "--warm-up", 0],
            *["--churn", 0.2, "--broadcasts", 60, "--broadcast-rate", 20, "--processes", 2],
        )
    summary, connections = test.summary, test.result.connections
    assert test.status == 0, test.output
    assert 5 < summary["connections_left"] < 60  # 24 are likely: 20 % of 40 for 3 s
    assert summary["connections"] == 40 + summary["connections_left"]
    assert not set(test.result.broadcasts["speaker"]) & set(connections.loc[connections["left"], "connection"])
    assert summary["expected"] == summary["delivered"] + summary["departed"]
    most_under_way = summary["latency_ms"]["max"] / 50 + 2  # a broadcast is due every 50 ms
    assert 0 < summary["departed"] <= most_under_way * summary["connections_left"]
    stayed = connections[(connections["opened_ns"] < test.result.broadcasts["sent_ns"].min()) & ~connections["left"]]
    assert len(stayed) >= 3
    assert (stayed["delivered"] == 60).all()
    open_at_once = test.result.broadcasts["expected"]
    assert open_at_once.between(36, 40).all(), open_at_once  # each is replaced at once


@pytest.mark.parametrize("processes", [1, 2])
def test_what_arrives_after_the_drain_time_is_missing_in_one_process_and_in_workers(run, processes):
    with reference_server.run(delay(1_200)) as server:
        test = run(
            *["--host", server.url, "--users", 20, "--broadcasts", 6, "--broadcast-rate", 2, "--warm-up", 0],
            *["--drain-time", 0.5, *(["--processes", processes] if processes > 1 else [])],
        )
    # The last broadcast's deliveries arrive 0.7 s too late, those of the one before it 0.2 s.
    assert test.result.broadcasts["delivered"].tolist() == [20] * 4 + [0] * 2
    assert (test.summary["missing"], test.summary["unexpected"] >= 20) == (40, True)
