"""Clients that misbehave: what they get, and that nobody else notices."""

import select
from contextlib import suppress

import psutil
import pytest
import websocket

from chatlab import local_cloud
from tests.support import hostile
from tests.support.chat import ids, people
from tests.support.hostile import meanwhile
from tests.support.hostile_messages import (
    BAD_FRAMES,
    BOMBS,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    WRONG_DOORS,
    fragments,
    frame,
    text_frames,
)


@pytest.fixture(scope="module")
def url(chat):
    return chat.websocket_url(chat.require_api())


@pytest.fixture(scope="module")
def others(chat):
    """People who stay, and hear everything."""
    with people(chat, 5) as sockets:
        yield sockets


@pytest.fixture
def client(url):
    """The one who misbehaves."""
    opened = hostile.opened(url)
    yield opened
    opened.shutdown()


def say(sockets, text):
    """Let the first one say something, and wait until all have heard it."""
    sockets[0].send(text)
    for socket in sockets:
        while socket.recv() != text:
            pass


def fate(socket, timeout_s=10):
    """What becomes of a socket: the code with which it is closed, "dropped", or "nothing"."""
    socket.settimeout(timeout_s)
    try:
        while (received := socket.recv_frame()).opcode != websocket.ABNF.OPCODE_CLOSE:
            pass
        return int.from_bytes(received.data[:2], "big")
    except websocket.WebSocketTimeoutException:
        return "nothing"
    except (OSError, websocket.WebSocketException):
        return "dropped"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if name == "frames without a byte" else ()) for name in BAD_FRAMES],
)
def test_a_frame_that_nobody_may_send_closes_its_own_socket_and_no_other(others, client, name):
    data, code = BAD_FRAMES[name]
    with suppress(OSError):  # closed, before all of it was sent
        client.sock.sendall(data)
    assert fate(client) == code
    say(others, f"after {name}")


def test_what_is_only_strange_is_nothing(others, url):
    for data in (frame(TEXT, b"hello")[:3], frame(TEXT), frame(PONG, b"x")):
        client = hostile.opened(url)
        client.sock.sendall(data)
        assert fate(client, timeout_s=0.1) == "nothing"
        client.shutdown()
    say(others, "after strange frames")


def test_a_message_may_have_many_frames_with_pings_between_them(others, client):
    client.sock.sendall(fragments(10_000))
    assert [socket.recv() for socket in [client, *others]] == ["x" * 10_000] * 6
    parts = [frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b", fin=False)]
    last = frame(CONTINUATION, b"c")
    client.sock.sendall(frame(PING, b"?").join([*parts, last]))
    assert [client.recv_frame().data for _ in range(3)] == [b"?", b"?", b"abc"]
    assert [socket.recv() for socket in others] == ["abc"] * 5


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: repr(text[:40]))
def test_whatever_a_message_looks_like_everyone_hears_it_and_its_sender_stays(others, client, text):
    client.sock.sendall(text_frames(text))
    assert [socket.recv() for socket in [client, *others]] == [text] * 6
    client.send("still here")
    assert [socket.recv() for socket in [client, *others]] == ["still here"] * 6


@pytest.mark.parametrize("request_", WRONG_DOORS, ids=lambda data: repr(data[:40]))
def test_what_is_no_handshake_of_this_api_is_refused(others, url, request_):
    client, handshake = hostile.raw(url)
    path, host = handshake.split()[1], handshake.split()[4]
    with client:
        with suppress(OSError):  # refused, before all of it was sent
            client.sendall(request_.replace(b"PATH", path).replace(b"HOST", host))
        try:
            answer = client.makefile("rb").readline()
        except OSError:
            answer = b""
    assert (int(answer.split()[1]) if answer else None) == WRONG_DOORS[request_]
    say(others, "after a knock")


def test_a_flood_is_heard_by_everyone_in_order(others, client):
    """On AWS all but the stage's burst and rate would be refused (notebook 04)."""
    number = 100
    client.sock.sendall(b"".join(frame(TEXT, b"%d" % n) for n in range(number)))
    assert [[socket.recv() for _ in range(number)] for socket in others] == [[str(n) for n in range(number)]] * 5


def test_a_post_is_with_its_client_before_its_answer_leaves(chat, others, url):
    """As on AWS: no post waits until all others that are under way were taken in."""
    before = ids(chat)
    client = hostile.opened(url)
    (listener,) = ids(chat) - before
    endpoint = chat.connections_url(chat.require_api())
    chat.client("apigatewaymanagementapi", endpoint_url=endpoint).post_to_connection(ConnectionId=listener, Data=b"now")
    assert select.select([client.sock], [], [], 0)[0] == [client.sock]
    assert client.recv() == "now"
    client.close()


def test_who_never_reads_is_closed_and_everyone_else_hears_all(chat, others, url):
    """Its buffers fill; then the local cloud answers as API Gateway does, and the broadcast closes it."""
    before = ids(chat)
    client = hostile.deaf(url)
    (deaf,) = ids(chat) - before
    endpoint = chat.connections_url(chat.require_api())
    connections = chat.client("apigatewaymanagementapi", endpoint_url=endpoint)
    cloud = psutil.Process(local_cloud.status()["pid"])
    memory, number = cloud.memory_info().rss, 0

    def is_closed():
        try:
            connections.get_connection(ConnectionId=deaf)
        except connections.exceptions.GoneException:
            return True

    while not is_closed():
        assert number < 100  # 12 MB
        number += 1
        others[0].sock.sendall(text_frames(large := f"{number} {'x' * 120_000}"))
        assert [socket.recv() for socket in others] == [large] * len(others)
    assert number > 3
    assert cloud.memory_info().rss - memory < 20 * 2**20
    client.shutdown()


def test_who_asks_for_pongs_and_takes_none_is_dropped(others, url):
    client = hostile.deaf(url)
    client.settimeout(10)
    with pytest.raises(OSError):
        for _ in range(1_000):
            client.sock.sendall(frame(PING, b"x" * 125) * 1_000)
    say(others, "after the pings")


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in hostile.DEEDS if not name.startswith("echo")])
def test_everyone_else_hears_everything_meanwhile(chat, url, name):
    with people(chat, 5) as sockets, meanwhile(url, name):
        # It takes a hundred of these until the buffers of those who never read are full.
        number, text = (200, "x" * 30_000) if name == "never_read" else (20, "")
        for n in range(number):
            say(sockets, f"{n} {text}")
