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


def distributed(start, url, tmp_path, locustfiles, **options):
    """A master, and a worker for each of these locustfiles' code, which runs before the load test's own."""
    port = free_port()
    master = start(
        *["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port],
        *["--expect-workers", len(locustfiles), "--host", url, *WORDS],
        **options,
    )
    workers = []
    for k, code in enumerate(locustfiles):
        (locustfile := tmp_path / f"locustfile_{k}.py").write_text(f"{code}\nfrom loadtest.locustfile import *\n")
        words = ["--worker", "--master-host", "127.0.0.1", "--master-port", port]
        workers.append(start(*words, folder=tmp_path / f"worker-{k}", locustfile=locustfile, **options))
    master.wait()
    assert [worker.wait().status for worker in workers] == [0] * len(workers)
    return master


@pytest.mark.slow
def test_workers_with_wrong_clocks_measure_the_same(start, tmp_path):
    with reference_server.run(delay(5)) as server:
        codes = [wrong_clock(seconds) + "set_clock()" for seconds in (2, -3)]
        test = distributed(start, server.url, tmp_path, codes, forked=False)
        sent = server.sent()
    assert test.status == 0, test.output
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


def test_a_report_on_its_way_at_the_end_counts(start, tmp_path):
    """Workers hand over what they have every three seconds: also just before they are asked for the rest, or after."""
    report_first = (
        "from loadtest.generator import Part\n"
        "hand_over = Part.hand_over\n"
        "def report_first(self, final=False):\n"
        "    hand_over(self)\n"
        "    hand_over(self, final)\n"
        "    hand_over(self)\n"
        "Part.hand_over = report_first\n"
    )
    with reference_server.run() as server:
        test = distributed(start, server.url, tmp_path, [report_first])
    assert test.status == 0, test.output
    assert (test.summary["expected"], test.summary["delivered"]) == (480, 480)


def test_nobody_else_speaks_to_the_master(start):
    """Its port is on loopback, which all users of the machine share. Nothing that they send is read."""
    port = free_port()
    forged = msgpack.dumps(("exception", {"msg": "\x1b[31mforged", "traceback": ""}, "x"))
    messages = [b"", forged, *5 * [bytes(100_000_000)]]
    with reference_server.run() as server:
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


def test_a_worker_that_dies_is_said_and_the_others_results_are_kept(start, tmp_path):
    with reference_server.run() as server:
        port = free_port()
        master = start(
            *["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", 2],
            *["--host", server.url, "--users", 20, "--broadcasts", 20, "--broadcast-rate", 10, "--speakers", 2],
        )
        workers = [
            start("--worker", "--master-host", "127.0.0.1", "--master-port", port, folder=tmp_path / f"{k}")
            for k in range(2)
        ]
        master.until_received(server, 20)
        workers[0].process.kill()
        master.wait()
    assert master.status == 1
    assert master.errors == ["1 of 2 workers did not hand over their last records."]
    assert master.summary["delivered"] > 10 * 10  # one of them has all of its own
    assert master.summary["missing"] == 0
    assert master.summary["connections_dropped"] == 10
