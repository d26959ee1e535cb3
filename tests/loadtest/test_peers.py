"""What the load test's protocols say to servers that others have written, and what they take from them."""

import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from pathlib import Path

import gevent
import pytest

from chatlab import poll
from chatlab.paths import ROOT
from loadtest import protocols
from loadtest.connection import Connection
from loadtest.messages import MAX_MESSAGE_BYTES
from loadtest.protocols import Taken, mqtt
from loadtest.sockets import LimitError

KEYS = {"socket.io": "sesame", "mqtt": "me:sesame", "graphql-ws": '{"token": "sesame"}'}


@contextmanager
def begin(protocol):
    """The host of a server of npm's, by frontend/test/peers.ts."""
    command = [Path(sys.executable).with_name("node"), ROOT / "frontend" / "test" / "peers.ts", protocol]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"ws://127.0.0.1:{process.stdout.readline().strip()}/socket.io/"  # the others take any path
        finally:
            process.stdin.close()  # which ends it


@pytest.fixture(scope="module")
def node():
    """`node(protocol)`: the host of npm's server for it, which is begun once."""
    with ExitStack() as running:
        yield cache(lambda protocol: running.enter_context(begin(protocol)))


@contextmanager
def python(app):
    """The host of an ASGI application, in a thread."""
    import uvicorn  # here, and so the next two: each process that collects the tests would load them

    server = uvicorn.Server(uvicorn.Config(app, port=0, interface="asgi3", lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        poll(lambda: server.started, "uvicorn", timeout_s=10, every_s=0.01)
        yield f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/socket.io/"
    finally:
        server.should_exit = True
        thread.join(10)


def python_socketio():
    """A chat as in Socket.IO's tutorial, in a namespace."""
    import socketio

    server = socketio.AsyncServer(async_mode="asgi")

    @server.on("chat message", namespace="/chat")
    async def forward(_, text):
        await server.emit("chat message", text, namespace="/chat")

    return python(socketio.ASGIApp(server))


def iot_core():
    from ministack.services import iot

    return python(lambda *asgi: iot.handle_websocket(*asgi, "000000000000", "us-east-1"))


PEERS = {
    "python-socketio": (python_socketio, "socket.io", "/chat,chat message"),
    "npm's socket.io": (None, "socket.io", ""),
    "MiniStack's IoT Core": (iot_core, "mqtt", "a/topic"),
    "npm's aedes": (None, "mqtt", ""),  # gives each part of a packet a frame of its own
    "npm's graphql-ws": (None, "graphql-ws", ""),
}
"""What serves in this process, or None for npm's; its protocol, and the channel."""


@pytest.mark.parametrize(
    ("connections", "broadcasts"), [(30, 5), pytest.param(200, 20, marks=pytest.mark.long)], ids=str
)
@pytest.mark.parametrize("peer", PEERS)
def test_every_delivery_of_a_real_server_is_accounted_for(run, node, peer, connections, broadcasts):
    serve, protocol, channel = PEERS[peer]
    words = ["--protocol", protocol, "--channel", channel, "--users", connections, "--broadcasts", broadcasts]
    with serve() if serve else nullcontext(node(protocol)) as host:
        done = run(*words, "--broadcast-rate", 10, "--host", host, environment={"LOADTEST_KEY": KEYS[protocol]})
    assert done.status == 0, done.output
    assert done.summary["settings"]["protocol"] == protocol
    counts = [done.summary[name] for name in ("delivered", "missing", "duplicate", "unexpected", "foreign")]
    assert counts == [connections * broadcasts, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        ("socket.io", "refused by the server: wrong token"),
        ("mqtt", "refused by the server: not authorized"),
        ("graphql-ws", "closed by the server with code 4403, before"),
    ],
)
def test_a_login_that_is_refused_says_why(node, protocol, reason):
    with pytest.raises(ConnectionError, match=reason):
        Connection(node(protocol), timeout_s=10, protocol=protocols.find(protocol)("", "wrong"))


@pytest.mark.parametrize("protocol", ["socket.io", "mqtt"])
def test_a_server_that_leaves_the_silent_hears_enough_of_a_connection(monkeypatch, node, protocol):
    """npm's socket.io waits 0.3 s for an answer to its ping, aedes 1.5 times the keep-alive for any packet."""
    monkeypatch.setattr(mqtt, "KEEP_ALIVE_S", 1)
    monkeypatch.setattr(mqtt.Mqtt, "ping_s", 0.4)
    one = Connection(node(protocol), timeout_s=10, protocol=protocols.find(protocol)("", KEYS[protocol]))
    one.watch(lambda: None)
    for _ in range(25):
        gevent.sleep(0.1)
        assert list(one.frames(7)) == []  # and is not closed
    one.close()


@pytest.mark.parametrize("size", [1, 2, 3, 100, 1_000])
def test_mqtt_s_packets_need_not_agree_with_frames(size):
    said = [b"first", b"x" * 300, b""]
    stream = b"".join(mqtt.pack(mqtt.PUBLISH, 0, mqtt.string("topic"), each) + b"\xd0\0" for each in said)
    one = mqtt.Mqtt("", "")
    frames = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [each for frame in frames for each in one.take(frame).messages] == said


def test_an_mqtt_packet_larger_than_a_message_may_be_is_not_kept():
    with pytest.raises(LimitError, match="an MQTT packet of more than 131,072 bytes"):
        mqtt.Mqtt("", "").take(b"\x30\xff\xff\xff\x7f" + bytes(MAX_MESSAGE_BYTES))


@pytest.mark.parametrize(
    ("protocol", "said", "taken"),
    [
        ("socket.io", '42/chat,["any event","text",1]', Taken(("text",))),
        ("socket.io", '42["joined",{"people":3}]', None),
        ("socket.io", '42["half', None),
        ("socket.io", "41", Taken(error="the server ended the session")),
        ("graphql-ws", '{"type":"next","id":"hear","payload":{"data":{"message":{"text":"x"}}}}', Taken(("x",))),
        ("graphql-ws", '{"type":"next","id":"hear","payload":{"data":{"message":null}}}', None),
        ("graphql-ws", '{"type":"next","id":"0","payload":{"errors":[{"message":"no"}]}}', Taken(error="no")),
        ("graphql-ws", '{"type":"error","id":"hear","payload":[{"message":"no field"}]}', Taken(error="no field")),
        ("graphql-ws", '{"type":"complete","id":"hear"}', Taken(error="the server ended the subscription")),
        ("graphql-ws", '{"type":"ping"}', Taken(replies=('{"type":"pong"}',))),
        ("graphql-ws", "[]", None),
        ("mqtt", b"\x90\x03\0\1\x80".decode("latin-1"), Taken(error="no subscription to loadtest")),
        ("mqtt", "\x20\x02\0\x09", Taken(error="CONNACK 9")),
    ],
)
def test_what_a_server_may_say(protocol, said, taken):  # None: it is foreign
    payload = said.encode("latin-1")
    assert protocols.find(protocol)("", "").take(payload) == (taken or Taken((payload,)))
