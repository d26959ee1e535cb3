"""A room in which much is said: the page stays readable and quick."""

import json
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from chatlab.paths import state_dir
from tests.support.chat import ids
from tests.support.pages import messages, say
from tests.support.processes import environment_of_a_run


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
