"""The calibration that notebook 06 begins with, and its command."""

import json

import pytest
import websocket

from loadtest.calibration import calibrate, reference_server
from loadtest.calibration.calibrate import Bound


@pytest.mark.slow
def test_a_quick_calibration_shows_truth_and_error(capsys):
    comparison = calibrate.quick(connections=150, broadcasts=6)
    own, naive = (comparison.table.xs(reader, level="reader").iloc[0] for reader in ("this load test", "naive client"))
    assert abs(own["p50 error"]) < 0.3
    assert naive["p50 error"] > abs(own["p50 error"])
    assert "this load test is off by" in comparison.figure.axes[0].get_title(loc="left")


@pytest.mark.usefixtures("measure")
def test_the_command_prints_its_result_last_and_writes_all_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibrate, "CASES", [calibrate.Case("small", connections=30, broadcasts=5, broadcast_rate=10)])
    assert calibrate.main(["--json", str(tmp_path / "all.json"), "--case", "small"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Over 1 cases this load test is at most 0.")
    (run,) = json.loads((tmp_path / "all.json").read_text())["runs"]
    assert run["case"] == "small"
    assert run["delivered"] == 150


def test_bounds_know_what_does_not_hold():
    too_late = Bound("late", lambda rows: max(row["late"] for row in rows), 0.3)
    assert too_late.check([{"late": 0.2}])["holds"]
    assert too_late.check([{"late": 0.4}]) == {"bound": "late", "measured": 0.4, "limit": 0.3, "holds": False}


def test_no_page_of_another_site_takes_part_in_a_calibration():
    with reference_server.run() as server:
        websocket.create_connection(server.url).close()
        with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
            websocket.create_connection(server.url, origin="https://evil.example")
