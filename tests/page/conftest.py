"""A real browser on the page as it is deployed: from the local cloud's S3, through its WebSocket API."""

import re
import socket
import socketserver
import threading
from contextlib import suppress

import pytest
import websocket

from chatlab import local_cloud
from tests.support.pages import PATIENCE_MS, join


class Wire(socketserver.ThreadingTCPServer):
    """The wire between the browser and the local cloud, which can be cut: a proxy for TCP, on loopback."""

    daemon_threads = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), None)
        self._far_end = ("127.0.0.1", port)
        self._sockets = set()
        self._is_cut = False

    def cut(self):
        """Break every connection, and refuse new ones."""
        self._is_cut = True
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def restore(self):
        """Let connections through again."""
        self._is_cut = False

    def verify_request(self, *_):
        return not self._is_cut

    def finish_request(self, near, _):
        with socket.create_connection(self._far_end) as far:
            self._sockets |= {near, far}
            back = threading.Thread(target=carry, args=(far, near))
            back.start()
            carry(near, far)
            back.join()
            self._sockets -= {near, far}


def carry(source, sink):
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="session")
def wire(page_url):
    with Wire(local_cloud.status()["port"]) as wire:
        threading.Thread(target=wire.serve_forever, args=(0.05,), daemon=True).start()
        yield wire
        wire.cut()
        wire.shutdown()


@pytest.fixture(scope="session")
def chromium(launch, wire):
    """A browser for which the local cloud is at the other end of the wire."""
    chromium = launch(f"MAP 127.0.0.1 127.0.0.1:{wire.server_address[1]}")
    yield chromium
    chromium.close()


@pytest.fixture
def window(chromium, page_url, wire):
    """`window()`: the page in a browser of its own. In every test it reports no error, and asks its own host only.

    `expected` is a pattern for the errors that the test provokes, `block` one for URLs that stay unanswered.
    """
    contexts, errors, hosts = [], [], set()

    def open_window(width=460, height=640, expected=None, block=None, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)

        def hear(message):
            if message.type == "error" and not (expected and re.search(expected, message.text)):
                errors.append(message.text)

        page.on("console", hear)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.on("websocket", lambda websocket: hosts.add(websocket.url.split("/")[2]))
        if block:
            page.route(re.compile(block), lambda route: route.abort())
        page.goto(page_url)
        return page

    yield open_window
    for context in contexts:
        context.close()
    wire.restore()
    assert errors == []
    assert hosts == {page_url.split("/")[2]}


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
