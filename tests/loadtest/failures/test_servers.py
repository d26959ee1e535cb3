"""A server that takes nobody, freezes or dies, or sends without end."""

import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import pytest
from websockets.utils import accept_key

from tests.support.failures import PEOPLE, checked_summary
from tests.support.hostile_messages import CONTINUATION, OPEN, PING, TEXT, sent


@contextmanager
def answering(answer, close=False, more=b""):
    """A server that answers whatever comes first on a connection with these bytes, and sends `more` without end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    connections = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            key = re.search(rb"Sec-WebSocket-Key: (\S+)", connection.recv(10_000))[1].decode()
            connection.sendall(answer.replace(b"ACCEPT", accept_key(key).encode()))
            if more:
                threading.Thread(target=send_without_end, args=(connection,), daemon=True).start()
            if close:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()

    def send_without_end(connection):
        with suppress(OSError):
            while True:
                connection.sendall(more)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/chat"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            connection.close()


ANSWERS = {
    "a server that hangs up": (b"", True, "Connection reset by peer."),
    "a server that speaks no HTTP": (b"\x16\x03\x01\x00\x00" * 20, True, "could be made: "),
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


WITHOUT_END = {
    "a frame of 2^62 bytes": (OPEN + sent(TEXT, length=2**62), bytes(2**16), "code 1009: a frame of 4,611,686,018,427"),
    "endless one-byte frames": (OPEN, sent(TEXT, b"x") * 20_000, "50 of 50 deliveries are missing"),
    "endless fragments": (
        OPEN + sent(TEXT, b"x", fin=False),
        sent(CONTINUATION, b"x", fin=False) * 20_000,
        "code 1008: a message",
    ),
    "an endless header line": (b"HTTP/1.1 101 OK\r\nX: ", b"x" * 2**16, "more than 65,536 bytes"),
    "endless pings": (OPEN, sent(PING, b"x" * 125) * 500, "code 1008: more than 100 control frames in a second"),
}
"""What a server sends first, what it sends then without end, and what the load test says to it."""
usual_mb = []
"""What the load test needs if the server does what it should."""


@pytest.mark.parametrize(
    "name",
    [name if "2^62" in name or "one" in name else pytest.param(name, marks=pytest.mark.long) for name in WITHOUT_END],
)
def test_a_server_that_sends_without_end_ends_it_and_fills_no_memory(failure, name):
    few = ("--broadcasts", 5, "--drain-time", 1)
    if not usual_mb:
        failure.begin("", *few)
        assert failure.end().status == 0
        usual_mb.append(failure.peak_mb)
    answer, more, says = WITHOUT_END[name]
    with answering(answer, more=more) as url:
        failure.words[1] = url
        failure.begin("", *few)
        test = failure.end(usual_mb[0] + 100)
    assert test.status == 1
    assert says in "; ".join([*test.result.connections["error"].dropna(), *test.errors]), test.output
    assert checked_summary(test)["delivered"] == 0
    assert len(test.errors) == 1 and "Traceback" not in test.output


@pytest.mark.long
def test_error_frames_of_any_number_of_texts_are_told_in_a_few(run):
    texts = (f'{{"message": "{k}", "connectionId": "", "requestId": ""}}'.encode() for k in range(1_000))
    with answering(OPEN, more=b"".join(sent(TEXT, text) for text in texts)) as url:
        test = run("--host", url, "--users", 2, "--broadcasts", 3, "--broadcast-rate", 10, "--drain-time", 0.5)
    assert list(test.summary["error_frames"])[-1] == "others"
    assert len(test.summary["error_frames"]) == 11 and len(test.errors[-1]) < 1_000


SERVER = """
import sys
from loadtest.calibration import reference_server
with reference_server.run() as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


def test_a_server_that_freezes_ends_it(failure):
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            failure.words[1] = process.stdout.readline().strip()
            failure.begin()
            failure.test.until_delivered(4 * PEOPLE)
            process.send_signal(signal.SIGSTOP)
            test = failure.end()
        finally:
            process.kill()
    summary = checked_summary(test)
    assert test.status == 1
    assert summary["delivered"] >= 4 * PEOPLE
    assert summary["missing"] > 0 and "deliveries are missing" in test.errors[-1]
