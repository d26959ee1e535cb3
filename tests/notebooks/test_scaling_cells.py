"""Cells of notebook 08, with data and answers that AWS may give and the local cloud does not."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import boto3
import pandas as pd
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.stub import Stubber
from scipy import stats

from chatlab import LabError, limits
from chatlab.lab import STAGE
from chatlab.paths import NOTEBOOKS

CELLS = {
    cell["id"]: "".join(cell["source"])
    for cell in json.loads((NOTEBOOKS / "08_how_many.ipynb").read_text())["cells"]
    if cell["cell_type"] == "code"
}
STEPS = {"fanout": [62, 125, 250, 500, 1_000], "sequential": [62, 125, 250]}


def run(cell, **names):
    """Run a cell of the notebook with these names; return the names afterwards."""
    names |= {"pd": pd, "LabError": LabError, "STEPS": STEPS}
    exec(CELLS[cell], names)
    return names


def run_lines(ms):
    """Run the cells that fit lines, where a broadcast takes `ms(connections, number)`; return their names."""
    measured = {
        variant: SimpleNamespace(
            broadcasts=pd.DataFrame(
                [(False, step, ms(step, number)) for step in steps for number in range(8)],
                columns=["warm_up", "expected", "last_ms"],
            )
        )
        for variant, steps in STEPS.items()
    }
    fits = run("07-08", measured=measured, stats=stats)
    names = {name: fits[name] for name in ("broadcasts", "fitted", "fits")}
    return run("07-14", replace=replace, limits=limits, parameters=limits.DEFAULT, **names)


@pytest.mark.parametrize(
    "ms", [lambda step, number: 80.0, lambda step, number: 300 - step / 5], ids=["flat", "falling"]
)
def test_a_slope_that_is_not_known_is_a_sentence_and_no_number_follows_from_it(ms, capsys):
    names = run_lines(ms)
    said = capsys.readouterr().out
    assert "fanout: one more connection costs between" in said and "Run this notebook again." in said
    assert "Nothing can be foreseen" in said
    assert names["fits"]["posts a second"].isna().all()
    assert names["foreseen_ms"] is None


def test_a_line_that_stands_out_is_one(capsys):
    names = run_lines(lambda step, number: 40 + step / 8 + 10 * (number % 3))
    assert names["fits"].loc["fanout", "posts a second"] == pytest.approx(8_000, rel=0.05)
    assert names["foreseen_ms"] == pytest.approx(names["found_ms"], rel=0.1)
    assert "can't be told" not in capsys.readouterr().out


def ask_cloudwatch(answers):
    """Run the cell that asks CloudWatch, which gives these answers; its table, or None."""
    cloudwatch = boto3.client("cloudwatch", "eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    waited = []

    def poll(check, what, timeout_s, every_s):
        waited.append(timeout_s)
        for _ in range(3):
            if check():
                return
        raise LabError(f"Waited for {what}, in vain.")

    began = datetime(2026, 11, 25, 10, 0, 30, tzinfo=UTC)
    first = pd.DataFrame({"warm_up": [False], "intended_ns": [int(began.timestamp() * 1e9)], "last_ms": [120.0]})
    lab = SimpleNamespace(client=lambda service: cloudwatch, require_api=lambda: "api")
    with Stubber(cloudwatch) as stub:
        answers(stub)
        names = run(
            "07-25",
            lab=lab, function="chat-default", STAGE=STAGE, timedelta=timedelta, poll=poll, ClientError=ClientError,
            BotoCoreError=BotoCoreError, began=began, ended=began + timedelta(seconds=40),
            measured={"fanout": SimpleNamespace(broadcasts=first)},
        )  # fmt: skip
        stub.assert_no_pending_responses()
    assert waited == [120]
    return names["parts"]


def test_cloudwatchs_refusal_and_figures_that_do_not_come_are_notes(capsys):
    def nothing(stub):
        for _ in range(3):
            stub.add_response("get_metric_statistics", {"Datapoints": []})

    assert ask_cloudwatch(lambda stub: stub.add_client_error("get_metric_statistics", "AccessDenied")) is None
    assert "AccessDenied" in capsys.readouterr().out
    assert ask_cloudwatch(nothing) is None
    assert "Without CloudWatch's figures" in capsys.readouterr().out


def test_figures_that_come_late_and_not_all_are_a_table_beside_the_clients():
    def answers(stub):
        at = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
        point = {"Timestamp": at, "Average": 12.0, "Sum": 0.0, "Maximum": 3.0}
        stub.add_response("get_metric_statistics", {"Datapoints": []})
        stub.add_response("get_metric_statistics", {"Datapoints": [point]})
        for number in range(7):
            stub.add_response("get_metric_statistics", {"Datapoints": [point] if number % 2 else []})

    table = ask_cloudwatch(answers)
    assert len(table) == 1
    assert table["post_ms (Average)"].tolist() == [12.0]
    assert table["time to last delivery, client (median)"].tolist() == [120.0]
    assert table["IntegrationLatency (Average)"].isna().all()
