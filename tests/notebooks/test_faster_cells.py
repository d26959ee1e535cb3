"""Cells of notebook 07 where something goes wrong, or costs too much."""

import json
import sys
from types import SimpleNamespace

import pytest

from chatlab import LabError, cost
from chatlab.packages import FAST
from chatlab.paths import NOTEBOOKS

CELLS = {
    cell["id"]: "".join(cell["source"])
    for cell in json.loads((NOTEBOOKS / "07_faster.ipynb").read_text())["cells"]
    if cell["cell_type"] == "code"
}


@pytest.mark.parametrize("error", [KeyboardInterrupt, LabError("the load test failed")])
def test_a_step_that_is_stopped_or_fails_leaves_the_fast_broadcast_deployed(tmp_path, error):
    def watch(process, folder):
        raise error

    nobody = SimpleNamespace(paginate=lambda **_: [{"Count": 0}])
    deployed = []
    processes = SimpleNamespace(Popen=lambda *_, **__: None, PIPE=None, STDOUT=None)
    names = {
        "lab": SimpleNamespace(table="chat", client=lambda service: SimpleNamespace(get_paginator=lambda name: nobody)),
        "deploy": lambda lab, part, package, handler: deployed.append((part, package, handler)),
        "build_package": lambda part: f"the package of {part}", "FAST": FAST, "live": SimpleNamespace(watch=watch),
        "subprocess": processes, "sys": sys, "ROOT": tmp_path, "run": tmp_path, "url": "ws://127.0.0.1",
        "CONNECTIONS": 100, "EACH": 8, "quotas": SimpleNamespace(concurrency=10),
    }  # fmt: skip
    exec(CELLS["07-measure"], names)
    with pytest.raises(error if isinstance(error, type) else LabError):
        names["measure"]("threads", 270.0, "the package of a step", "lambda_threads.handler")
    fast = ("default", "the package of default", FAST)
    assert deployed == [("default", "the package of a step", "lambda_threads.handler"), fast]


def test_on_aws_load_tests_that_cost_too_much_are_not_begun(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_RUN", str(tmp_path))
    monkeypatch.setattr("chatlab.cost.read_prices", lambda lab: cost.PRICES)
    monkeypatch.setattr("chatlab.room_key.give_to_load_test", lambda lab: None)
    lab = SimpleNamespace(target="aws", require_api=lambda: "api", websocket_url=lambda api: "wss://example")
    names = {"lab": lab, "CONNECTIONS": 100, "BROADCASTS": 8, "MAX_DOLLARS": 0.10}
    exec(CELLS["07-cost"], names)
    with pytest.raises(LabError, match=r"^These tests may cost \d\.\d\d US dollars: choose fewer CONNECTIONS"):
        exec(CELLS["07-cost"], names | {"CONNECTIONS": 10_000})
