"""What a client does that misbehaves, in a process of its own: `python -m tests.support.hostile URL NAME`, until it is
ended."""

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
from tests.support.hostile_messages import BAD_FRAMES, PING, TEXT, fragments, frame


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
        never_read, ping_and_never_read, send_bad_frames, fragment, flood, connect_and_drop, half_a_handshake, echo,
        echo_everything,
    )
}  # fmt: skip


def main(url, name):
    """Do it over and over, also where the other end closes the connection; say when it has begun."""
    begun = False
    while True:
        with suppress(OSError, websocket.WebSocketException):
            for _ in DEEDS[name](url):
                if not begun:
                    print("begun", flush=True)
                begun = True


@contextmanager
def meanwhile(url, name):
    """Somebody does this, in a process of its own."""
    command = [sys.executable, "-m", "tests.support.hostile", url, name]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline()
            yield
        finally:
            process.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
