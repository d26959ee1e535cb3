"""What the reference server speaks: the server's side of each of our protocols, as much as a load test needs."""

import json
from collections.abc import Callable, Iterable
from typing import ClassVar, NamedTuple

from loadtest import messages
from loadtest.protocols import mqtt

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


class SocketIo(Side):
    """`socket.io`, with no namespace but `/`."""

    ping_s = 25.0
    ping = "2"
    is_subscribed = False

    def open(self) -> Iterable[Payload]:
        return ('0{"sid":"any","upgrades":[],"pingInterval":25000,"pingTimeout":25000,"maxPayload":1000000}',)

    def hear(self, payload: Payload) -> Heard:
        if payload[:2] == "42":
            return Heard((json.loads(payload[2:])[1],))
        if payload[:2] != "40":
            return Heard()
        self.is_subscribed = True
        return Heard(replies=('40{"sid":"any"}',))

    @staticmethod
    def wrap(text: str) -> Payload:
        return f"42{json.dumps(['message', text])}"


class Mqtt(Side):
    """`mqtt`, with one topic."""

    subprotocol = "mqtt"
    is_subscribed = False

    def __init__(self) -> None:
        self._rest = b""

    def hear(self, payload: Payload) -> Heard:
        packets, self._rest = mqtt.split(self._rest + (payload.encode() if isinstance(payload, str) else payload))
        broadcasts, replies = [], []
        for kind, body in packets:
            if kind == mqtt.PUBLISH:
                broadcasts.append(body[2 + int.from_bytes(body[:2]) :].decode())
            elif kind == mqtt.CONNECT:
                replies.append(mqtt.pack(mqtt.CONNACK, 0, b"\0\0"))
            elif kind == mqtt.SUBSCRIBE:
                self.is_subscribed = True
                replies.append(mqtt.pack(mqtt.SUBACK, 0, body[:2], b"\0"))
            elif kind == mqtt.PINGREQ:
                replies.append(mqtt.pack(mqtt.PINGRESP, 0))
        return Heard(tuple(broadcasts), tuple(replies))

    @staticmethod
    def wrap(text: str) -> Payload:
        return mqtt.pack(mqtt.PUBLISH, 0, mqtt.string("loadtest"), text.encode())


class GraphqlWs(Side):
    """`graphql-ws`, with the operations that the load test has by default."""

    subprotocol = "graphql-transport-ws"
    is_subscribed = False

    def hear(self, payload: Payload) -> Heard:
        frame = messages.json_object(payload)
        if frame.get("type") == "connection_init":
            return Heard(replies=('{"type":"connection_ack"}',))
        if frame.get("type") != "subscribe":
            return Heard()
        operation = frame["payload"]
        if operation.get("operationName") == "Hear":
            self.is_subscribed = True
            return Heard()
        texts = (operation["variables"]["text"],) if "variables" in operation else ()
        return Heard(texts, (json.dumps({"id": frame["id"], "type": "complete"}),))

    @staticmethod
    def wrap(text: str) -> Payload:
        return json.dumps({"id": "hear", "type": "next", "payload": {"data": {"message": text}}})


SIDES: dict[str, type[Side]] = {
    "plain": Side,
    "appsync-events": AppSyncEvents,
    "socket.io": SocketIo,
    "mqtt": Mqtt,
    "graphql-ws": GraphqlWs,
}
