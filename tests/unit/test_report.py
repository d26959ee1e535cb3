"""What a run leaves behind."""

import getpass
import json
import platform

import pytest

from chatlab import cost, machine, report
from tests.support.measured import run_with_pictures

SUMMARY = {
    "target": "local",
    "notebooks": [
        {"name": "00_start", "seconds": 1.2, "ok": True},
        {"name": "06_load_test", "seconds": 3.4, "ok": False},
    ],
    "fanout": {
        "connections": 200, "broadcasts": 20, "expected": 4000, "delivered": 3999, "missing": 1, "duplicate": 0,
        "latency_ms": {"p50": 1.0, "p90": 2.0, "p99": 3.0, "max": 4.0}, "last_delivery_ms": {"p50": 5.0, "p99": None},
    },
    "leftovers": 0,
    "failures": ["06_load_test, cell 3 (Run): <b>the host</b> is gone."],
}  # fmt: skip


def test_the_terminal_gets_every_figure_and_the_failure():
    text = "\n".join(report.lines(SUMMARY, "runs/now"))
    for part in ("06_load_test", "FAILED", "4000 expected, 3999 received, 1 missing", "p50 1.0 ms", "not measured",
                 "Leftovers: 0", "runs/now", "the host"):  # fmt: skip
        assert part in text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with its report, and its summary."""
    folder = tmp_path_factory.mktemp("run")
    summary = run_with_pictures(folder) | {"failures": SUMMARY["failures"]}
    report.write(folder, summary)
    return folder, summary


@pytest.fixture
def page(run):
    return (run[0] / "report.html").read_text()


def test_the_report_is_one_file_that_needs_no_other(run, page):
    folder, summary = run
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert page.count("data:image/png;base64,") == 4 and page.count("data:image/gif;base64,") == 1
    assert 'src="http' not in page and "<link" not in page
    assert "&lt;b&gt;the host&lt;/b&gt;" in page


def test_a_picture_says_what_is_seen_and_whether_it_was_measured(page):
    assert '<figure class="measured moving">' in page and '<figure class="simulated">' in page
    assert '<span class="kind">Simulated:</span> How far it goes.' in page
    assert "A curve of the share of 800 deliveries that arrived within a time" in page


def test_the_raw_data_is_linked_and_is_there(run, page):
    for name in ("summary.json", "load_test/deliveries.parquet", "load_test/summary.json"):
        assert f'<a href="{name}">' in page and (run[0] / name).exists()


@pytest.fixture
def fanout(run):
    return run[1]["fanout"]


def test_the_conclusion_is_made_from_the_result(fanout):
    fast, complete, price = report.conclude({"fanout": fanout})
    assert f"reached all 40 connections within {fanout['last_delivery_ms']['p50']:.1f} ms" in fast
    assert "half arrived within " in fast and "9 of 10 within " in fast
    assert complete.startswith("All 800 deliveries arrived, each of them once, and you can trust the figures")
    hour = cost.estimate(40, broadcasts=3600, minutes=60).dollars
    assert f"would cost {hour:.2f} US dollars an hour with 40 people" in price


def test_the_conclusion_claims_no_quantile_without_an_interval(fanout):
    known, unsure = (fanout["verdict"] | {"uncertain": names} for names in ([], ["p90", "p99"]))
    assert "99 of 100" in report.conclude({"fanout": fanout | {"verdict": known}})[0]
    assert " of 10" not in report.conclude({"fanout": fanout | {"verdict": unsure}})[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"delivered": 799}, "Of 800 deliveries 799 arrived and 0 came twice"),
        ({"verdict": {"believable": False}}, "but do not rely on these figures"),
        (
            {"verdict": {"believable": True, "uncertain": ["p99"]}},
            "except p99, for which there were too few broadcasts",
        ),
    ],
)
def test_the_conclusion_hides_no_doubt(fanout, changes, sentence):
    assert sentence in report.conclude({"fanout": fanout | changes})[1]


def test_the_machine_is_described_and_not_named():
    described = " ".join(machine.describe().values())
    assert "locust" in described and "cores" in described
    assert not {platform.node(), getpass.getuser()} & set(described.split())


def test_a_run_without_a_measurement_says_so(tmp_path):
    summary = SUMMARY | {"fanout": None, "leftovers": None}
    report.write(tmp_path, summary)
    assert "Fan-out: not measured" in "\n".join(report.lines(summary, "x"))
    assert "not known" in (tmp_path / "report.html").read_text()
