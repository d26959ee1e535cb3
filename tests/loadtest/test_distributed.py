"""Workers, on one machine and with clocks of their own."""

import pytest

from loadtest.calibration import readings, reference_server
from loadtest.calibration.cases import delay
from tests.support.load_tests import free_port, wrong_clock
from tests.support.processes import listening

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
    assert not (tmp_path / "worker-0").exists()  # records travel to the master; workers write nothing


def test_a_report_on_its_way_at_the_end_counts(start, tmp_path):
    """Workers hand over what they have every three seconds, and so just before they are asked for the rest, too."""
    report_first = (
        "from loadtest.worker_reporter import WorkerReporter\n"
        "hand_over = WorkerReporter.hand_over\n"
        "def report_first(self, final=False):\n"
        "    hand_over(self)\n"
        "    hand_over(self, final)\n"
        "WorkerReporter.hand_over = report_first\n"
    )
    with reference_server.run() as server:
        test = distributed(start, server.url, tmp_path, [report_first])
    assert test.status == 0, test.output
    assert (test.summary["expected"], test.summary["delivered"]) == (480, 480)


@pytest.mark.slow
def test_processes_share_the_connections(start):
    with reference_server.run() as server:
        test = start("--host", server.url, *WORDS, "--processes", 2, forked=False)
        test.until_received(server, 1)
        assert {host for host, _ in listening(test.process.pid)} == {"127.0.0.1"}
        test.wait()
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
