"""What a run leaves behind."""

import json

from chatlab import report

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


def test_the_report_is_one_file_that_needs_no_other(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "6-1 latency.png").write_bytes(b"\x89PNG")
    report.write(tmp_path, SUMMARY)
    page = (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "summary.json").read_text()) == SUMMARY
    assert "data:image/png;base64,iVBORw==" in page
    assert 'src="http' not in page and "<link" not in page
    assert "&lt;b&gt;the host&lt;/b&gt;" in page


def test_a_run_without_a_measurement_says_so(tmp_path):
    summary = SUMMARY | {"fanout": None, "leftovers": None}
    report.write(tmp_path, summary)
    assert "Fan-out: not measured" in "\n".join(report.lines(summary, "x"))
    assert "not known" in (tmp_path / "report.html").read_text()
