"""GraphQL over WebSocket, as npm's graphql-ws speaks it: each connection subscribes, and broadcasts by a mutation.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md.
"""

import itertools
import json

from loadtest import messages
from loadtest.errors import printable
from loadtest.protocols import Payload, Protocol, Taken, remembered

HEAR, PROBE = "hear", "probe"
"""Ids of operations, the same on each connection, so that all receive the same bytes."""


class GraphqlWs(Protocol):
    """One subscriber and speaker; `LOADTEST_KEY` is its token, or the JSON object that the server expects in the login.

    --channel is a GraphQL document: a subscription `Hear`, to the text alone, and a mutation `Say` of `$text`.
    """

    subprotocols = ("graphql-transport-ws",)
    default_channel = "subscription Hear { message } mutation Say($text: String!) { say(text: $text) }"
    is_subscribed = False
    _numbers = itertools.count()

    def begin(self) -> tuple[Payload, ...]:
        login = messages.json_object(self.key) or {"token": self.key}
        return (json.dumps({"type": "connection_init", "payload": login}),)

    def wrap(self, text: str) -> Payload:
        return _subscribe(f"{next(self._numbers)}", query=self.channel, operationName="Say", variables={"text": text})

    def take(self, payload: bytes) -> Taken:
        kind, identity, taken = _read(payload)
        if kind == "connection_ack":
            # Nothing confirms a subscription. The answer to a query behind it, which goes the same way through the
            # server, says that it has come so far.
            hear = _subscribe(HEAR, query=self.channel, operationName="Hear")
            return Taken(replies=(hear, _subscribe(PROBE, query="{ __typename }")))
        self.is_subscribed |= identity == PROBE
        return taken


def _subscribe(identity: str, **operation: object) -> str:
    return json.dumps({"type": "subscribe", "id": identity, "payload": operation})


@remembered
def _read(payload: bytes) -> tuple[object, object, Taken]:
    """The kind and the id of a frame, and what is in it."""
    frame = messages.json_object(payload)
    kind, identity, result = (frame.get(name) for name in ("type", "id", "payload"))
    errors = result if kind == "error" else result.get("errors") if isinstance(result, dict) else None
    taken = Taken() if kind in ("connection_ack", "next", "error", "complete", "pong") else Taken((payload,))
    if kind == "ping":
        taken = Taken(replies=('{"type":"pong"}',))
    elif errors and identity != PROBE:
        first = errors[0] if isinstance(errors, list) else errors
        taken = Taken(error=printable(f"{first.get('message') if isinstance(first, dict) else first}"))
    elif identity == HEAR and kind == "complete":
        taken = Taken(error="the server ended the subscription")
    elif identity == HEAR:
        while isinstance(result, dict):  # such as {"data": {"message": {"text": "…"}}}
            result = next(iter(result.values()), None)
        taken = Taken((result if isinstance(result, str) else payload,))
    return kind, identity, taken
