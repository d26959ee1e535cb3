"""What a client does that misbehaves, in a process of its own: `python -m tests.support.hostile NAME URL`, until it is
ended. Without a name it does all of it at once."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import websocket

from chatlab.paths import ROOT

TEXT, CONTINUATION, BINARY, CLOSE, PING, PONG = 1, 0, 2, 8, 9, 10


def frame(opcode, data=b"", *, fin=True, reserved=0, masked=True, length=None):
    """A client's frame, right or wrong, masked with zeros. `length` is what it says, if that is not the truth."""
    said = len(data) if length is None else length
    mask = 0x80 if masked else 0
    if said < 126:
        size = struct.pack("!B", mask | said)
    elif said < 2**16:
        size = struct.pack("!BH", mask | 126, said)
    else:
        size = struct.pack("!BQ", mask | 127, said)
    return bytes([fin << 7 | reserved << 4 | opcode]) + size + bytes(4 if masked else 0) + data


def close(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


def fragments(number):
    """A message of so many frames of one byte."""
    return (
        frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x", fin=False) * (number - 2) + frame(CONTINUATION, b"x")
    )


BAD_FRAMES = {
    "unmasked": (frame(TEXT, b"x", masked=False), 1002),
    "first reserved bit": (frame(TEXT, b"x", reserved=4), 1002),
    "second reserved bit": (frame(TEXT, b"x", reserved=2), 1002),
    "third reserved bit": (frame(TEXT, b"x", reserved=1), 1002),
    "opcode 3": (frame(3, b"x"), 1002),
    "opcode 11": (frame(11, b"x"), 1002),
    "no UTF-8": (frame(TEXT, b"\xff"), 1007),
    "half a character": (frame(TEXT, "ü".encode()[:1]), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "a length of 2^62": (frame(TEXT, length=2**62), 1009),
    "a length of 2^63": (frame(TEXT, length=2**63), 1009),
    "a frame of 32 KB and a byte": (frame(TEXT, b"x" * (32 * 1024 + 1)), 1009),
    "a message of 128 KB and a byte": (
        b"".join(frame(CONTINUATION if n else TEXT, b"x" * 32 * 1024, fin=False) for n in range(4))
        + frame(CONTINUATION, b"x"),
        1009,
    ),
    "frames without a byte": (frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * (128 * 1024), 1009),
    "a ping in two frames": (frame(PING, b"x", fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "the end of no message": (frame(CONTINUATION, b"x"), 1002),
    "a message within another": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close with 1005": (close(1005), 1002),
    "a close with 999": (close(999), 1002),
    "a close whose reason is no UTF-8": (close(1000, b"\xff"), 1007),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1002),
    "zeros": (bytes(100), 1002),
    "binary": (frame(BINARY, b"x"), 1003),
}
"""Frames that nobody may send, and the code with which the socket is closed for it."""

STRANGE_FRAMES = {
    "half a frame": frame(TEXT, b"hello")[:-2],
    "half a header": frame(TEXT, b"hello")[:3],
    "an empty message": frame(TEXT),
    "a pong that nobody asked for": frame(PONG, b"x"),
}
"""Frames, or parts of them, after which nothing happens."""

BOMBS = [
    "[" * 60_000, '{"a":' * 20_000, '{"action":' * 10_000, '{"action":"$connect"}', '{"action":"$disconnect"}',
    '{"action":"$default"}', '{"action":"$connect","action":"$disconnect"}', '{"action":1}', '{"action":null}',
    '{"action":{"action":"$connect"}}', '{"action":["$disconnect"]}', '[{"action":"$connect"}]',
    f'{{"action":{"9" * 20_000}}}', '{"action":1e999}', "NaN",
]  # fmt: skip
"""Messages at which whoever chooses the route may fail, or choose wrongly."""


def text_frames(text):
    """A message in frames of 32 KB."""
    data = text.encode()
    parts = [data[begin : begin + 32 * 1024] for begin in range(0, len(data), 32 * 1024)]
    return b"".join(
        frame(CONTINUATION if number else TEXT, part, fin=number == len(parts) - 1) for number, part in enumerate(parts)
    )


def opened(url):
    return websocket.create_connection(url, timeout=20)


def deaf(url):
    """An open socket that takes in as little as there is."""
    return websocket.create_connection(url, timeout=20, sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])


def listens(client):
    """Read what comes, in a thread, however long it takes: what was heard, a list that grows."""
    client.settimeout(None)
    heard = []

    def read():
        with suppress(OSError, websocket.WebSocketException):
            while True:
                heard.append(client.recv())

    threading.Thread(target=read, daemon=True).start()
    return heard


def raw(url):
    """A connected socket, and the handshake that would open it."""
    parts = urlsplit(url)
    handshake = (
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    return socket.create_connection((parts.hostname, parts.port), timeout=10), handshake


def never_read(url, number=20):
    """Sockets that never read. What is said has to be large, or else their buffers take it all."""
    clients = [deaf(url) for _ in range(number)]
    yield
    while clients:
        time.sleep(0.1)
        yield


def ping(url):
    """Pings as fast as it goes, whose pongs are read."""
    client = opened(url)
    listens(client)
    while True:
        client.sock.sendall(frame(PING, b"x" * 125) * 100)
        yield


def ping_and_never_read(url):
    while True:
        client = deaf(url)
        with suppress(OSError):
            while True:
                client.sock.sendall(frame(PING, b"x" * 125) * 1_000)
                yield


def send_bad_frames(url):
    """One after another, each over a connection of its own."""
    while True:
        for data, _ in BAD_FRAMES.values():
            client = opened(url)
            with suppress(OSError):
                client.sock.sendall(data)
                client.sock.recv(1024)
            client.sock.close()
            yield


def fragment(url):
    """Messages of 10,000 frames of one byte each."""
    client = opened(url)
    heard = listens(client)
    while True:
        said = len(heard)
        client.sock.sendall(fragments(10_000))
        while len(heard) == said:
            time.sleep(0.001)
        yield


def flood(url, number=10**9):
    """Messages as fast as they are taken."""
    client = opened(url)
    listens(client)
    for begin in range(0, number, 100):
        client.sock.sendall(b"".join(frame(TEXT, b"flood %d" % n) for n in range(begin, min(begin + 100, number))))
        yield
    while True:
        time.sleep(0.1)
        yield


def connect_and_drop(url, number=500):
    """Handshakes, and none of the sockets stays: dropped at once, before the answer, within the handshake, after it."""
    for _ in range(number // 5):
        for part in (0, 20, -2, None):
            client, handshake = raw(url)
            client.sendall(handshake[:part])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # with a reset
            client.close()
        opened(url).sock.close()
        yield
    while True:
        time.sleep(0.1)
        yield


def half_a_handshake(url, number=500):
    """Sockets that begin a handshake and never end it."""
    clients = [raw(url) for _ in range(number)]
    for client, handshake in clients:
        client.sendall(handshake[:-2])
    while True:
        yield
        time.sleep(0.1)


def knock_at_wrong_doors(url):
    """What is no handshake, or none of this API's."""
    parts = urlsplit(url)
    while True:
        for data in WRONG_DOORS:
            client, _ = raw(url)
            with client, suppress(OSError):
                client.sendall(data.replace(b"PATH", parts.path.encode()).replace(b"HOST", parts.netloc.encode()))
                client.recv(1024)
            yield


UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
WRONG_DOORS = {
    b"GET PATHx HTTP/1.1\r\nHost: HOST\r\n" + UPGRADE + KEY + b"\r\n": 403,  # another stage
    b"GET /_aws/execute-api/abcdefghij/production HTTP/1.1\r\nHost: HOST\r\n" + UPGRADE + KEY + b"\r\n": 403,
    b"GET /elsewhere HTTP/1.1\r\nHost: HOST\r\n" + UPGRADE + KEY + b"\r\n": 403,
    b"GET PATH HTTP/1.1\r\nHost: elsewhere\r\n" + UPGRADE + KEY + b"\r\n": 403,
    b"GET PATH HTTP/1.1\r\nHost: HOST\r\n" + UPGRADE + b"\r\n": 400,  # without a key
    b"GET PATH HTTP/1.1\r\nHost: HOST\r\n" + UPGRADE.replace(b"13", b"8") + KEY + b"\r\n": 400,
    b"POST PATH HTTP/1.1\r\nHost: HOST\r\n" + UPGRADE + KEY + b"\r\n": 405,
    b"GET PATH HTTP/1.1\r\nHost: HOST\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n": 403,
    b"GET PATH HTTP/1.1\r\nHost: HOST\r\n\r\n": 403,  # HTTP
    b"POST PATH HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\nhello": 403,
    b"GET PATH HTTP/1.1\r\nHost: HOST\r\nX-Long: " + b"x" * 70_000 + b"\r\n" + UPGRADE + KEY + b"\r\n": None,
    b"nonsense\r\n\r\n": 400,
    bytes(100): 400,
}
"""Requests, with PATH and HOST left open, and the status of the answer; None: it is dropped without one."""


def send_bombs(url):
    client = opened(url)
    listens(client)
    while True:
        for text in BOMBS:
            client.sock.sendall(text_frames(text))
            yield


def echo(url, number=2, refusals=False):
    """Clients that say again whatever they hear, by mistake: each message becomes two, these four, and so on."""
    clients = [opened(url) for _ in range(number)]

    def repeat(client):
        with suppress(OSError, websocket.WebSocketException):
            while True:
                said = client.recv()
                if refusals or "Too Many Requests" not in said:
                    client.send(said)

    for client in clients:
        threading.Thread(target=repeat, args=(client,), daemon=True).start()
    clients[0].send("echo")
    while True:
        time.sleep(0.1)
        yield


def echo_everything(url):
    """As `echo`, and the refusals of what they have said, too."""
    yield from echo(url, refusals=True)


DEEDS = {
    deed.__name__: deed
    for deed in (
        never_read, ping, ping_and_never_read, send_bad_frames, fragment, flood, connect_and_drop, half_a_handshake,
        knock_at_wrong_doors, send_bombs, echo, echo_everything,
    )
}  # fmt: skip


def do(name, url, begun):
    """Do it without end, over and over where the other end closes the connection."""
    while True:
        with suppress(OSError, websocket.WebSocketException):
            for _ in DEEDS[name](url):
                begun.set()


def main(url, *names):
    """Begin, say so, and go on until ended."""
    begun = {name: threading.Event() for name in names}
    for name, event in begun.items():
        threading.Thread(target=do, args=(name, url, event), daemon=True).start()
    for event in begun.values():
        event.wait()
    print(json.dumps({"begun": list(names), "pid": os.getpid()}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])


@contextmanager
def meanwhile(url, name):
    """Somebody does this, in a process of its own."""
    command = [sys.executable, "-m", "tests.support.hostile", url, name]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
