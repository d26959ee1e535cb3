"""Whatever people write is shown as they wrote it, or refused and kept."""

import json

from playwright.sync_api import expect

from tests.support.pages import messages, say, state, texts


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
