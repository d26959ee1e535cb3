"""People chat in a real browser: they join, hear each other and leave."""

import gzip
import re

from playwright.sync_api import expect

from chatlab import poll
from chatlab.paths import state_dir
from tests.support.pages import messages, say, state, texts

LIMIT_KB = 100


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
