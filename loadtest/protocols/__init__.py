"""What connections speak. In the base class, `Protocol`, a frame is a message; the others wrap it.

A protocol says only what is on the wire. When a broadcast is due, its time-stamp, its account and the verdict are the
same for all. docs/loadtest.md shows how to add one of your own. No client library is used: each reads from a socket of
its own, where nobody sees the kernel's timestamps, and few wait by gevent.
"""

import os
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, NamedTuple, TypeVar

from loadtest import messages

GROUP = "websocket_chat_lab.protocols"
"""The entry points by which other packages add theirs: each one a name and a subclass of `Protocol`."""
OURS = {
    "plain": "loadtest.protocols:Protocol",
    "appsync-events": "loadtest.protocols.appsync_events:AppSyncEvents",
    "socket.io": "loadtest.protocols.socket_io:SocketIo",
    "mqtt": "loadtest.protocols.mqtt:Mqtt",
    "graphql-ws": "loadtest.protocols.graphql_ws:GraphqlWs",
}
KEY_VARIABLE = "LOADTEST_KEY"
"""The environment variable with what lets a client in, such as an API key. No report shows it."""

T = TypeVar("T")
Payload = str | bytes
"""Of a WebSocket message: str is sent as text, bytes as binary."""


class Handshake(NamedTuple):
    """What opens a WebSocket."""

    url: str
    headers: dict[str, str] = {}  # noqa: RUF012  # nobody changes it
    subprotocols: tuple[str, ...] = ()
    """The server has to choose one, if there are any."""


class Taken(NamedTuple):
    """What was in one WebSocket message."""

    messages: tuple[Payload, ...] = ()
    """What somebody broadcast, none or several. What is no broadcast of the load test counts as foreign."""
    replies: tuple[Payload, ...] = ()
    """What has to be sent now, such as the answer to a ping."""
    error: str | None = None
    """Why the server refused something that this connection asked for, in a few words."""


class Protocol:
    """What one connection speaks, and its state. This one, `plain`: a frame is a message."""

    subprotocols: ClassVar[tuple[str, ...]] = ()
    default_channel: ClassVar[str] = ""
    hears_itself: ClassVar[bool] = True
    """Whether a broadcast comes back to its speaker, too. If not, the speaker does not expect it."""
    ping_s: ClassVar[float] = 0.0
    """Seconds after which `ping` is sent, again and again; 0: never."""
    ping: ClassVar[Payload] = ""
    is_subscribed: bool = True
    """Whether the connection receives broadcasts from now on. It counts as open only when this is true."""

    def __init__(self, channel: str, key: str) -> None:
        """Begin for one connection, with --channel and what `LOADTEST_KEY` holds, which may both be "".

        Raises:
            ValueError: in one sentence, if the protocol can't be spoken with these.
        """
        self.channel, self.key = channel or self.default_channel, key

    def handshake(self, url: str) -> Handshake:
        """How to open the WebSocket to the --host."""
        return Handshake(url, subprotocols=self.subprotocols)

    def begin(self) -> Iterable[Payload]:
        """What to send when it is open."""
        return ()

    def wrap(self, text: str) -> Payload:
        """A broadcast, as this connection sends it."""
        return text

    def take(self, payload: bytes) -> Taken:
        """What is in a message that has arrived, text or binary; `is_subscribed` may change.

        It must be quick, and leave what a frame holds to a function that is `remembered`.

        Raises:
            ValueError: if the server may not send this; it is then left.
        """
        return _read(payload)


def remembered(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Make a function remember what is in the last frames, large ones apart.

    All connections of a process receive the same bytes, so each delivery of a broadcast but the first is one look-up.
    """
    cached = lru_cache(256)(read)
    return lambda payload: cached(payload) if len(payload) <= 2 * messages.MAX_BYTES else read(payload)


@remembered
def _read(payload: bytes) -> Taken:
    error = None if messages.decode(payload) else messages.error_frame(payload)
    return Taken((payload,)) if error is None else Taken(error=error)


@cache
def find(name: str) -> type[Protocol]:
    """The protocol of this name. Raises ValueError, in one sentence, if there is none or it can't be loaded."""
    points = {each: EntryPoint(each, value, GROUP) for each, value in OURS.items()}  # they need not be installed
    if name not in points:  # which takes time
        points |= {point.name: point for point in entry_points(group=GROUP)}
    if not (point := points.get(name)):
        raise ValueError(f"There is no protocol {name!r}. There are {', '.join(points)}.")
    try:
        found: type[Protocol] = point.load()
        if not issubclass(found, Protocol):
            raise TypeError
    except Exception as error:
        raise ValueError(f"The protocol {name!r} can't be loaded: {type(error).__name__} in {point.value}.") from error
    return found


def make(name: str, channel: str = "") -> Protocol:
    """A protocol for one connection. Raises as `find` and `Protocol` do."""
    return find(name)(channel, os.environ.get(KEY_VARIABLE, ""))
