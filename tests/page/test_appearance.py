"""How the page looks, on any screen and in any theme, and that everybody can use it: axe, keyboard, reduced motion."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.support.pages import CUT, fits, join, messages, say, state, texts


def brightness(page, element):
    """The sum of red, green and blue of an element's background, 0 to 765."""
    colour = page.evaluate(f"getComputedStyle(document.{element}).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


@pytest.mark.parametrize(("scheme", "width", "height"), [("light", 320, 568), ("dark", 1440, 900)])
def test_everybody_can_read_and_use_it(window, terminal, wire, picture, scheme, width, height):
    """At the start, with messages, and without a connection; on a small telephone and on a desk."""

    def check(page, name):
        picture(page, f"{name}, {scheme}")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert fits(page)
        small = [
            element.evaluate("e => [e.textContent || e.getAttribute('aria-label'), e.getBoundingClientRect().height]")
            for element in page.locator("button, textarea, input").all()
            if element.is_visible()
        ]
        assert all(height >= 44 for _, height in small), small

    ada = window(width, height, CUT, color_scheme=scheme, reduced_motion="reduce")
    check(ada, "join")
    join(ada, "Ada")
    say(ada, "A message that needs more than one line on a small telephone: see https://example.org")
    terminal.send("a plain line")
    expect(messages(ada)).to_have_count(2)
    check(ada, "messages")
    assert brightness(ada, "body") > 600 if scheme == "light" else brightness(ada, "body") < 200
    moving = "document.getAnimations().filter(each => each.effect.getTiming().duration > 10).length"
    assert ada.evaluate(moving) == 0
    wire.cut()
    expect(state(ada)).to_have_attribute("data-state", "reconnecting")
    assert ada.evaluate(moving) == 0
    say(ada, "waiting")
    expect(ada.get_by_test_id("queued")).to_have_count(1)
    check(ada, "reconnecting")


def test_the_right_theme_is_there_from_the_first_paint(window):
    """Before any script or style sheet of the page's has come."""
    page = window(color_scheme="dark", block="/assets/", expected="ERR_FAILED")
    assert brightness(page, "documentElement") < 200


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
        name, outline = page.evaluate(
            "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
        )
        seen.add(name)
        assert outline != "none" or name == "BODY", name
    assert {"BUTTON", "TEXTAREA"} <= seen
    picture(page, "keyboard focus")
