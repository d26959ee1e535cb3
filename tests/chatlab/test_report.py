"""What a run leaves behind: figures for the terminal, and a report that can be read by everybody, everywhere."""

import getpass
import json
import platform

import pytest
from axe_playwright_python.sync_playwright import Axe

from chatlab import cost, report
from tests.support.measured import run_with_pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with its report, and its summary."""
    folder = tmp_path_factory.mktemp("run")
    failures = ["06_load_test, cell 3 (Run): <b>the host</b> is gone."]
    summary = run_with_pictures(folder) | {"machine": report.describe_machine(), "failures": failures}
    report.write(folder, summary)
    return folder, summary


def test_the_terminal_gets_every_figure_and_the_failure(run):
    last = {"p50": 5.0, "p99": None}
    summary = run[1] | {"fanout": run[1]["fanout"] | {"delivered": 799, "missing": 1, "last_delivery_ms": last}}
    text = "\n".join(report.lines(summary, "runs/now"))
    for part in ("06_load_test", "FAILED", "800 expected, 799 received, 1 missing", "p50 5.0 ms, p99 not measured",
                 "Leftovers: 0", "runs/now", "the host"):  # fmt: skip
        assert part in text


def test_the_report_is_one_file_that_needs_no_other_and_links_the_raw_data(run):
    folder, summary = run
    page = (folder / "report.html").read_text()
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert page.count("data:image/png;base64,") == 4 and page.count("data:image/gif;base64,") == 1
    assert 'src="http' not in page and "<link" not in page
    assert "&lt;b&gt;the host&lt;/b&gt;" in page
    # A picture says what is seen, and whether it was measured.
    assert '<figure class="measured moving">' in page and '<figure class="computed">' in page
    assert '<span class="kind">Computed:</span> How far it goes.' in page
    assert "A curve of the share of 800 deliveries that arrived within a time" in page
    for name in ("summary.json", "load_test/deliveries.parquet", "load_test/summary.json"):
        assert f'<a href="{name}">' in page and (folder / name).exists()


def test_the_conclusion_is_made_from_the_result(run):
    fanout = run[1]["fanout"]
    fast, complete, price = report.conclude({"fanout": fanout})
    assert f"reached all 40 connections within {fanout['last_delivery_ms']['p50']:.1f} ms" in fast
    assert "half arrived within " in fast and "9 of 10 within " in fast
    assert complete.startswith("All 800 deliveries arrived, each of them once, and you can trust the figures")
    here, many = (cost.estimate(people, broadcasts=3600, minutes=60).dollars for people in (40, 10_000))
    assert f"would cost {here:.2f} US dollars an hour with 40 people, and {many:.2f} with 10,000" in price


def test_the_conclusion_hides_no_doubt(run):
    fanout = run[1]["fanout"]

    def conclude(**changes):
        return report.conclude({"fanout": fanout | changes})

    assert "Of 800 deliveries 799 arrived and 0 came twice" in conclude(delivered=799)[1]
    assert "All" not in conclude(duplicate=1)[1] and "1 came twice" in conclude(duplicate=1)[1]
    assert "but do not rely on these figures" in conclude(verdict={"believable": False, "uncertain": []})[1]
    known, unsure = (conclude(verdict={"believable": True, "uncertain": names}) for names in ([], ["p90", "p99"]))
    assert "99 of 100" in known[0] and " of 10" not in unsure[0]
    assert "except p90 and p99, for which there were too few broadcasts" in unsure[1]


def test_the_machine_is_described_and_not_named():
    described = " ".join(report.describe_machine().values())
    assert "locust" in described and "cores" in described
    assert not {platform.node(), getpass.getuser()} & set(described.split())


def test_a_run_without_a_measurement_says_so(run, tmp_path):
    summary = run[1] | {"fanout": None, "leftovers": None}
    report.write(tmp_path, summary)
    assert "Fan-out: not measured" in "\n".join(report.lines(summary, "x"))
    assert "not known" in (tmp_path / "report.html").read_text()


def test_the_conclusion_looks_doubtful_unless_all_went_well_and_the_measurement_trusts_itself(run, tmp_path):
    fanout = run[1]["fanout"]
    lossy = fanout | {"verdict": fanout["verdict"] | {"believable": False}}
    for changes, doubtful in (({}, False), ({"failures": ["Stopped."]}, True), ({"fanout": lossy}, True)):
        report.write(tmp_path, run[1] | {"failures": []} | changes)
        assert ('<div class="conclusion doubtful">' in (tmp_path / "report.html").read_text()) == doubtful


@pytest.fixture(scope="module")
def chromium(launch):
    chromium = launch("MAP * ~NOTFOUND")
    yield chromium
    chromium.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_it_can_be_read_by_everybody_everywhere(chromium, run, scheme, width):
    page = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url.split(":")[0]))
    page.goto((run[0] / "report.html").as_uri())
    assert [kind for kind in asked if kind != "data"] == ["file"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.context.close()


def test_who_wants_no_motion_and_who_prints_gets_the_still_picture(chromium, run):
    page = chromium.new_page()
    page.goto((run[0] / "report.html").as_uri())

    def shown():
        kinds = page.locator("figure.moving img:visible").evaluate_all("all => all.map(each => each.src.slice(5, 14))")
        assert len(kinds) == 1
        return kinds[0]

    assert shown() == "image/gif"
    page.emulate_media(reduced_motion="reduce")
    assert shown() == "image/png"
    page.emulate_media(reduced_motion="no-preference", media="print")
    assert shown() == "image/png"
    assert page.pdf()[:4] == b"%PDF"
    page.context.close()
