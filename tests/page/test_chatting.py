"""People chat in a real browser: what they see and hear, and what happens when the connection breaks.

One file, since each file may start a browser and a chat of its own.
"""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from chatlab import poll
from tests.support.chat import ids
from tests.support.labs import without_policy
from tests.support.pages import CUT, fits, join, messages, say, state, texts

LONGEST_NAME = "Bartholomäus Kunigunde von Hohenlohe-Lan"  # 40 characters


def test_people_hear_each_other_in_the_same_order_and_see_who_leaves(joined):
    names = ["Ada", "Grace", LONGEST_NAME]
    pages = ada, grace, _ = [joined(name, width=320, height=1000) for name in names]  # only what is in view is there
    for page in pages:
        expect(page.get_by_test_id("people")).to_have_text("3 people")
    said = []
    for round_number in (1, 2):
        for name, page in zip(names, pages, strict=True):
            said.append(f"{name} {round_number}")
            say(page, said[-1])
            poll(lambda page=page: texts(page)[-1:] == said[-1:], "a message to come back", timeout_s=10, every_s=0.05)
    for page in pages:
        poll(lambda page=page: texts(page) == said, "everyone to have heard everything", timeout_s=15)
        expect(page.locator("[data-own=true]")).to_have_count(2)
        expect(page.get_by_test_id("delivery").first).to_have_text(re.compile(r"\d+ ms"))
        expect(page.get_by_test_id("median")).to_have_text(re.compile(r"\d+ ms"))
        assert fits(page)
    expect(messages(ada).last).to_contain_text(LONGEST_NAME)
    grace.close(run_before_unload=True)
    expect(ada.get_by_test_id("people")).to_have_text("2 people")
    ada.reload()
    expect(ada.get_by_label("Your name")).to_have_value("Ada")
    join(ada, "Ada")
    say(ada, "I am back")
    expect(messages(ada)).to_have_count(1)


def test_every_text_is_shown_as_it_was_written(joined):
    """Emoji, Arabic, Hebrew, one long word, lines, what a program may take for nothing, and thirty kilobytes."""
    said = [
        "🎉👩‍👩‍👧‍👦🇺🇳",
        "مرحبا بالعالم",
        "שלום",
        "W" * 300,
        "one\ntwo\n\nthree",
        "0",
        "null",
        "{}",
        "0123456789 " * 2790,
    ]
    ada, grace = joined("Ada", width=320, height=1600), joined("Grace", height=1600)  # only what is in view is there
    for number, text in enumerate(said, 1):
        say(ada, text)
        for page in (ada, grace):
            expect(messages(page)).to_have_count(number)
            assert texts(page)[-1].strip() == text.strip()
            assert fits(page)


def flood(lab, connection_id, count, rate):
    """Post messages to a connection, at most `rate` a second: the futures of four threads."""
    api = lab.client("apigatewaymanagementapi", endpoint_url=lab.connections_url(lab.require_api()))
    started = time.monotonic()

    def post(first, step):
        for number in range(first, count, step):
            time.sleep(max(0, started + number / rate - time.monotonic()))
            message = {"type": "chat", "id": f"f{number}", "client": "flood", "name": "Flood", "sent_at": number}
            body = json.dumps(message | {"text": f"flood {number}"})
            api.post_to_connection(ConnectionId=connection_id, Data=body.encode())

    pool = ThreadPoolExecutor(4)
    return [pool.submit(post, first, 4) for first in range(4)]


