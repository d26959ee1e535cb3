"""People who chat in a browser: the page, opened once for each of them, and a picture of what they see at the end."""

import asyncio
import io
from collections.abc import Sequence

from IPython.display import Image as ShownImage
from PIL import Image
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from chatlab import browser
from chatlab.paths import ROOT

SAVED = [ROOT / "docs" / "chat-light.png", ROOT / "docs" / "chat-dark.png"]
"""Screenshots of such a conversation, for where there is no browser."""

PATIENCE_MS = 30_000
GAP_PX = 24


async def chat(url: str, lines: Sequence[tuple[str, str]]) -> ShownImage | None:
    """Open the page at `url` for everyone who has one of the `lines` (name, text); let them say these in turn.

    Returns a picture of their pages side by side, or None if this machine has no Chromium. Raises AssertionError if a
    line does not appear on every page.
    """
    executable = await asyncio.to_thread(browser.find_executable)
    if executable is None:
        return None
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=executable, args=browser.launch_arguments())
        try:
            windows = {name: await _join(chromium, url, name) for name in dict.fromkeys(name for name, _ in lines)}
            for name, text in lines:
                await _say(windows[name], text)
                for window in windows.values():
                    await expect(_log(window)).to_contain_text(text, timeout=PATIENCE_MS)
            said = " ".join(f"{name}: {text}" for name, text in lines)
            pages = [Image.open(io.BytesIO(await window.screenshot())) for window in windows.values()]
            return _beside(pages, f"The pages of {' and '.join(windows)}, on each of which stands: {said}")
        finally:
            await chromium.close()


def saved() -> ShownImage:
    """The picture of such a conversation that comes with the lab."""
    return _beside([Image.open(path) for path in SAVED], "A conversation on the page, in light and in dark colours.")


def _beside(pictures: Sequence[Image.Image], alt: str) -> ShownImage:
    """Pictures side by side in one, with an alternative text, as a notebook shows it."""
    width = sum(picture.width for picture in pictures) + GAP_PX * (len(pictures) - 1)
    whole = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    x = 0
    for picture in pictures:
        whole.paste(picture, (x, 0))
        x += picture.width + GAP_PX
    png = io.BytesIO()
    whole.save(png, "PNG")
    return ShownImage(png.getvalue(), alt=alt)


async def _join(chromium: Browser, url: str, name: str) -> Page:
    """The page, opened in a window of its own and joined as `name`."""
    context = await chromium.new_context(viewport={"width": 460, "height": 560}, device_scale_factor=1.5)
    window = await context.new_page()
    await window.goto(url)
    await window.get_by_label("Your name").fill(name)
    await window.get_by_role("button", name="Join").click()
    await expect(window.locator("[role=status][data-state=connected]")).to_be_visible(timeout=PATIENCE_MS)
    return window


async def _say(window: Page, text: str) -> None:
    await window.get_by_label("Message").fill(text)
    await window.get_by_role("button", name="Send").click()


def _log(window: Page) -> Locator:
    return window.get_by_role("log")
