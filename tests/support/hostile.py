"""What a client does that misbehaves, in a process of its own: `python -m tests.support.hostile URL NAME`, until it is
ended."""

import itertools
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

import websocket

from chatlab.paths import ROOT
from tests.support.hostile_messages import KEY, PING, TEXT, UPGRADE, frame


def opened(url):
    return websocket.create_connection(url, timeout=20)


def deaf(url):
    """An open socket that takes in as little as there is."""
    return websocket.create_connection(url, timeout=20, sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])


def raw(url):
    """A connected socket, and the handshake that would open it."""
    parts = urlsplit(url)
    handshake = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode() + UPGRADE + KEY + b"\r\n"
    return socket.create_connection((parts.hostname, parts.port), timeout=10), handshake


def linger():
    while True:
        time.sleep(0.1)
        yield


def in_a_thread(work):
    """Do this, in a thread, until the connection ends."""

    def run():
        with suppress(OSError, websocket.WebSocketException):
            while True:
                work()

    threading.Thread(target=run, daemon=True).start()


def never_read(url):
    """Sockets that never read. What is said has to be large, or else their buffers take it all."""
    clients = [deaf(url) for _ in range(20)]
    yield from linger()
    assert clients  # are kept until here


def ping_and_never_read(url):
    while True:
        client = deaf(url)
        with suppress(OSError):
            while True:
                client.sock.sendall(frame(PING, b"x" * 125) * 1_000)
                yield


def flood(url):
    """Messages as fast as they are taken."""
    client = opened(url)
    client.settimeout(None)
    in_a_thread(client.recv)
    for begin in itertools.count(0, 100):
        client.sock.sendall(b"".join(frame(TEXT, b"flood %d" % n) for n in range(begin, begin + 100)))
        yield


def connect_and_drop(url):
    """Handshakes, and none of the sockets stays: dropped at once, before the answer, within the handshake, after it."""
    for _ in range(100):
        for part in (0, 20, -2, None):
            client, handshake = raw(url)
            client.sendall(handshake[:part])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # with a reset
            client.close()
        opened(url).sock.close()
        yield
    yield from linger()


def echo(url, refusals=False):
    """Clients that say again whatever they hear, by mistake: each message becomes two, these four, and so on."""
    clients = [opened(url) for _ in range(2)]

    def repeat(client):
        said = client.recv()
        if refusals or "Too Many Requests" not in said:
            client.send(said)

    for client in clients:
        in_a_thread(partial(repeat, client))
    clients[0].send("echo")
    yield from linger()


def echo_everything(url):
    """As `echo`, and the refusals of what they have said, too."""
    yield from echo(url, refusals=True)


DEEDS = {
    deed.__name__: deed for deed in (never_read, ping_and_never_read, flood, connect_and_drop, echo, echo_everything)
}


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
