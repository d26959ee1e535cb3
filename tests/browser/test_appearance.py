"""How the page looks, on any screen and in any theme, and that everybody can use it: axe, keyboard, reduced motion."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.support.pages import join, messages, say, state, texts


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_dark_and_light(joined, window, picture):
    pages = {scheme: joined(scheme, color_scheme=scheme) for scheme in ("light", "dark")}
    say(pages["light"], "good morning")
    say(pages["dark"], "good evening")
    for scheme, page in pages.items():
        expect(messages(page)).to_have_count(2)
        picture(page, scheme)
    light, dark = (sum(map(int, re.findall(r"\d+", background(page))[:3])) for page in pages.values())
    assert light > 600 and dark < 200


def test_the_right_theme_is_there_from_the_first_paint(window, page_url):
    """Before any script or style sheet of the page's has come."""
    page = window(goto=False, color_scheme="dark", expected="ERR_FAILED")
    page.route(re.compile(r"/assets/"), lambda route: route.abort())
    page.goto(page_url)
    colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    body = background(page)
    painted = body if body != "rgba(0, 0, 0, 0)" else colour
    assert sum(map(int, re.findall(r"\d+", painted)[:3])) < 200


@pytest.mark.parametrize(("width", "height"), [(320, 568), (1440, 900)])
def test_narrow_and_wide(joined, picture, width, height):
    ada = joined("Ada", width=width, height=height)
    say(ada, "A message that is long enough to need more than one line on a small telephone, and less on a desk.")
    expect(messages(ada)).to_have_count(1)
    assert ada.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    small = [
        element.evaluate("e => [e.textContent || e.getAttribute('aria-label'), e.getBoundingClientRect().height]")
        for element in ada.locator("button, textarea, input").all()
        if element.is_visible()
    ]
    assert all(size >= 44 for _, size in small), small
    picture(ada, f"{width} px")


def test_with_the_keyboard_alone(window, picture):
    page = window()
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    expect(state(page)).to_have_attribute("data-state", "connected")
    expect(page.get_by_label("Message")).to_be_focused()
    page.keyboard.type("first line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    expect(messages(page)).to_have_count(1)
    assert texts(page)[0].strip() == "first line\nsecond line"
    seen = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "() => { const s = getComputedStyle(document.activeElement); "
            "return [document.activeElement.tagName, s.outlineStyle, s.outlineWidth, s.boxShadow] }"
        )
        if outline[0] != "BODY":
            seen.add(outline[0])
            assert outline[1] != "none" or outline[3] != "none", outline
    assert "BUTTON" in seen
    picture(page, "keyboard focus")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(window, terminal, scheme, wire):
    def check(page):
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()

    ada = window(color_scheme=scheme)
    check(ada)
    join(ada, "Ada")
    say(ada, "see https://example.org")
    terminal.send("a plain line")
    expect(messages(ada)).to_have_count(2)
    check(ada)
    wire.cut()
    expect(state(ada)).to_have_attribute("data-state", "reconnecting")
    say(ada, "waiting")
    check(ada)


def test_motion_is_reduced_for_those_who_ask(joined):
    ada = joined("Ada", reduced_motion="reduce")
    say(ada, "still")
    expect(messages(ada)).to_have_count(1)
    moving = ada.evaluate(
        "document.getAnimations().filter(a => a.playState === 'running' && a.effect.getTiming().duration > 10).length"
    )
    assert moving == 0
