"""AWS AppSync Events: publish and subscribe over one WebSocket.

https://docs.aws.amazon.com/appsync/latest/eventapi/event-api-websocket-protocol.html and publish-websocket.html.
"""

import base64
import itertools
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from loadtest import messages
from loadtest.errors import printable
from loadtest.protocols import KEY_VARIABLE, Handshake, Payload, Protocol, Taken, remembered

SUBSCRIPTION = "loadtest"
"""The same id on each connection, so that all receive the same bytes."""
SILENT = ("connection_ack", "ka", "publish_success", "subscribe_success")  # no answer, not even to `ka`


class AppSyncEvents(Protocol):
    """One subscriber and publisher of a channel; `LOADTEST_KEY` is the API's key, or a token for its authorizer."""

    default_channel = "/default/loadtest"  # the console gives a new API the namespace `default`
    is_subscribed = False
    _numbers = itertools.count()

    def __init__(self, channel: str, key: str) -> None:
        super().__init__(channel, key)
        if not key:
            raise ValueError(f"appsync-events needs the API's key: put it into {KEY_VARIABLE} in the environment.")
        self._authorization: dict[str, str] = {}

    def handshake(self, url: str) -> Handshake:
        # The host that is authorized is the one for HTTP. A domain of one's own has both.
        host = urlsplit(url).netloc.replace(".appsync-realtime-api.", ".appsync-api.")
        name = "x-api-key" if self.key.startswith("da2-") else "Authorization"
        self._authorization = {"host": host, name: self.key}
        encoded = base64.urlsafe_b64encode(json.dumps(self._authorization).encode()).decode().rstrip("=")
        return Handshake(url, subprotocols=("aws-appsync-event-ws", f"header-{encoded}"))

    def begin(self) -> Iterable[Payload]:
        return ('{"type":"connection_init"}',)

    def wrap(self, text: str) -> Payload:
        return self._frame("publish", f"{next(self._numbers)}", events=[text])

    def take(self, payload: bytes) -> Taken:
        kind, taken = _read(payload)
        if kind == "connection_ack":
            return Taken(replies=(self._frame("subscribe", SUBSCRIPTION),))
        self.is_subscribed |= kind == "subscribe_success"
        return taken

    def _frame(self, kind: str, identity: str, **more: object) -> str:
        frame = {"type": kind, "id": identity, "channel": self.channel, "authorization": self._authorization}
        return json.dumps(frame | more)


@remembered
def _read(payload: bytes) -> tuple[object, Taken]:
    """The kind of a frame, and what is in it."""
    frame = messages.json_object(payload)
    kind, event = frame.get("type"), frame.get("event")
    if kind == "data":  # one event as AWS sends it, a list of them as its documentation has it
        several = event if isinstance(event, list) else [event]
        return kind, Taken(tuple(one for one in several if isinstance(one, str)))
    if problems := frame.get("errors") or frame.get("failed"):
        first = problems[0] if isinstance(problems, list) and isinstance(problems[0], dict) else {}
        said = [first.get(name) for name in ("errorType", "errorCode", "code", "message", "errorMessage")]
        return kind, Taken(error=printable(": ".join(f"{part}" for part in said if part) or f"{kind}"))
    return kind, Taken() if kind in SILENT else Taken((payload,))
