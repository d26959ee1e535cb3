"""A soak of a fraction of a minute: that it sees what there is, ends by itself, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest

from benchmarks.memory import CLOUD, LOAD_TEST
from benchmarks.soak import SPELLS
from chatlab import poll
from chatlab.paths import ROOT
from tests.support.processes import processes_of


@pytest.fixture
def soak(tmp_path):
    """A soak with 20 connections, begun; its folder; and what runs on its account."""
    (temporary := tmp_path / "temporary").mkdir()
    begun = []

    def begin(minutes):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak", "--minutes", minutes, "--connections", "20", "--rate", "2",
             "--churn", "0.05", "--results", f"{tmp_path / 'results'}"],
            cwd=ROOT, env=os.environ | {"TMPDIR": f"{temporary}"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        begun.append(process)
        return process

    yield begin, tmp_path / "results", lambda: processes_of(tmp_path)
    for process in begun:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def told(folder):
    return json.loads((folder / "soak.json").read_text())


@pytest.mark.long
def test_a_soak_sees_every_process_and_every_spell_and_loses_nothing(soak):
    begin, folder, running = soak
    said, _ = (process := begin("0.4")).communicate(timeout=120)
    assert process.returncode == 0, said
    ((load_test,), (broadcast,)) = (told(folder)[name] for name in ("load_test", "broadcast"))
    assert load_test["expected"] == load_test["delivered"] + load_test["departed"] > 500
    assert load_test["left"] > 5
    assert broadcast["delivered"] >= load_test["delivered"]
    assert broadcast["throttled"] and broadcast["retried"] > broadcast["throttled"]  # a quota was met, and a failure
    assert len({spell["traits"] for spell in told(folder)["spells"]}) == len(set(SPELLS))
    functions = {f"soak-{name}" for name in ("connect", "default", "disconnect")}
    assert {row["who"] for row in told(folder)["growth"]} == functions | {CLOUD, LOAD_TEST}
    assert (pd.read_csv(folder / "memory.csv").groupby("who").size() > 20).all()
    assert (folder / "memory.png").stat().st_size > 10_000
    assert running() == []


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_soak_that_is_ended_gives_what_it_has_and_leaves_nothing_running(soak, how):
    begin, folder, running = soak
    process = begin("10")

    def is_under_way():
        try:
            return json.loads((folder / "progress.json").read_text()).get("delivered", 0) > 100
        except (OSError, ValueError):
            return False

    poll(is_under_way, "the first deliveries", timeout_s=120)
    process.send_signal(how)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.endswith("Stopped.\n"), said
    assert "Traceback" not in said
    assert told(folder)["load_test"][0]["delivered"] > 50
    assert running() == []
