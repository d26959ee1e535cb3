"""A Chromium of this machine: finding it, and people who chat in it, for a picture of what they see."""

import asyncio
import io
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.request import getproxies

from IPython.display import Image as ShownImage
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright, expect
from playwright.sync_api import Error, sync_playwright

from chatlab.paths import ROOT
from chatlab.settings import Variable

# The first, Debian's Chromium without windows, draws a page with less than half of the CPU.
EXECUTABLES = (
    "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "msedge",
)  # fmt: skip
MAC_EXECUTABLE = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")

SAVED = [ROOT / "docs" / "chat-light.png", ROOT / "docs" / "chat-dark.png"]
PATIENCE_MS = 30_000
GAP_PX = 24


def launch_arguments() -> list[str]:
    """The arguments with which the lab starts a Chromium."""
    # Root and containers have no sandbox, and it opens only our own page. The other arguments keep it from asking
    # anybody else: for updates, field trials, safe-browsing lists.
    return [
        "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", *([] if getproxies() else ["--no-proxy-server"]),
        *(Variable.BROWSER_ARGUMENTS.get() or "").split(),  # a rehearsal's: whose certificate to trust
    ]  # fmt: skip


def find_executable() -> str | None:
    """The path of a Chromium, Chrome or Edge of this machine, else of Playwright's own Chromium, or None."""
    if found := next(filter(None, map(shutil.which, EXECUTABLES)), None):
        return found
    if MAC_EXECUTABLE.exists():
        return str(MAC_EXECUTABLE)
    with suppress(Error), sync_playwright() as playwright:
        if Path(path := playwright.chromium.executable_path).exists():
            return path
    return None


def main(arguments: Sequence[str]) -> int:
    """For the Makefile: the exit status is 0 if this machine has a browser, else 1."""
    return 0 if find_executable() else 1


async def chat(url: str, lines: Sequence[tuple[str, str]]) -> ShownImage | None:
    """Open the page at `url` for everyone who has one of the `lines` (name, text); let them say these in turn.

    Returns a picture of their pages side by side, or None if this machine has no Chromium. Raises AssertionError if a
    line does not appear on every page.
    """
    executable = await asyncio.to_thread(find_executable)
    if executable is None:
        return None
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=executable, args=launch_arguments())
        try:
            windows = {name: await _join(chromium, url, name) for name in dict.fromkeys(name for name, _ in lines)}
            for name, text in lines:
                await windows[name].get_by_label("Message").fill(text)
                await windows[name].get_by_role("button", name="Send").click()
                for window in windows.values():
                    await expect(window.get_by_role("log")).to_contain_text(text, timeout=PATIENCE_MS)
            said = " ".join(f"{name}: {text}" for name, text in lines)
            pages = [Image.open(io.BytesIO(await window.screenshot())) for window in windows.values()]
            return _beside(pages, f"The pages of {' and '.join(windows)}, each with the text: {said}")
        finally:
            await chromium.close()


def saved_conversation() -> ShownImage:
    """A picture of such a conversation, which comes with the lab for machines without a browser."""
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
