"""What a page shows, and what a person does on it."""

from playwright.sync_api import expect


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
