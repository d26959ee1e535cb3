"""Finding a Chromium on this machine, to look at the page as people do."""

import shutil
import sys
from pathlib import Path
from urllib.request import getproxies

from playwright.sync_api import Error, sync_playwright

from chatlab.settings import Variable

# The first is Chromium without windows, as Debian has it, and draws a page with less than half of the CPU.
EXECUTABLES = (
    "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "msedge",
)  # fmt: skip
MAC_EXECUTABLE = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def launch_arguments() -> list[str]:
    """The arguments with which the lab starts a Chromium."""
    # Without a sandbox, since root and containers have none to offer; it opens nothing but our own page. The others
    # keep it from talking to anybody else: updates, field trials, safe-browsing lists.
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
    return _playwrights_own()


def _playwrights_own() -> str | None:
    try:
        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
    except Error:
        return None
    return path if Path(path).exists() else None


if __name__ == "__main__":  # for the Makefile: is there one?
    sys.exit(find_executable() is None)
