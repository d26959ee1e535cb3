"""A real browser on the page as it is deployed: from the local cloud's S3, through its WebSocket API."""

import re
import socket
import threading
from contextlib import suppress

import pytest
import websocket
from playwright.sync_api import expect, sync_playwright

from chatlab import browser, local_cloud
from chatlab.paths import RUNS, ensure_writable
from tests.support.labs import run_notebook
from tests.support.pages import join

PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)


class Wire(threading.Thread):
    """The wire between the browser and the local cloud, which can be cut: a proxy for TCP, on loopback."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = threading.Event()
        self._open.set()
        self._sockets = set()
        self.was_cut = False

    def cut(self):
        """Break every connection, and refuse new ones."""
        self.was_cut = True
        self._open.clear()
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def restore(self):
        """Let connections through again."""
        self._open.set()

    def stop(self):
        self.cut()
        self._listener.close()

    def run(self):
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._open.is_set():
                    near.close()
                    continue
                far = socket.create_connection(self._to)
                self._sockets |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            self._sockets.discard(each)


@pytest.fixture(scope="session")
def page_url(chat, tmp_path_factory):
    """The address of the page, deployed by notebook 05."""
    run_notebook("05_frontend_on_s3", tmp_path_factory.mktemp("page"))
    return chat.page_url


@pytest.fixture(scope="session")
def wire(page_url):
    wire = Wire(local_cloud.status()["port"])
    wire.start()
    yield wire
    wire.stop()


@pytest.fixture(scope="session")
def launch():
    """`launch(rule)`: a browser that finds its servers by this rule. Playwright is there once: it allows no second."""
    executable = browser.find_executable()
    assert executable, "There is no Chromium on this machine: `make test` installs one."
    with sync_playwright() as playwright:

        def launch_one(rule):
            arguments = [*browser.launch_arguments(), f"--host-resolver-rules={rule}"]
            return playwright.chromium.launch(executable_path=executable, args=arguments)

        yield launch_one


@pytest.fixture(scope="session")
def chromium(launch, wire):
    """A browser for whom the local cloud is at the other end of the wire."""
    chromium = launch(f"MAP 127.0.0.1 127.0.0.1:{wire.port}")
    yield chromium
    chromium.close()


@pytest.fixture(scope="session")
def spare_pages():
    """Pages that tests have used, blank again: another one takes half a second of CPU more."""
    return []


@pytest.fixture
def window(chromium, page_url, wire, spare_pages):
    """`window()`: the page in a browser of its own. What it complains of and whom it asks is watched in every test.

    `expected` is a pattern for the errors that a test provokes. What Chromium itself says of a wire that a test has cut
    is not counted: that nothing gets through (net::ERR_), or, where the wire is whole again between a failed handshake
    and the page's question whether anything is there, that the local cloud takes no such question (403). `new` is for
    what a page that has been used would not show.
    """
    opened, errors, hosts = [], [], set()
    wire.was_cut = False

    def is_error(message, expected):
        return (
            message.type == "error"
            and not (expected and re.search(expected, message.text))
            and not (wire.was_cut and re.search("net::ERR_|status of 403", message.text))
        )

    def open_window(width=460, height=640, goto=True, expected=None, new=False, **options):
        is_plain = goto and not new and not options
        page = spare_pages.pop() if is_plain and spare_pages else chromium.new_context(**options).new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.set_default_timeout(PATIENCE_MS)
        listeners = {
            "pageerror": lambda error: errors.append(str(error)),
            "dialog": lambda dialog: dialog.accept(),
            "request": lambda request: hosts.add(request.url.split("/")[2]),
            "websocket": lambda websocket: hosts.add(websocket.url.split("/")[2]),
            "console": lambda message: is_error(message, expected) and errors.append(message.text),
        }
        for event, listener in listeners.items():
            page.on(event, listener)
        opened.append((page, listeners, is_plain))
        if goto:
            page.goto(page_url)
        return page

    yield open_window
    for page, listeners, is_plain in opened:
        if page.is_closed() or not is_plain:
            page.context.close()
            continue
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        page.context.set_offline(False)
        page.evaluate("localStorage.clear(); sessionStorage.clear()")
        page.goto("about:blank")
        spare_pages.append(page)
    wire.restore()
    assert errors == []
    assert hosts <= {page_url.split("/")[2]}


@pytest.fixture
def joined(window):
    """`joined("Ada")`: the page of somebody who has joined and is connected."""

    def open_and_join(name, **options):
        page = window(**options)
        join(page, name)
        return page

    return open_and_join


@pytest.fixture
def terminal(chat):
    """A client that is no browser."""
    socket = websocket.create_connection(chat.websocket_url(chat.require_api()), timeout=20)
    yield socket
    socket.close()


@pytest.fixture
def picture():
    """`picture(page, "two people")`: a screenshot among the run's artefacts, runs/screenshots."""
    folder = ensure_writable(RUNS / "screenshots")

    def take(page, name):
        page.screenshot(path=folder / f"{name}.png", animations="disabled")

    return take