@pytest.mark.slow
def test_five_hundred_messages_a_second_leave_the_page_usable(chat, joined, terminal):
    """Typing is timed from the key to the next frame. Then the reader scrolls up, and is not moved."""
    before = ids(chat)
    ada = joined("Ada")
    (own,) = ids(chat) - before
    ada.evaluate("""() => {
        window.typing = [];
        document.addEventListener('keydown', event => requestAnimationFrame(() => {
            const channel = new MessageChannel();  // the task after the frame: it has been painted
            channel.port1.onmessage = () => window.typing.push(performance.now() - event.timeStamp);
            channel.port2.postMessage(0);
        }), true);
    }""")
    posts = flood(chat, own, 3000, 500)
    composer = ada.get_by_label("Message")
    composer.focus()
    while not all(post.done() for post in posts):
        ada.keyboard.press("a")
        ada.wait_for_timeout(50)
    assert [post.exception() for post in posts] == [None] * 4
    terminal.send("the end")
    end = ada.get_by_text("the end", exact=True)
    expect(end).to_be_in_viewport()
    typing = sorted(ada.evaluate("window.typing"))
    assert len(typing) > 50
    assert typing[len(typing) // 2] < 100
    assert messages(ada).count() < 200
    assert ada.evaluate("performance.memory.usedJSHeapSize") < 100e6
    assert composer.input_value() == "a" * len(typing)

    ada.get_by_role("log").hover()
    ada.mouse.wheel(0, -1500)
    expect(end).not_to_be_in_viewport()
    terminal.send("the newest")
    button = ada.get_by_test_id("new-messages")
    expect(button).to_have_text("1 new message")
    button.click()
    expect(ada.get_by_text("the newest", exact=True)).to_be_in_viewport()
    expect(state(ada)).to_have_attribute("data-state", "connected")


def brightness(page, element):
    """The sum of red, green and blue of an element's background, 0 to 765."""
    colour = page.evaluate(f"getComputedStyle(document.{element}).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


@pytest.mark.parametrize(("scheme", "width", "height"), [("light", 320, 568), ("dark", 1440, 900)])
def test_everybody_can_read_and_use_it(window, terminal, wire, scheme, width, height):
    """At the start, with messages, and without a connection; on a small telephone and on a desk."""

    def check(page):
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
    check(ada)
    join(ada, "Ada")
    say(ada, "A message that needs more than one line on a small telephone: see https://example.org")
    terminal.send("a plain line")
    expect(messages(ada)).to_have_count(2)
    check(ada)
    assert brightness(ada, "body") > 600 if scheme == "light" else brightness(ada, "body") < 200
    moving = "document.getAnimations().filter(each => each.effect.getTiming().duration > 10).length"
    assert ada.evaluate(moving) == 0
    wire.cut()
    expect(state(ada)).to_have_attribute("data-state", "reconnecting")
    assert ada.evaluate(moving) == 0
    say(ada, "waiting")
    expect(ada.get_by_test_id("queued")).to_have_count(1)
    check(ada)


def test_the_right_theme_is_there_from_the_first_paint(window):
    """Before any script or style sheet of the page's has come."""
    page = window(color_scheme="dark", block="/assets/", expected="ERR_FAILED")
    assert brightness(page, "documentElement") < 200


def test_with_the_keyboard_alone(window):
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


def test_the_server_cut_off_and_back(joined, wire):
    """What is written meanwhile waits in view, and arrives once and in order."""
    ada, grace = joined("Ada", expected=CUT), joined("Grace", expected=CUT)
    say(ada, "before")
    expect(messages(grace)).to_have_count(1)
    wire.cut()
    expect(state(ada)).to_have_attribute("data-state", "reconnecting")
    for number in (1, 2, 3):
        say(ada, f"meanwhile {number}")
    expect(ada.get_by_test_id("queued")).to_have_count(3)
    wire.restore()
    for page in (ada, grace):
        expect(state(page)).to_have_attribute("data-state", "connected", timeout=40_000)
    expect(ada.get_by_test_id("queued")).to_have_count(0)
    say(ada, "after")
    wanted = ["before", "meanwhile 1", "meanwhile 2", "meanwhile 3", "after"]
    poll(lambda: texts(ada) == wanted, "Ada to see each message once", timeout_s=20)
    # Grace may have come back later than Ada spoke: nobody keeps messages for those who are away.
    heard = texts(grace)
    assert heard == [text for text in wanted if text in heard]
    assert heard[0] == "before"


def test_coming_back_online_reconnects_at_once(joined, wire):
    ada = joined("Ada", expected=CUT)
    wire.cut()
    ada.context.set_offline(True)
    expect(state(ada)).to_have_attribute("data-state", "offline")
    wire.restore()
    ada.context.set_offline(False)
    expect(state(ada)).to_have_attribute("data-state", "connected", timeout=5000)


def test_a_refused_handshake_is_said(chat, window):
    with without_policy(chat, "connections-table"):
        page = window(expected="403|405|500")  # the page asks whether anything is there, and no HEAD is taken
        page.get_by_label("Your name").fill("Ada")
        page.get_by_role("button", name="Join").click()
        expect(state(page)).to_have_attribute("data-state", "refused")
    expect(state(page)).to_have_attribute("data-state", "connected", timeout=60_000)
