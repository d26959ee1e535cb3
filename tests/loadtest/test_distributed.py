"""Workers, on one machine and with clocks of their own."""

from contextlib import suppress

import msgpack
import pytest
import zmq

from loadtest.calibration import readings, reference_server
from loadtest.calibration.calibrate import delay
from tests.support.load_tests import free_port, wrong_clock
from tests.support.processes import documented, what_listens

WORDS = "--users 40 --broadcasts 12 --broadcast-rate 6 --speakers 4".split()


def distributed(start, server, tmp_path, codes, *more, **options):
    """A master, and a worker for each of these codes of a locustfile; all begun."""
    port = free_port()
    master = start(
        *["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port],
        *["--expect-workers", len(codes), "--host", server.url, *WORDS, *more],
        **options,
    )
    words = ["--worker", "--master-host", "127.0.0.1", "--master-port", port]
    return master, [
        start(*words, folder=tmp_path / f"worker-{k}", code=code, **options) for k, code in enumerate(codes)
    ]


@pytest.mark.slow
def test_workers_with_wrong_clocks_measure_the_same(start, tmp_path):
    with reference_server.run(delay(5)) as server:
        codes = [wrong_clock(seconds) + "set_clock()" for seconds in (2, -3)]
        test, workers = distributed(start, server, tmp_path, codes)
        test.wait()
        sent = server.sent()
    assert [run.wait().status for run in (test, *workers)] == [0, 0, 0], test.output
    summary = test.summary
    assert (summary["expected"], summary["delivered"]) == (480, 480)
    # How near the offsets come to the truth depends on the machine; that they are as near as they say does not.
    uncertainty_ms = max(process["clock_uncertainty_ms"] for process in summary["processes"]) + 0.001  # as rounded
    assert uncertainty_ms < 500  # clocks are wrong by seconds
    offsets_ms = sorted(process["clock_offset_ms"] for process in summary["processes"])
    assert offsets_ms == pytest.approx([-2_000, 3_000], abs=uncertainty_ms)
    rows = readings.with_truth(test.result, sent)
    assert (rows["latency_ms"] - rows["truth_ms"]).abs().median() < uncertainty_ms + 0.5
    assert abs(summary["send_late_ms"]["p50"]) < 100
    in_locusts_statistics = test.statistics["delivery"]
    assert 0 <= in_locusts_statistics["min_response_time"] <= in_locusts_statistics["max_response_time"] < 2_000
    assert not (tmp_path / "worker-0").exists()  # records travel to the master; workers write nothing


def test_a_report_on_its_way_at_the_end_counts(start, tmp_path, server):
    """Workers hand over what they have every three seconds: also just before they are asked for the rest, or after."""
    report_first = """
        from loadtest.generator import Part
        hand_over = Part.hand_over
        def report_first(self, final=False):
            hand_over(self)
            hand_over(self, final)
            hand_over(self)
        Part.hand_over = report_first
    """
    test, workers = distributed(start, server, tmp_path, [report_first])
    assert test.wait().status == workers[0].wait().status == 0, test.output
    assert (test.summary["expected"], test.summary["delivered"]) == (480, 480)


def test_nobody_else_speaks_to_the_master(start, server):
    """Its port is on loopback, which all users of the machine share. Nothing that they send is read."""
    port = free_port()
    forged = msgpack.dumps(("exception", {"msg": "\x1b[31mforged", "traceback": ""}, "x"))
    messages = [b"", forged, *5 * [bytes(100_000_000)]]
    words = ["--processes", 1, "--master-bind-port", port, "--master-port", port]
    test = start("--host", server.url, *WORDS, *words, environment={"LOADTEST_SECRET": ""})
    test.until_received(server, 1)
    strangers = [zmq.Context.instance().socket(zmq.DEALER) for _ in messages]
    for number, (stranger, message) in enumerate(zip(strangers, messages, strict=True)):
        stranger.identity = b"%d" % number  # Locust reads nothing that comes without one
        stranger.connect(f"tcp://127.0.0.1:{port}")
        with suppress(zmq.Again):  # it may have been refused already
            stranger.send(message, zmq.NOBLOCK)
    test.wait()
    for stranger in strangers:
        stranger.close(linger=0)
    assert test.status == 0, test.output
    assert test.summary["delivered"] == 480
    assert "forged" not in test.output
    assert "The master has refused 4 handshakes of processes that do not know its secret." in test.output


def test_a_master_has_a_secret_and_ends_a_worker_with_another_one(start, tmp_path):
    words = ["--master", "--master-bind-port", free_port(), "--host", "ws://127.0.0.1:1/", "--expect-workers", 1]
    without = start(*words, environment={"LOADTEST_SECRET": ""}).wait()
    assert (without.status, without.errors[0][:19]) == (1, "Set LOADTEST_SECRET")
    start(*words, environment={"LOADTEST_SECRET": "one"})
    worker = start("--worker", "--master-port", words[2], environment={"LOADTEST_SECRET": "another"}).wait()
    assert worker.status == 1
    assert worker.errors == ["The master refused this worker: set LOADTEST_SECRET to the same secret for both."]


@pytest.mark.slow
def test_processes_share_the_connections(start, tmp_path):
    environment = {"OF_THIS_TEST": f"{tmp_path}/"}
    with reference_server.run() as server, what_listens(tmp_path) as listened:
        words = ["--host", server.url, *WORDS, "--processes", 2]
        test = start(*words, environment=environment, forked=False).wait()
    assert listened == documented("a load test with workers")
    assert test.status == 0, test.output
    assert [process["connections"] for process in test.summary["processes"]] == [20, 20]
    assert (test.summary["expected"], test.summary["delivered"]) == (480, 480)
    assert test.result.connections["connection"].is_unique
    assert test.statistics["delivery"]["num_requests"] == 14 * 40  # the warm-up's too


def test_a_worker_that_dies_is_said_and_the_others_results_are_kept(start, tmp_path, server):
    master, workers = distributed(start, server, tmp_path, ["", ""], "--broadcasts", 20, "--broadcast-rate", 10)
    master.until_received(server, 20)  # after the first records were handed over
    workers[0].process.kill()
    master.wait()
    assert master.status == 1
    assert master.errors == ["1 of 2 workers did not hand over their last records."]
    assert master.summary["delivered"] > 10 * 20  # one of them has all of its own
    assert master.summary["missing"] == 0
    assert master.summary["connections_dropped"] == 20
