"""Socket.IO 5 over Engine.IO 4, by WebSocket alone: each connection emits the event --channel with a text.

https://github.com/socketio/socket.io-protocol and https://github.com/socketio/engine.io-protocol.
"""

import json
import re

from loadtest import messages
from loadtest.errors import printable
from loadtest.protocols import Handshake, Payload, Protocol, Taken, remembered

PACKET = re.compile(r"(4[0-6]|[0-6])(?:/[^,]*,)?\d*(.*)", re.DOTALL)
"""Its kind by Engine.IO (after 4, which is a message, that of Socket.IO), a namespace, an id, data."""
OPEN, CLOSE, PING, PONG, NOOP, CONNECT, DISCONNECT, EVENT, CONNECT_ERROR = "0 1 2 3 6 40 41 42 44".split()


class SocketIo(Protocol):
    """One member of a namespace; `LOADTEST_KEY` is its token, or the JSON object that the server expects as `auth`.

    --channel is the event's name, or `/namespace,event`. The connection hears any event that has a text.
    """

    default_channel = "message"
    is_subscribed = False

    def handshake(self, url: str) -> Handshake:
        return Handshake(f"{url}{'&' if '?' in url else '?'}EIO=4&transport=websocket")

    def wrap(self, text: str) -> Payload:
        namespace, comma, event = self.channel.rpartition(",")
        return f"{EVENT}{namespace}{comma}{json.dumps([event, text])}"

    def take(self, payload: bytes) -> Taken:
        kind, taken = _read(payload)
        if kind == OPEN:
            namespace, comma, _ = self.channel.rpartition(",")
            login = messages.json_object(self.key) or {"token": self.key}
            return Taken(replies=(f"{CONNECT}{namespace}{comma}{json.dumps(login)}",))
        self.is_subscribed |= kind == CONNECT
        return taken


@remembered
def _read(payload: bytes) -> tuple[str, Taken]:
    """The kind of a packet, and what is in it."""
    kind, data = packet.groups() if (packet := PACKET.fullmatch(payload.decode(errors="replace"))) else ("", "")
    value = messages.json_object(f'{{"value": {data}}}').get("value")
    if kind == PING:
        return kind, Taken(replies=(PONG + data,))
    if kind == CONNECT_ERROR:
        return kind, Taken(error=printable(f"{value.get('message')}" if isinstance(value, dict) else data))
    if kind in (CLOSE, DISCONNECT):
        return kind, Taken(error="the server ended the session")
    texts = [text for text in value[1:] if isinstance(text, str)] if kind == EVENT and isinstance(value, list) else []
    return kind, Taken(tuple(texts) if texts or kind in (OPEN, NOOP, CONNECT) else (payload,))
