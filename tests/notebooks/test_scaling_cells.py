"""Cells of notebook 08, with measurements that a machine may give."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from chatlab import scaling
from chatlab.packages import FAST
from chatlab.paths import NOTEBOOKS

CELLS = {
    cell["id"]: "".join(cell["source"])
    for cell in json.loads((NOTEBOOKS / "08_how_many.ipynb").read_text())["cells"]
    if cell["cell_type"] == "code"
}
STEPS = [20, 80, 160]


def run_lines(ms, tmp_path):
    """Run the cells that fit a line and that verify it, where a broadcast takes `ms(connections, number)`."""
    rows = [(False, step, ms(step, number)) for step in STEPS for number in range(8)]
    table = pd.DataFrame(rows, columns=["warm_up", "expected", "last_ms"])
    summary = {"missing": 0, "duplicate": 0, "delivered": 8 * sum(STEPS)}
    names = {"measured": SimpleNamespace(broadcasts=table, summary=summary), "np": np, "scaling": scaling}
    names |= {"STEPS": STEPS, "lab": None, "require_deployed": lambda lab: FAST, "FAST": FAST}
    names |= {"run": tmp_path, "display_path": str, "BROADCAST_RATE": 4}
    exec(CELLS["08-08"], names)
    exec(CELLS["08-27"], names)
    return names


@pytest.mark.parametrize(
    "ms",
    [
        lambda step, number: 80.0,
        lambda step, number: 300 - step / 5,
        lambda step, number: {20: 19.0, 80: 101.0, 160: 76.0}[step] + number,
        lambda step, number: step / 10 + 100 * (number % 3),
    ],
    ids=["flat", "falling", "up and down", "noisy"],
)
def test_a_slope_that_is_not_known_is_a_sentence_and_no_number(ms, tmp_path, capsys):
    names = run_lines(ms, tmp_path)
    said = capsys.readouterr().out
    assert "is not known" in said and "run this notebook again" in said
    assert "posts a second" not in said
    assert not names["holds"]
    assert "do not extend it to larger rooms" in said


def test_a_line_that_stands_out_is_one_and_meets_the_largest_step(tmp_path, capsys):
    names = run_lines(lambda step, number: 40 + step / 2 + 3 * (number % 3), tmp_path)
    said = capsys.readouterr().out
    assert names["slope"] == pytest.approx(0.5, rel=0.05)
    assert "posts a second" in said and "no more than chance" in said
    assert sorted(path.name[:3] for path in (tmp_path / "plots").iterdir()) == ["8-1"]


def test_a_line_that_bends_is_not_drawn_on(tmp_path, capsys):
    names = run_lines(lambda step, number: 10 + step**2 / 100 + number, tmp_path)
    assert names["grows"] and not names["holds"]
    said = capsys.readouterr().out
    assert "The line does not hold" in said
    assert "8 broadcasts were not over when the next one began" in said
