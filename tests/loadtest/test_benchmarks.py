"""The benchmarks as commands. What they measure is theirs to check: `--check`."""

import json
import os
import signal
import subprocess
import sys

import pytest

from benchmarks import broadcasts
from benchmarks.open_connections import open_connections
from chatlab import LabError, poll
from chatlab.paths import ROOT
from loadtest.calibration import reference_server
from tests.support.processes import processes_of


@pytest.fixture
def comparison(tmp_path):
    """`comparison("--rounds", "1")`: the comparison of broadcasts, begun; and what runs on its account."""
    (temporary := tmp_path / "temporary").mkdir()
    begun = []

    def begin(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.broadcasts", *arguments],
            cwd=ROOT, env=os.environ | {"TMPDIR": f"{temporary}"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        begun.append(process)
        return process

    yield begin, lambda: processes_of(tmp_path)
    for process in begun:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_comparison_that_is_ended_leaves_nothing_running(comparison, how):
    begin, running = comparison
    process = begin("--rounds", "1", "--connections", "20")
    poll(lambda: any("emulator" in " ".join(p.cmdline()) for p in running()), "the local cloud to start", timeout_s=60)
    process.send_signal(how)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.endswith("Stopped.\n")
    assert "Traceback" not in said
    assert running() == []


INTERRUPTED = """
import os, signal, sys
from benchmarks.children import child
from chatlab.signals import exit_status

def press_ctrl_c(pipe):
    os.kill(os.getpid(), signal.SIGINT)
    pipe.send("goes on")

def main():
    for _ in range(2):
        with child(press_ctrl_c) as pipe:
            print(pipe.recv())

if __name__ == "__main__":
    sys.exit(exit_status(main))
"""


def test_ctrl_c_ends_no_process_of_a_benchmarks_own(tmp_path):
    (script := tmp_path / "script.py").write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, script], env=os.environ | {"PYTHONPATH": f"{ROOT}"}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n" * 2, "")


def test_a_comparison_of_what_is_no_number_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        broadcasts.main(["--connections", "many"])
    assert capsys.readouterr().err.endswith("argument --connections: invalid numbers value: 'many'\n")


def test_whoever_holds_connections_open_hears_what_is_said_and_leaves_at_the_end():
    with reference_server.run() as server:
        with open_connections(server.url, 120):
            poll(lambda: len(server.ports) == 120, "the last one to be let in", timeout_s=10)
        poll(lambda: not server.ports, "everyone to have left", timeout_s=10)


def test_a_connection_that_is_refused_is_none():
    refuses = pytest.raises(LabError, match=r"^10 connections can't be held open: .* HTTP 403")
    with reference_server.run() as server, refuses:
        server.max_connections = 5
        with open_connections(server.url, 10):
            pytest.fail("There are 10.")


def test_a_connection_that_is_closed_is_missed():
    misses = pytest.raises(LabError, match=r"^10 connections can't be held open: .* 1001")
    with reference_server.run() as server, misses, open_connections(server.url, 10):
        server.close(1)


@pytest.fixture
def server(tmp_path):
    """`server("--rounds", "1")`: the measurement of a server of one's own, begun; and what runs on its account."""
    (temporary := tmp_path / "temporary").mkdir()
    begun = []

    def begin(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", *arguments],
            cwd=ROOT, env=os.environ | {"TMPDIR": f"{temporary}"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        begun.append(process)
        return process

    yield begin, lambda: processes_of(tmp_path)
    for process in begun:
        process.kill()
        process.wait(10)


def test_a_server_is_measured_with_few_and_more_connections_with_tls_and_without(server, tmp_path):
    begin, running = server
    told = tmp_path / "server.json"
    process = begin("--connections", "2", "10", "--rounds", "3", "--json", f"{told}")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    measured, table = (json.loads(told.read_text())[name] for name in ("measured", "table"))
    cases = [("ws", 2), ("ws", 10), ("wss", 2), ("wss", 10)]
    assert [(row["scheme"], row["connections"]) for row in measured] == cases
    for row, shown in zip(measured, table, strict=True):
        assert len(row["us_per_delivery"]) == 3
        assert 0 < shown["least"] <= shown["us_per_delivery"] <= shown["most"]
        assert shown["per_s_4_cores"] == 4 * shown["per_s_one_core"] == 4 * int(1e6 / shown["us_per_delivery"])
        assert shown["kb_per_connection"] > 0
        assert f"{shown['per_s_4_cores']}" in said
    assert running() == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_measurement_that_is_ended_leaves_no_server(server, how):
    begin, running = server
    process = begin("--connections", "20", "--rounds", "100000")
    poll(lambda: any(p.net_connections("tcp") for p in running() if p.pid != process.pid), "the server", timeout_s=60)
    process.send_signal(how)
    said, _ = process.communicate(timeout=60)
    assert "Traceback" not in said
    poll(lambda: not running(), "the server to end", timeout_s=10)


def test_a_measurement_that_needs_more_sockets_than_it_may_have_says_so(server):
    begin, _ = server
    said, _ = (process := begin("--connections", "100000000")).communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith("This needs 100,000,100 open files")
