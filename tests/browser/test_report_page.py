"""The report as somebody opens it who got it by mail: one file, in any colours, on a telephone, on paper."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from chatlab import report
from tests.support.measured import run_with_pictures


@pytest.fixture(scope="module")
def browser(launch):
    browser = launch("MAP * ~NOTFOUND")
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("2026-11-24T11-19-08Z")
    summary = run_with_pictures(folder)
    report.write(
        folder, summary | {"machine": report.describe_machine(), "failures": ["06_load_test, cell 3 (Run): gone."]}
    )
    return (folder / "report.html").as_uri()


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_it_can_be_read_by_everybody_everywhere(browser, url, scheme, width):
    page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url.split(":")[0]))
    page.goto(url)
    assert [kind for kind in asked if kind != "data"] == ["file"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.context.close()


def test_who_wants_no_motion_and_who_prints_gets_the_still_picture(browser, url):
    page = browser.new_page()
    page.goto(url)

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
