"""What a run leaves behind: figures for the terminal, and a report that can be read by everybody, everywhere."""

import getpass
import json
import platform

import pytest
from axe_playwright_python.sync_playwright import Axe

from chatlab import cost, report
from tests.support.measured import run_with_pictures

STORY = {
    "variants": {
        "obvious": {"last_p50_ms": 270.1, "cpu_ms_a_post": None},
        "threads": {"last_p50_ms": 260.0},
        "event loop": {"last_p50_ms": 90.0},
    },
    "times_sooner": [3.1, 2.9, 3.3],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with its report, and its summary."""
    folder = tmp_path_factory.mktemp("run")
    failures = ["06_load_test, cell 3 (Run): <b>the host</b> is gone."]
    summary = run_with_pictures(folder) | {"machine": report.describe_machine(), "failures": failures}
    report.write(folder, summary)
    return folder, summary


def test_the_terminal_gets_every_figure_and_the_failure(run):
    intervals = {
        "latency_ms": {"p50": [4, 6], "p99": [8.4, None]},
        "last_delivery_ms": {"p50": [4, 6], "p99": [None, 9]},
    }
    figures = {
        "latency_ms": {"p50": 5.0, "p99": 9.0, "max": 9.5}, "last_delivery_ms": {"p50": None, "p99": 9.0},
        "interval_95": intervals, "delivered": 799, "missing": 1,
    }  # fmt: skip
    summary = run[1] | {"fanout": run[1]["fanout"] | figures, "faster": STORY}
    text = "\n".join(report.lines(summary, "runs/now"))
    for part in ("06_load_test", "FAILED", "800 expected, 799 received, 1 missing",
                 "p50 5.0 ms, p99 at least 8.4 ms, max 9.5 ms", "p50 not measured, p99 not known",
                 "obvious: 0.27 s; as deployed now: 0.09 s, 3.1 times sooner (2.9 to 3.3)",
                 "Leftovers: 0", "runs/now", "the host"):  # fmt: skip
        assert part in text


def test_the_report_is_one_file_that_needs_no_other_and_links_the_raw_data(run):
    folder, summary = run
    page = (folder / "report.html").read_text()
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert page.count("data:image/png;base64,") == 4 and page.count("data:image/gif;base64,") == 1
    assert 'src="http' not in page and "<link" not in page
    assert "&lt;b&gt;the host&lt;/b&gt;" in page
    # A picture says what to conclude, what is seen, where it is from, and whether it was measured.
    assert '<figure class="measured moving">' in page and '<figure class="computed">' in page
    assert "<h2>One message reached the last person: one after another after 3" in page
    assert "<h3>A forecast</h3>" in page and '<span class="kind">Computed</span> in notebook\n07' in page
    assert "A curve of the share of 800 deliveries that arrived within a time" in page
    for name in ("summary.json", "load_test/deliveries.parquet", "load_test/summary.json"):
        assert f'<a href="{name}">' in page and (folder / name).exists()


def test_the_conclusion_is_made_from_the_result(run):
    fanout = run[1]["fanout"]
    fast, shares, complete, price = report.conclude({"fanout": fanout})
    assert f"reached all 40 connections within {fanout['last_delivery_ms']['p50']:.0f} ms" in fast
    assert "(20 broadcasts to 40 connections), half within " in shares and ", 9 of 10 within " in shares
    assert complete == "All 800 deliveries arrived, each of them once."
    here, many = (cost.estimate(people, broadcasts=3600, minutes=60).dollars for people in (40, 10_000))
    assert f"would cost {here:.2f} US dollars an hour with 40 people, and {many:.2f} with 10,000" in price


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, "270 ms; as deployed now: 90 ms, 3.1 times sooner (2.9 to 3.3)."),
        (
            {"times_sooner": [1.1, 0.9, 1.3]},
            "270 ms; as deployed now: 90 ms, a difference that may be noise (0.9 to 1.3).",
        ),
        ({"times_sooner": [0.5, 0.4, 0.6]}, "270 ms; as deployed now: 90 ms, 2.0 times later."),
        ({"times_sooner": [3.1, None, None]}, "270 ms; as deployed now: 90 ms, 3.1 times sooner."),
        ({"times_sooner": None}, "270 ms."),
        ({"variants": {"obvious": {"last_p50_ms": 270.1}}}, "270 ms."),  # notebook 07 was stopped
        ({"variants": {}}, "a time that is not known."),
    ],
)
def test_the_first_sentence_compares_the_obvious_broadcast_with_what_is_deployed(run, changes, end):
    summary = {"fanout": run[1]["fanout"], "faster": STORY | changes}
    first, second, *_ = report.conclude(summary)
    assert first == f"The obvious broadcast reached everybody within {end}"
    assert second.startswith("Of the deliveries in notebook 06 ")


def page_of(folder, summary):
    report.write(folder, summary)
    return " ".join((folder / "report.html").read_text().split())


def test_the_report_hides_no_doubt(run, tmp_path):
    fanout = run[1]["fanout"]

    def page(**changes):
        return page_of(tmp_path, run[1] | {"fanout": fanout | changes})

    assert "Of 800 deliveries 799 arrived, and 0 came twice" in page(delivered=799)
    assert "All 800" not in page(duplicate=1) and "1 came twice" in page(duplicate=1)
    failed = {"check": "deliveries", "ok": False, "message": "Lost."}
    lossy = page(verdict={"believable": False, "uncertain": [], "checks": [failed]})
    assert '<p class="bad">Do not rely on these figures. Lost.' in lossy and '<span class="bad">✗ look' in lossy
    known, unsure = (
        page(verdict={"believable": True, "uncertain": names, "checks": []}) for names in ([], ["p90", "p99"])
    )
    assert "99 of 100 within " in known and " of 10 within " not in unsure
    assert "Within what time 9 of 10 have heard it (p90): not yet, 17 more broadcasts would be enough." in unsure
    assert "99 of 100 have heard it (p99): not yet, 349 more broadcasts" in unsure
    assert "notebook 07 has not measured them" in unsure and "How fast AWS is" in unsure
    assert "How fast AWS is" not in page_of(tmp_path, run[1] | {"target": "aws", "faster": STORY})


def test_too_few_broadcasts_are_no_failure(run, tmp_path):
    checks = [{"check": name, "ok": False, "message": "Too few."} for name in ("settled", "samples")]
    few = run[1]["fanout"] | {
        "broadcasts": 3, "verdict": {"believable": False, "uncertain": ["p50", "p90", "p99"], "checks": checks}
    }  # fmt: skip
    page = page_of(tmp_path, run[1] | {"fanout": few, "failures": []})
    sentence = "Can you trust these figures? Not yet: 5 more broadcasts would be enough for a median."
    assert sentence in page and f"  {sentence}" in report.lines(run[1] | {"fanout": few}, "x")
    assert 'class="bad"' not in page.replace('<span class="bad">failed</span>', "")
    assert '<div class="conclusion early">' in page


def test_the_machine_is_described_and_not_named():
    described = " ".join(report.describe_machine().values())
    assert "locust" in described and "cores" in described
    assert not {platform.node(), getpass.getuser()} & set(described.split())


def test_a_run_without_a_measurement_says_so(run, tmp_path):
    summary = run[1] | {"fanout": None, "leftovers": None}
    report.write(tmp_path, summary)
    assert "Fan-out: not measured" in "\n".join(report.lines(summary, "x"))
    assert "Whether anything is left in the cloud." in (tmp_path / "report.html").read_text()


def test_the_conclusion_looks_doubtful_unless_all_went_well_and_the_measurement_trusts_itself(run, tmp_path):
    fanout = run[1]["fanout"]
    failed = {"check": "deliveries", "ok": False, "message": "Lost."}
    lossy = fanout | {"verdict": fanout["verdict"] | {"believable": False, "checks": [failed]}}
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
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
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
