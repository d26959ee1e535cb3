"""The calibration that notebook 06 begins with, and its command."""

import json

import pytest
import websocket

from loadtest.calibration import calibrate, reference_server
from loadtest.calibration.bounds import Bounds, report
from loadtest.errors import LoadTestError


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


def test_a_bound_that_does_not_hold_is_named_and_everything_is_written(tmp_path):
    bounds = Bounds()
    bounds.at_most("lost", 1, 0)
    bounds.at_most("late", 1, 1)
    bounds.at_least("rate", 0.5, 0.6)
    bounds.at_least("share", 0.6, 0.6)
    with pytest.raises(LoadTestError, match=r"^This does not hold: lost: 1, .* <= 0; rate: 0.5, .* >= 0.6\.$"):
        report(bounds, tmp_path / "all.json", check=True, speed=bounds.table)
    written = json.loads((tmp_path / "all.json").read_text())
    assert [row["holds"] for row in written["bounds"]] == [False, True, False, True]
    assert written["speed"] == written["bounds"] and written["machine"]["cores"]
    report(bounds, None, check=False)


def test_no_page_of_another_site_takes_part_in_a_calibration():
    with reference_server.run() as server:
        websocket.create_connection(server.url).close()
        with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
            websocket.create_connection(server.url, origin="https://evil.example")
