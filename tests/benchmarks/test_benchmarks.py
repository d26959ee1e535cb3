"""The benchmarks as commands, and what they share. What they measure is theirs to check: `--check`."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from benchmarks import compare, server
from benchmarks.broadcasts import open_connections
from chatlab import LabError, cli, poll
from chatlab.paths import ROOT
from loadtest.calibration import reference_server


@pytest.mark.parametrize("command", ["broadcasts --rounds 1 --connections 20", "compare --before HEAD"])
def test_a_comparison_that_is_ended_leaves_nothing_running(benchmark, command, tmp_path):
    begin, running = benchmark
    process = begin(*command.split())
    poll(lambda: any("emulator" in " ".join(p.cmdline()) for p in running()), "the local cloud to start", timeout_s=60)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.endswith("Stopped.\n")
    assert "Traceback" not in said
    assert running() == [] and not list((tmp_path / "temporary").iterdir())


@pytest.mark.long
def test_two_commits_are_measured_in_turn_and_nothing_is_left(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_RUN", f"{tmp_path / 'results'}")
    begin, running = benchmark
    process = begin(*"compare --before HEAD --runs 2 --connections 5 --broadcasts 10".split())
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    turns = re.findall(r"^(\w), run (\d): 5/5 were connected, 10/10 broadcasts", said, re.MULTILINE)
    assert turns == [("A", "1"), ("B", "1"), ("A", "2"), ("B", "2")]
    assert "as long to reach everybody (" in said
    first, second = ([f"{tmp_path / 'results' / f'{name}{number}'}" for number in (1, 2)] for name in "AB")
    assert cli.main(["compare", *first, "--with", *second]) == 0
    assert running() == [] and not list((tmp_path / "temporary").iterdir())
    with pytest.raises(LabError, match=r"^git has no files of no-such-commit: "):
        compare.extract("no-such-commit", tmp_path / "nothing")


def test_connections_are_held_open_until_the_end_and_a_refused_or_closed_one_is_a_sentence():
    with reference_server.run() as other:
        with open_connections(other.url, 20):
            poll(lambda: len(other.ports) == 20, "the last one to be let in", timeout_s=10)
        poll(lambda: not other.ports, "everyone to have left", timeout_s=10)
        with (
            pytest.raises(LabError, match=r"^10 connections can't be held open: .* 1001"),
            open_connections(other.url, 10),
        ):
            other.close(1)
        poll(lambda: not other.ports, "everyone to have left", timeout_s=10)
        other.max_connections = 5
        with (
            pytest.raises(LabError, match=r"^10 connections can't be held open: .* HTTP 403"),
            open_connections(other.url, 10),
        ):
            pytest.fail("There are 10.")


def test_a_server_is_measured_with_few_and_more_connections_with_tls_and_without(benchmark, tmp_path):
    begin, running = benchmark
    told = tmp_path / "server.json"
    process = begin("server", "--connections", "2", "10", "--rounds", "3", "--json", f"{told}")
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


def test_a_measurement_that_is_killed_leaves_no_server(benchmark):
    begin, running = benchmark
    process = begin("server", "--connections", "20", "--rounds", "100000")
    poll(lambda: any(p.net_connections("tcp") for p in running() if p.pid != process.pid), "the server", timeout_s=60)
    process.kill()
    process.communicate(timeout=60)
    poll(lambda: not running(), "the server to end", timeout_s=10)


def test_a_measurement_that_needs_more_sockets_than_it_may_have_says_so():
    with pytest.raises(LabError, match=r"^This needs 100,000,100 open files"):
        server.main(["--connections", "100000000"])


# --- what they share: processes of their own --------------------------------------------------------------------------


INTERRUPTED = """
import os, signal, sys
from benchmarks.endpoint import child
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
