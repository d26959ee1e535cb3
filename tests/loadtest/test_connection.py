"""What a connection of the load test takes from its server, and what it does beyond that."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import gevent
import pytest
from websockets.utils import accept_key

from loadtest import clock, sockets
from loadtest.connection import Closed, Connection
from tests.support.hostile_messages import CONTINUATION, OPEN, PING, TEXT, sent


@contextmanager
def opened(serve):
    """A watched connection, to a server that answers the handshake and then does `serve(its socket)` in a thread."""

    def accept():
        peer, _ = listener.accept()
        with peer:
            key = peer.recv(10_000).partition(b"Key: ")[2].partition(b"\r\n")[0].decode()
            peer.sendall(OPEN.replace(b"ACCEPT", accept_key(key).encode()))
            serve(peer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        one = Connection(f"ws://127.0.0.1:{listener.getsockname()[1]}/", timeout_s=10)
        one.watch(lambda: None)
        try:
            yield one
        finally:
            one.close()
            thread.join(10)


@pytest.fixture
def kernel_timestamps():
    """A socket that can ask for timestamps: the kernel ends to give them when the last one that has is closed."""
    with socket.socket() as asking:
        yield asking


def read(one, number):
    """So many messages, as they come."""
    found = []
    with gevent.Timeout(10):
        while len(found) < number:
            found += one.frames(7)
            gevent.sleep(0.001)
    return found


def test_fragments_are_joined_and_the_newest_ping_is_answered():
    heard = []

    def serve(peer):
        peer.sendall(sent(TEXT, b"a", fin=False) + sent(PING, b"1") + sent(PING, b"2") + sent(CONTINUATION, b"b"))
        heard.append(peer.recv(100))

    with opened(serve) as one:
        assert [each.payload for each in read(one, 1)] == [b"ab"]
        with gevent.Timeout(10):
            while not heard:
                gevent.sleep(0.001)
    pong, mask, masked = heard[0][:2], heard[0][2:6], heard[0][6:]
    assert (pong, bytes(a ^ b for a, b in zip(mask, masked, strict=False))) == (b"\x8a\x81", b"2")


@pytest.mark.parametrize(
    ("frames", "code", "says"),
    [
        (sent(TEXT, length=2**62), 1009, "a frame of 4,611,686,018,427,387,904 bytes, more than"),
        (
            sent(TEXT, b"x", fin=False) + sent(CONTINUATION, b"x" * 70_000, fin=False) * 2,
            1009,
            "a message of more than",
        ),
        (sent(TEXT, fin=False) + sent(CONTINUATION, fin=False) * 1_024, 1008, "a message in more than 1,024 frames"),
        (sent(PING, b"x" * 126), 1009, "a control frame of more than 125 bytes"),
        (sent(PING) * 101, 1008, "more than 100 control frames in a second"),
    ],
)
def test_a_server_that_breaks_a_limit_is_left_with_the_reason(frames, code, says):
    heard = []

    def serve(peer):
        peer.sendall(frames)
        with suppress(OSError):
            while chunk := peer.recv(10_000):
                heard.append(chunk)

    with opened(serve) as one:
        with pytest.raises(Closed, match=f"closed with code {code}: {says}"):
            read(one, 1)
        one.close()
    last = b"".join(heard)[-8:]  # a close frame: two bytes, four of the mask, two of the code
    assert bytes(a ^ b for a, b in zip(last[2:6], last[6:], strict=False)) == code.to_bytes(2, "big")


def test_what_waits_unread_is_bounded_and_its_timestamps_stay_honest(monkeypatch, kernel_timestamps):
    """The kernel's queue joins what waits: then a timestamp is an upper bound, and said to be one."""
    monkeypatch.setattr(sockets, "MAX_UNREAD_BYTES", 100_000)
    number = 500
    kernel_timestamps.setsockopt(socket.SOL_SOCKET, clock.SO_TIMESTAMPNS, 1)
    while not clock.kernel_timestamps.__wrapped__():  # it begins to give them a moment after the first socket asks
        time.sleep(0.01)

    def serve(peer):
        for _ in range(number):
            peer.sendall(sent(TEXT, f"{time.time_ns()}".ljust(1_000).encode()))
            time.sleep(0.0005)
        peer.recv(10)  # until the other end closes

    with opened(serve) as one:
        gevent.sleep(1)
        assert 100_000 < sockets.unread.bytes < 100_000 + sockets.CHUNK_BYTES + sockets.ARRIVAL_BYTES
        most = sockets.unread.bytes // len(sent(TEXT, bytes(1_000)))  # before the pause: several may come at once
        frames = read(one, number)
        assert (sockets.unread.bytes, sockets.unread.paused) == (0, set())
    late_ms = [(each.arrived_ns - int(each.payload)) / 1e6 for each in frames]
    exact = [late for late, each in zip(late_ms, frames, strict=True) if each.exact]
    assert min(late_ms) >= 0 and sorted(exact)[len(exact) // 2] < 1
    assert len(exact) > 30 and not any(each.exact for each in frames[most:])


def test_to_a_server_that_does_not_read_a_connection_closes_at_once():
    done = threading.Event()
    with opened(lambda peer: done.wait(10)) as one:
        sending = gevent.spawn(one.send, "x" * 32_000_000)
        gevent.sleep(0.1)
        assert not sending.dead
        with gevent.Timeout(1):
            one.close()
            with pytest.raises(OSError, match="closed"):
                sending.get()
        done.set()
