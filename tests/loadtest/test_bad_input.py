"""What cannot work is said in one sentence, with an exit status that is not 0."""

import http.server
import threading
from contextlib import contextmanager

import pytest

from loadtest.benchmarks import reference

FEW = "--users 5 --broadcasts 3 --broadcast-rate 10 --warm-up 0".split()


@contextmanager
def refusing(status):
    """A server that answers every handshake with an HTTP status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(status)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"ws://127.0.0.1:{server.server_port}/chat"
    finally:
        server.shutdown()
        server.server_close()


def said(test):
    assert test.status != 0
    assert "Traceback" not in test.output
    (error,) = test.errors
    return error


def test_nobody_listens(run):
    test = run("--host", "ws://127.0.0.1:1/chat", *FEW)
    assert said(test) == ("None of the first 5 connections to ws://127.0.0.1:1/chat could be made: Connection refused.")
    assert test.summary["connections_failed"] == 5
    assert test.statistics["connect"]["num_failures"] == 5


def test_a_refused_handshake(run):
    with refusing(403) as url:
        test = run("--host", url, *FEW)
    assert said(test).endswith("could be made: handshake refused with status 403.")


def test_some_connections_are_refused(run):
    with reference.run() as server:
        server.most = 3
        test = run("--host", server.url, *FEW)
    assert said(test) == "The test is not complete: 2 of 5 connections could not be made."
    assert test.summary["delivered"] == 9


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--results", "/proc/none"], "The folder /proc/none for the results cannot be written"),
        (["--processes", "2", "--shape", "steps"], "--shape steps needs --steps"),
    ],
)
def test_an_argument_that_cannot_be(run, words, says):
    assert says in said(run("--host", "ws://127.0.0.1:1/chat", *FEW, *words))


def test_a_server_that_accepts_and_says_nothing(run):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), None) as silent:
        url = f"ws://127.0.0.1:{silent.server_port}/chat"
        assert said(run("--host", url, *FEW, "--connect-timeout", 1)).endswith("no answer within 1 s.")
