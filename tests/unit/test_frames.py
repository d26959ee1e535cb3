"""What gets through to the emulator of the frames that come."""

from hypothesis import given
from hypothesis import strategies as st

from chatlab.emulator import frames
from tests.conftest import run_async

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

    run_async(frames.text_only(emulator)({"type": "websocket"}, receive, send))
    texts = [frame.get("text") for frame in sent]
    is_binary = None in texts
    assert heard == (texts[: texts.index(None)] if is_binary else texts)
    assert closed == ([frames.UNSUPPORTED_DATA] if is_binary else [])
