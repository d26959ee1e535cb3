"""A benchmark in a process of its own."""

import os
import signal
import subprocess
import sys

import pytest

from chatlab.paths import ROOT
from tests.support.processes import processes_of


@pytest.fixture
def benchmark(tmp_path):
    """`benchmark("server", "--rounds", "1")`: a benchmark, begun; and a function for what runs on its account."""
    (temporary := tmp_path / "temporary").mkdir()
    begun = []

    def begin(name, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{name}", *arguments],
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
