"""What the reference server speaks: the server's side of each of our protocols, as much as a load test needs."""

import json
from collections.abc import Callable, Iterable
from typing import ClassVar, NamedTuple

from loadtest import messages

Payload = str | bytes


class Heard(NamedTuple):
    """What was in one WebSocket message from a client."""

    broadcasts: tuple[str, ...] = ()
    """What goes to every subscriber."""
    replies: tuple[Payload, ...] = ()
    """What this client gets, after that."""


class Side:
    """The server's side of one connection. This one is of `plain`: a message is a broadcast."""

    subprotocol: ClassVar[str | None] = None
    """A client that does not offer it is refused."""
    has_echo: ClassVar[bool] = True
    """Whether a broadcast goes to its speaker, too."""
    ping_s: ClassVar[float] = 0.0
    """Seconds after which the server sends `ping`, again and again. It leaves a client that sends nothing for two of
    these times. 0: never."""
    ping: ClassVar[Payload] = ""
    is_subscribed: bool = True
    """Whether broadcasts go to this connection."""

    def open(self) -> Iterable[Payload]:
        """What the client gets first."""
        return ()

    def hear(self, payload: Payload) -> Heard:
        """Take a message."""
        return Heard((payload if isinstance(payload, str) else payload.decode(),))

    @staticmethod
    def wrap(text: str) -> Payload:
        """A broadcast, as every subscriber gets it."""
        return text


class AppSyncEvents(Side):
    """`appsync-events`, as https://docs.aws.amazon.com/appsync/latest/eventapi/event-api-websocket-protocol.html."""

    subprotocol = "aws-appsync-event-ws"
    is_subscribed = False

    def hear(self, payload: Payload) -> Heard:
        frame = messages.json_object(payload)
        answer: Callable[[str], str] = lambda kind: json.dumps({"type": kind, "id": frame.get("id")})  # noqa: E731
        match frame.get("type"):
            case "connection_init":
                return Heard(replies=('{"type":"connection_ack","connectionTimeoutMs":300000}',))
            case "subscribe":
                self.is_subscribed = True
                return Heard(replies=(answer("subscribe_success"),))
            case "publish":
                return Heard(tuple(frame["events"]), (answer("publish_success"),))
        return Heard(replies=(answer("error"),))

    @staticmethod
    def wrap(text: str) -> Payload:
        return json.dumps({"type": "data", "id": "loadtest", "event": text})


SIDES: dict[str, type[Side]] = {"plain": Side, "appsync-events": AppSyncEvents}
