"""What the benchmarks share: variables, processes of their own, and bounds."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.support import Bounds, environment, report
from chatlab import LabError
from chatlab.paths import ROOT


def test_a_benchmarks_variables_are_put_back(monkeypatch):
    monkeypatch.setenv("WAS_SET", "before")
    monkeypatch.delenv("WAS_NOT_SET", raising=False)
    monkeypatch.setenv("IS_UNSET", "before")
    within = {"WAS_SET": "within", "WAS_NOT_SET": "within", "IS_UNSET": None}
    before = dict(os.environ)
    with pytest.raises(KeyError), environment(within):
        assert {name: os.environ.get(name) for name in within} == within
        raise KeyError
    assert dict(os.environ) == before


def test_a_bound_that_does_not_hold_is_named_and_everything_is_written(tmp_path):
    bounds = Bounds()
    bounds.at_most("lost", 1, 0)
    bounds.at_most("late", 1, 1)
    bounds.at_least("rate", 0.5, 0.6)
    bounds.at_least("share", 0.6, 0.6)
    with pytest.raises(LabError, match=r"^This does not hold: lost: 1, .* <= 0; rate: 0.5, .* >= 0.6\.$"):
        report(bounds, tmp_path / "all.json", check=True, speed=bounds.table)
    written = json.loads((tmp_path / "all.json").read_text())
    assert [row["holds"] for row in written["bounds"]] == [False, True, False, True]
    assert written["speed"] == written["bounds"] and written["machine"]["cores"]
    report(bounds, None, check=False)


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
