"""What gets through to the emulator of the frames that come."""

import asyncio
import socket

import uvicorn
import websockets
from hypothesis import given
from hypothesis import strategies as st

from chatlab.emulator import protocols
from chatlab.emulator.protocols import configuration
from tests.support.asynchronous import run_async

TEXTS = st.text(max_size=10).map(lambda text: {"text": text})
BINARIES = st.binary(max_size=10).map(lambda data: {"bytes": data})
# The standard lets a server name both keys, one of them with None: asgi.readthedocs.io, "WebSocket, Receive".
BOTH = st.text(max_size=10).map(lambda text: {"text": text, "bytes": None})


@given(st.lists(TEXTS | BINARIES | BOTH, max_size=6))
def test_texts_get_through_as_they_are_until_a_binary_frame_closes_the_socket(sent):
    heard, closed, coming = [], [], iter(sent)

    async def emulator(scope, receive, send):
        while (message := await receive())["type"] == "websocket.receive":
            heard.append(message["text"])

    async def receive():
        frame = next(coming, None)
        return {"type": "websocket.disconnect"} if frame is None else {"type": "websocket.receive"} | frame

    async def send(message):
        closed.append(message["code"])

    run_async(protocols.text_only(emulator)({"type": "websocket"}, receive, send))
    texts = [frame.get("text") for frame in sent]
    is_binary = None in texts
    assert heard == (texts[: texts.index(None)] if is_binary else texts)
    assert closed == ([protocols.UNSUPPORTED_DATA] if is_binary else [])


def test_the_server_sends_no_pings_as_api_gateway_sends_none():
    """Else uvicorn closes with 1011 whoever has more to read than they can in the time that a pong may take."""

    async def accept(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async def connect():
        server = uvicorn.Server(configuration(accept, lifespan="off"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            async with websockets.connect(f"ws://127.0.0.1:{listener.getsockname()[1]}"):
                (connection,) = server.server_state.connections
                next_ping = connection.ping_timer
            server.should_exit = True
            await serving
        return type(connection), next_ping

    assert run_async(connect()) == (protocols.WebSocketProtocol, None)
