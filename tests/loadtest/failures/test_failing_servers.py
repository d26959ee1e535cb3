"""A server that takes nobody, freezes or dies."""

import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from tests.support.failures import PEOPLE, checked_summary


@contextmanager
def answering(answer, close=False):
    """A server that answers whatever comes first on a connection with these bytes, at its own address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    connections = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            connection.recv(10_000)
            connection.sendall(answer)
            if close:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/chat"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            connection.close()


ANSWERS = {
    "a server that says nothing": (b"", False, "no answer within 3 s."),
    "a server that hangs up": (b"", True, "Connection reset by peer."),
    "a server that speaks no HTTP": (b"\x16\x03\x01\x00\x00" * 20, True, "could be made: "),
    "a server that answers 429 for ever": (b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n", False, "status 429"),
    "a server that sends it elsewhere": (
        b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        False,
        "status 301.",
    ),
}


@pytest.mark.parametrize(
    "name", [name if "hangs" in name else pytest.param(name, marks=pytest.mark.long) for name in ANSWERS]
)
def test_a_server_that_takes_nobody_ends_it(failure, name):
    answer, close, says = ANSWERS[name]
    with answering(answer, close) as url:
        failure.words[1] = url
        failure.begin()
        test = failure.end()
    assert test.status == 1
    assert says in test.errors[-1], test.output
    assert checked_summary(test)["expected"] == 0
    assert "Traceback" not in test.output


@contextmanager
def server_process():
    """The reference server in a process of its own, which can be stopped."""
    code = (
        "import sys, threading\n"
        "from loadtest.calibration import reference_server\n"
        "with reference_server.run() as server:\n"
        "    print(server.url, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("number", "verb"),
    [(signal.SIGSTOP, "freezes"), pytest.param(signal.SIGKILL, "dies", marks=pytest.mark.long)],
    ids=["a server that freezes", "a server that dies"],
)
def test_a_server_that_freezes_or_dies_ends_it(failure, number, verb):
    with server_process() as (process, url):
        failure.words[1] = url
        failure.begin()
        failure.until_delivered(4)
        process.send_signal(number)
        test = failure.end()
    summary = checked_summary(test)
    assert test.status == 1
    assert summary["delivered"] >= 4 * PEOPLE
    if verb == "freezes":
        assert summary["missing"] > 0 and "deliveries are missing" in test.errors[-1]
    else:
        assert test.errors == ["Every connection was closed before the last broadcast."]
