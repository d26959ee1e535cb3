"""What a page shows, and what a person does on it."""

from playwright.sync_api import expect

PATIENCE_MS = 15_000
# What Chromium reports when the wire is cut. The 403 is the local cloud's: the wire may be whole again between a failed
# handshake and the page's question whether anything is there.
CUT = "net::ERR_|Connection closed before|status of 403"


def state(page):
    """The element that says how the connection is."""
    return page.locator("[role=status][data-state]")


def join(page, name):
    """Join with this name, and wait until the page is connected."""
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Join").click()
    expect(state(page)).to_have_attribute("data-state", "connected")


def say(page, text):
    """Type a message and send it."""
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def messages(page):
    """The messages in view."""
    return page.get_by_test_id("message")


def texts(page):
    """What the messages in view say."""
    return messages(page).locator(".text").all_inner_texts()


def fits(page):
    """Whether nothing is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
