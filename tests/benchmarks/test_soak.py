"""A soak: what it makes of what it has seen; and in a fraction of a minute, it sees all, ends, and leaves nothing."""

import json
import signal

import numpy as np
import pandas as pd
import pytest

from benchmarks.soak import CLOUD, LOAD_TEST, SPELLS, growth, judge
from chatlab import poll

WHOLE = {
    "expected": 100_000, "delivered": 99_900, "missing": 0, "dropped": 0, "departed": 100, "broadcasts": 900,
    "broadcasts_asked": 900, "connections_dropped": 0, "connections_failed": 0, "warm_up": {"missing": 0},
}  # fmt: skip


def memory(**mb_per_hour):
    """Half an hour of samples of processes that grow at these rates, once a pool is filled, with a little noise."""
    seconds, random = np.arange(5, 1800, 5), np.random.default_rng(1)
    tables = []
    for pid, (who, slope) in enumerate(mb_per_hour.items()):
        mb = 50 + 10 * np.minimum(seconds / 300, 1) + slope * seconds / 3600 + random.normal(0, 0.1, len(seconds))
        mb[::40] += 30  # what is taken for a moment
        tables.append(pd.DataFrame({"seconds": seconds, "who": who, "pid": pid, "mb": mb}))
    return pd.concat(tables, ignore_index=True)


def missed(summary=None, **mb_per_hour):
    table = judge(WHOLE | (summary or {}), growth(memory(**mb_per_hour), 360)).table
    return table["what"][~table["holds"]].tolist()


def test_growth_is_what_is_left_without_the_beginning_and_what_was_taken_for_a_moment():
    (row,) = growth(memory(function=20), 360).to_dict("records")
    assert row["mb_per_hour"] == pytest.approx(20, abs=0.5)
    assert row["low"] < row["mb_per_hour"] < row["high"]
    assert row["grown_mb"] == pytest.approx(20 * row["hours"], abs=0.3)


def test_a_process_that_was_there_for_a_moment_has_not_grown():
    assert growth(memory(function=1).iloc[-2:], 360).empty


def test_nothing_is_missed_where_all_is_well():
    assert missed(function=5, **{LOAD_TEST: 100}) == []


def test_a_leak_is_found_in_a_function_and_in_the_load_test_and_the_emulator_may_have_one():
    assert missed(function=40) == ["MB that function has grown by"]
    assert missed(**{LOAD_TEST: 300}) == ["MB that load test has grown by"]
    assert missed(**{CLOUD: 500}) == []


@pytest.mark.parametrize(
    ("summary", "what"),
    [
        ({"delivered": 99_899}, "deliveries that are not accounted for"),
        ({"delivered": 99_899, "missing": 1}, "deliveries missing"),
        ({"warm_up": {"missing": 1}}, "deliveries missing"),
        ({"connections_dropped": 1}, "connections dropped"),
        ({"connections_failed": 1}, "connections that could not be made"),
        ({"broadcasts": 899}, "broadcasts, of those asked"),
    ],
)
def test_whatever_is_lost_is_found(summary, what):
    assert missed(summary, function=1) == [what]


def soak(begin, minutes, folder):
    """A soak with 20 connections, begun."""
    return begin(
        "soak", "--minutes", minutes, "--connections", "20", "--rate", "2", "--churn", "0.05", "--results", f"{folder}"
    )


@pytest.mark.long
def test_a_soak_sees_every_process_and_every_spell_and_loses_nothing(benchmark, tmp_path):
    (begin, running), folder = benchmark, tmp_path / "results"
    said, _ = (process := soak(begin, "0.4", folder)).communicate(timeout=120)
    assert process.returncode == 0, said
    told = json.loads((folder / "soak.json").read_text())
    (load_test,), (broadcast,) = told["load_test"], told["broadcast"]
    assert load_test["expected"] == load_test["delivered"] + load_test["departed"] > 500
    assert load_test["left"] > 5
    assert broadcast["delivered"] >= load_test["delivered"]
    assert broadcast["throttled"] and broadcast["retried"] > broadcast["throttled"]  # a quota was met, and a failure
    assert len({spell["traits"] for spell in told["spells"]}) == len(set(SPELLS))
    functions = {f"soak-{name}" for name in ("connect", "default", "disconnect")}
    assert {row["who"] for row in told["growth"]} == functions | {CLOUD, LOAD_TEST}
    assert (pd.read_csv(folder / "memory.csv").groupby("who").size() > 20).all()
    assert running() == []


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_soak_that_is_ended_gives_what_it_has_and_leaves_nothing_running(benchmark, tmp_path, how):
    (begin, running), folder = benchmark, tmp_path / "results"
    process = soak(begin, "10", folder)

    def delivered():
        return json.loads((folder / "progress.json").read_text()).get("delivered", 0)

    poll(lambda: delivered() > 100, "the first deliveries", timeout_s=120, ignoring=(OSError, ValueError))
    process.send_signal(how)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.endswith("Stopped.\n"), said
    assert "Traceback" not in said
    assert json.loads((folder / "soak.json").read_text())["load_test"][0]["delivered"] > 50
    assert running() == []
