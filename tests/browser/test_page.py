"""People chat in a real browser: what they see, and what must not happen to them."""

import gzip
import json
import re
import subprocess
import sys

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from chatlab import poll
from chatlab.paths import state_dir
from tests.support.chat import ids
from tests.support.labs import without_policy
from tests.support.pages import join, messages, say, state
from tests.support.processes import environment_of_a_run

LIMIT_KB = 100


def texts(page):
    return messages(page).locator(".text").all_inner_texts()


def test_the_built_page_is_small(page_url):
    packed = sum(len(gzip.compress(file.read_bytes())) for file in (state_dir() / "page").rglob("*") if file.is_file())
    assert packed < LIMIT_KB * 1024


def test_the_first_paint_is_quick(window):
    """Once in five: the browser itself has to wake up for the first, and the machine has other things to do."""
    paints = []
    while len(paints) < 5 and not any(paint < 1000 for paint in paints):
        page = window(new=True)
        expect(page.get_by_label("Your name")).to_be_visible()
        paint = page.wait_for_function("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        paints.append(paint.json_value())
    assert min(paints) < 1000, paints


def test_joining_offers_a_name_and_refuses_what_is_none(window, picture):
    page = window()
    name = page.get_by_label("Your name")
    assert name.input_value().strip()
    picture(page, "join")
    name.fill("   ")
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Message")).to_have_count(0)
    picture(page, "join refused")


def test_two_people_chat(joined, picture):
    ada, grace = joined("Ada"), joined("Grace")
    say(ada, "Hello Grace")
    say(grace, "Hello Ada")
    for page, own in ((ada, "Hello Grace"), (grace, "Hello Ada")):
        expect(messages(page)).to_have_count(2)
        expect(page.locator("[data-testid=message][data-own=true]")).to_contain_text(own)
        expect(page.get_by_test_id("delivery")).to_have_text(re.compile(r"\d+ ms"))
        expect(page.get_by_test_id("median")).to_have_text(re.compile(r"\d+ ms"))
        expect(page.get_by_test_id("people")).to_contain_text("2")
    picture(ada, "two people, Ada")
    picture(grace, "two people, Grace")


def test_five_people_hear_each_other_in_the_same_order(joined, picture):
    names = ["Ada", "Grace", "Edsger", "Barbara", "Leslie"]
    pages = [joined(name, height=1400) for name in names]  # high enough for all of it: only what is in view is there
    for page in pages:
        expect(page.get_by_test_id("people")).to_contain_text("5")
    said = []
    for round_number in (1, 2):
        for name, page in zip(names, pages, strict=True):
            said.append(f"{name} {round_number}")
            say(page, said[-1])
            poll(lambda page=page: texts(page)[-1:] == said[-1:], "a message to come back", timeout_s=10, every_s=0.05)
    for page in pages:
        poll(lambda page=page: texts(page) == said, "everyone to have heard everything", timeout_s=15)
    picture(pages[0], "five people")


def test_a_reload_keeps_the_name(joined):
    ada = joined("Ada Lovelace")
    ada.reload()
    if ada.get_by_label("Your name").count():
        expect(ada.get_by_label("Your name")).to_have_value("Ada Lovelace")
        ada.get_by_role("button", name="Join").click()
    expect(state(ada)).to_have_attribute("data-state", "connected")
    say(ada, "I am back")
    expect(ada.locator("[data-own=true]")).to_contain_text("I am back")


def test_leaving_is_seen_by_the_others(joined):
    ada, grace = joined("Ada"), joined("Grace")
    expect(ada.get_by_test_id("people")).to_contain_text("2")
    grace.close(run_before_unload=True)
    expect(ada.get_by_test_id("people")).to_contain_text("1")


def test_the_server_cut_off_and_back(joined, wire, picture):
    """What is written meanwhile waits in view, and arrives once and in order."""
    ada, grace = joined("Ada"), joined("Grace")
    say(ada, "before")
    expect(messages(grace)).to_have_count(1)
    wire.cut()
    expect(state(ada)).to_have_attribute("data-state", "reconnecting")
    for number in (1, 2, 3):
        say(ada, f"meanwhile {number}")
    expect(ada.get_by_test_id("queued")).to_have_count(3)
    picture(ada, "reconnecting, with messages waiting")
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


def test_what_waits_can_be_discarded(joined, wire):
    ada = joined("Ada")
    wire.cut()
    expect(state(ada)).to_have_attribute("data-state", "reconnecting")
    say(ada, "better not")
    say(ada, "but this")
    ada.get_by_test_id("queued").first.get_by_role("button", name="Discard").click()
    expect(ada.get_by_test_id("queued")).to_have_count(1)
    wire.restore()
    expect(state(ada)).to_have_attribute("data-state", "connected", timeout=40_000)
    poll(lambda: texts(ada) == ["but this"], "the other message to be sent", timeout_s=15)


def test_coming_back_online_reconnects_at_once(joined, wire, picture):
    ada = joined("Ada")
    wire.cut()
    ada.context.set_offline(True)
    expect(state(ada)).to_have_attribute("data-state", "offline")
    picture(ada, "offline")
    wire.restore()
    ada.context.set_offline(False)
    expect(state(ada)).to_have_attribute("data-state", "connected", timeout=5000)


def test_a_refused_handshake_is_said(chat, window, picture):
    with without_policy(chat, "connections-table"):
        page = window(expected="405|403")  # the page asks whether anything is there, and no GET is taken
        page.get_by_label("Your name").fill("Ada")
        page.get_by_role("button", name="Join").click()
        expect(state(page)).to_have_attribute("data-state", "refused")
        picture(page, "refused")
    expect(state(page)).to_have_attribute("data-state", "connected", timeout=60_000)


def test_every_text_is_shown_as_it_was_written(joined):
    """Emoji, Arabic, Hebrew, one long word, lines, and what a program may take for nothing."""
    said = ["🎉👩‍👩‍👧‍👦🇺🇳", "مرحبا بالعالم", "שלום", "W" * 300, "one\ntwo\n\nthree", "0", "null", "{}"]
    ada, grace = joined("Ada", width=320, height=1600), joined("Grace", height=1600)  # only what is in view is there
    for number, text in enumerate(said, 1):
        say(ada, text)
        for page in (ada, grace):
            expect(messages(page)).to_have_count(number)
            assert texts(page)[-1].strip() == text
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_thirty_kilobytes(joined, picture):
    text = "0123456789 " * (30 * 1024 // 11)
    ada, grace = joined("Ada"), joined("Grace")
    say(ada, text)
    expect(messages(grace)).to_have_count(1)
    assert len(grace.locator("[data-testid=message] .text").inner_text().strip()) == len(text.strip())


def test_more_than_the_limit_is_refused_and_kept(joined, picture):
    ada = joined("Ada")
    composer = ada.get_by_label("Message")
    text = "x" * (32 * 1024)
    composer.fill(text)
    expect(ada.get_by_test_id("counter")).to_be_visible()
    composer.press("Enter")
    expect(ada.get_by_role("alert")).to_contain_text("32 KB")
    picture(ada, "too long")
    assert composer.input_value() == text
    expect(messages(ada)).to_have_count(0)
    expect(state(ada)).to_have_attribute("data-state", "connected")


def test_an_empty_message_is_not_sent(joined):
    ada = joined("Ada")
    ada.get_by_label("Message").fill("  \n ")
    ada.get_by_label("Message").press("Enter")
    say_after = "something"
    say(ada, say_after)
    expect(messages(ada)).to_have_count(1)


def test_a_name_of_forty_characters(joined):
    name = "Bartholomäus Kunigunde von Hohenlohe-Lan"
    assert len(name) == 40
    ada, grace = joined(name, width=320), joined("Grace", width=320)
    say(ada, "that is my name")
    expect(messages(grace)).to_contain_text(name)
    for page in (ada, grace):
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_plain_text_from_a_terminal_is_shown(joined, terminal, picture):
    ada = joined("Ada")
    terminal.send("hello from a terminal")
    expect(messages(ada)).to_have_attribute("data-kind", "plain")
    expect(messages(ada)).to_contain_text("hello from a terminal")
    say(ada, "hello terminal")
    assert json.loads(wait_for_chat(terminal))["text"] == "hello terminal"
    picture(ada, "plain text")


def wait_for_chat(terminal):
    while (frame := terminal.recv()) is not None:
        if '"chat"' in frame:
            return frame


def test_load_test_traffic_is_folded_away(joined, terminal, picture):
    ada = joined("Ada")
    for number in range(20):
        message = {"type": "load", "run": "r", "id": number, "speaker": 0, "sent_ns": 1, "pad": "x" * 99}
        terminal.send(json.dumps(message))
    say(ada, "a word among the noise")
    expect(ada.get_by_label("Load test")).to_contain_text("20 broadcasts")
    expect(messages(ada)).to_have_count(1)
    picture(ada, "load folded")
    ada.get_by_test_id("load-toggle").click()
    expect(ada.get_by_test_id("load-details")).to_be_visible()
    picture(ada, "load unfolded")


def test_the_reader_who_has_scrolled_up_is_not_moved(joined, terminal, picture):
    ada = joined("Ada")
    for number in range(60):
        terminal.send(f"line {number}")
    expect(ada.get_by_text("line 59", exact=True)).to_be_visible()
    ada.get_by_role("log").hover()
    ada.mouse.wheel(0, -1500)
    expect(ada.get_by_text("line 59", exact=True)).not_to_be_in_viewport()
    terminal.send("the newest")
    button = ada.get_by_test_id("new-messages")
    expect(button).to_contain_text("1")
    picture(ada, "new messages")
    button.click()
    expect(ada.get_by_text("the newest", exact=True)).to_be_in_viewport()


@pytest.mark.slow
def test_five_hundred_messages_a_second_leave_the_page_usable(chat, joined, picture):
    """Posted to the page's own connection, as the broadcast does; typing is timed from the key to the next frame."""
    before = ids(chat)
    ada = joined("Ada", new=True)
    (own,) = ids(chat) - before
    ada.evaluate("""() => {
        window.typing = [];
        document.addEventListener('keydown', event => requestAnimationFrame(() => {
            const channel = new MessageChannel();  // the task after the frame: it has been painted
            channel.port1.onmessage = () => window.typing.push(performance.now() - event.timeStamp);
            channel.port2.postMessage(0);
        }), true);
    }""")
    flood = subprocess.Popen(
        [sys.executable, "-m", "tests.browser.flood", "3000", "500", own], env=environment_of_a_run(state_dir())
    )
    composer = ada.get_by_label("Message")
    composer.focus()
    while flood.poll() is None:
        ada.keyboard.press("a")
        ada.wait_for_timeout(50)
    assert flood.returncode == 0
    typing = sorted(ada.evaluate("window.typing"))
    assert len(typing) > 50
    assert typing[len(typing) // 2] < 100
    expect(ada.get_by_text("flood 2999", exact=True)).to_be_visible()
    assert messages(ada).count() < 200
    assert ada.evaluate("performance.memory.usedJSHeapSize") < 100e6
    assert composer.input_value() == "a" * len(typing)
    picture(ada, "after 3,000 messages")


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
