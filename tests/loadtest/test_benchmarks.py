"""The benchmarks as commands. What they measure is theirs to check: `--check`."""

import os
import signal
import subprocess
import sys

import pytest

from chatlab import poll
from chatlab.paths import ROOT
from tests.conftest import processes_of


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


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
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


def test_a_comparison_of_what_is_no_number_is_refused(comparison):
    begin, _ = comparison
    said, _ = (process := begin("--connections", "many")).communicate(timeout=60)
    assert process.returncode == 2
    assert said.endswith("argument --connections: invalid numbers value: 'many'\n")
