"""The connection breaks, or is refused: what people see, and what becomes of what they write meanwhile."""

from playwright.sync_api import expect

from chatlab import poll
from tests.support.labs import without_policy
from tests.support.pages import CUT, messages, say, state, texts


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


def test_coming_back_online_reconnects_at_once(joined, wire, picture):
    ada = joined("Ada", expected=CUT)
    wire.cut()
    ada.context.set_offline(True)
    expect(state(ada)).to_have_attribute("data-state", "offline")
    picture(ada, "offline")
    wire.restore()
    ada.context.set_offline(False)
    expect(state(ada)).to_have_attribute("data-state", "connected", timeout=5000)


def test_a_refused_handshake_is_said(chat, window, picture):
    with without_policy(chat, "connections-table"):
        page = window(expected="405|403")  # the page asks whether anything is there, and no HEAD is taken
        page.get_by_label("Your name").fill("Ada")
        page.get_by_role("button", name="Join").click()
        expect(state(page)).to_have_attribute("data-state", "refused")
        picture(page, "refused")
    expect(state(page)).to_have_attribute("data-state", "connected", timeout=60_000)
