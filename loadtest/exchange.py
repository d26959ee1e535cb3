"""What the coordinator and the generators say to each other: Locust's custom messages, and how they travel.

A test begins with `Start` to every generator. For each phase there is a `Plan`. `Halt` ends the sending early,
`Collect` asks for the last records, `Leave` closes the connections. Generators send `Progress`, `Deliveries` and a
`Snapshot`, and `Failed` if they cannot go on. `Ping` and `Pong` compare a worker's clock with the master's.

Within one process a message is handed over as it is. To and from a worker it travels as a dict of types that msgpack
knows, tables as Parquet, over sockets that are closed to everybody else (`protect`).
"""

import hashlib
import logging
import os
import secrets
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
import pandas as pd
import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from loadtest import records

if typing.TYPE_CHECKING:
    from locust.runners import Runner

logger = logging.getLogger(__name__)

SECRET_VARIABLE = "LOADTEST_SECRET"
"""The environment variable with the secret of master and workers that are started one by one. The processes of
`--processes` are forked, and share one that is made anew."""
MAX_MESSAGE_BYTES = 1 << 28
"""ZeroMQ reads no larger message. A million deliveries, which a worker hands over in many, take 33 MB."""


class ExchangeError(ValueError):
    """A message that cannot be read; says why in one sentence."""


class Message:
    """The base of all messages. Each is a dataclass."""


M = typing.TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Start(Message):
    """A test begins: connect at this many a second. Again, with another rate, when a worker joins in the middle."""

    test_id: str
    url: str
    """The only one to connect to, whatever Locust's page says meanwhile."""
    connection_rate: float


@dataclass(frozen=True)
class Plan(Message):
    """The broadcasts of one phase."""

    test_id: str
    phase: int
    first: int
    """Number of the first broadcast; the others follow."""
    start_ns: int
    """When the phase begins, by the master's clock."""
    offsets_ns: list[int]
    """When each broadcast is due, after `start_ns`; those of the warm-up come first."""
    warm_up: int
    """How many of them are the warm-up."""
    speakers: int
    """How many connections take turns to broadcast."""
    own_speakers: dict[str, list[int]]
    """Which of the speakers belong to which generator, by its client id."""
    payload_bytes: int
    churn: float
    """Share of the connections that leave in each second."""
    seed: int
    storm: str = ""
    """By which policy people come back after all were dropped, or ""."""

    @property
    def intended_ns(self) -> list[int]:
        """When each broadcast is due, by the master's clock."""
        return [self.start_ns + offset_ns for offset_ns in self.offsets_ns]

    @property
    def drop_ns(self) -> int:
        """When a storm begins, by the master's clock: after a quarter of the broadcasts, halfway to the next one."""
        k = self.warm_up + (len(self.offsets_ns) - self.warm_up) // 4
        return self.start_ns + (self.offsets_ns[k - 1] + self.offsets_ns[k]) // 2

    @property
    def is_warm_up(self) -> list[bool]:
        """Whether each broadcast is one of the warm-up."""
        return [k < self.warm_up for k in range(len(self.offsets_ns))]


@dataclass(frozen=True)
class Halt(Message):
    """Send no further broadcast."""

    test_id: str


@dataclass(frozen=True)
class Collect(Message):
    """Hand over the remaining records, and the last snapshot."""

    test_id: str


@dataclass(frozen=True)
class Leave(Message):
    """Close all connections, one after another."""

    test_id: str


@dataclass(frozen=True)
class Ping(Message):
    """A worker asks the master for its time, at `sent_ns` by the worker's clock."""

    client_id: str
    sent_ns: int


@dataclass(frozen=True)
class Pong(Message):
    """The answer to a ping, with the time by the master's clock."""

    ping_sent_ns: int
    master_ns: int


@dataclass(frozen=True)
class Progress(Message):
    """The state of a generator, a few times a second. Counts are since the test's start, except `open`."""

    test_id: str
    client_id: str
    synchronised: bool
    """Whether its clock has been compared with the master's."""
    open: int
    opened: int
    departed: int
    """Connections that this side closed before the test's end."""
    failed: int
    refused: int
    """Handshakes that were refused and tried again."""
    errors: list[str]
    """Why connections could not be made, or closed: the first few reasons."""
    refusals: dict[str, int]
    """How many handshakes were refused because the server had too much to do, by status."""
    due: int
    """Broadcasts whose time had come."""
    sending: int
    """Broadcasts that are being sent at the moment."""
    sent: int
    delivered: int
    in_flight: int
    """Deliveries that are expected and have not arrived."""


@dataclass(frozen=True)
class Deliveries(Message):
    """Deliveries since the generator's last message of this kind. Times are by its clock, `offset_ns` behind."""

    test_id: str
    client_id: str
    rows: pd.DataFrame
    offset_ns: int


@dataclass(frozen=True)
class Snapshot(Message):
    """All connections and broadcasts of a generator as they were at `taken_ns`, by its clock."""

    test_id: str
    client_id: str
    final: bool
    """Whether it is the last one."""
    taken_ns: int
    connections: pd.DataFrame
    broadcasts: pd.DataFrame
    exchanges: list[list[int]]
    """Of `clock.Offset`."""
    refusals: dict[str, int]
    error_frames: dict[str, int]
    cpu: list[float]
    """Share of a core, second by second, while broadcasts were due."""
    bytes_per_connection: float


@dataclass(frozen=True)
class Failed(Message):
    """A generator cannot go on."""

    test_id: str
    reason: str


_FIELDS = [(kind.__name__, kind.__annotations__) for kind in Message.__subclasses__()]
VERSION = hashlib.sha256(repr(_FIELDS).encode()).hexdigest()[:16]
"""Of the messages and their fields. It is in each message, so that master and workers of different versions say so."""


def name(kind: type[Message]) -> str:
    """The name by which Locust knows a kind of message."""
    return f"loadtest.{kind.__name__.lower()}"


def send(runner: "Runner", message: Message, client_id: str | None = None) -> None:
    """Send a message to the other side: the master sends to all workers, or to the one with this client id."""
    from locust.runners import LocalRunner  # not above: Locust patches the sockets and threads of its importers

    data = message if isinstance(runner, LocalRunner) else encode(message)
    runner.send_message(name(type(message)), data, client_id)


def listen(
    runner: "Runner", kind: type[M], listener: Callable[[M], None], on_error: Callable[[Exception], None]
) -> None:
    """Call `listener(message)` for each message of this kind, and `on_error` if that fails.

    Locust itself would log the error and go on, so the content of the message would be lost silently.
    """

    def on_message(msg: Any, **_: object) -> None:  # Locust's message, which has no type: `data` is what was sent
        try:
            listener(decode(kind, msg.data))
        except Exception as error:
            on_error(error)

    runner.register_message(name(kind), on_message)


def encode(message: Message) -> dict[str, object]:
    """A message as a dict of types that msgpack knows."""
    packed = {key: records.pack(value) for key, value in vars(message).items() if isinstance(value, pd.DataFrame)}
    return {"version": VERSION} | vars(message) | packed


def decode(kind: type[M], data: Any) -> M:
    """The message of a kind in what arrived: a dict, or within one process the message itself.

    Raises:
        ExchangeError: if it is something else, such as the message of another version.
    """
    if isinstance(data, kind):
        return data
    if not isinstance(data, dict) or data.pop("version", None) != VERSION:
        raise ExchangeError(f"A {name(kind)} message is of another version: master and workers need the same one.")
    return kind(**{key: records.unpack(value) if isinstance(value, bytes) else value for key, value in data.items()})


def protect() -> None:
    """Close the sockets that Locust makes from now on, in this process and in those that it forks, to strangers.

    Locust's master takes a message from anybody who reaches its port, and a broken one stops it. Here, master and
    workers know a secret, and the master's key pair of ZeroMQ's CURVE (https://rfc.zeromq.org/spec/26/) is made of it.
    A process that does not know the public key can't begin a handshake, so Locust sees none of its bytes; a master that
    does not know the private key can't answer one.
    """
    from locust.rpc import zmqrpc  # not above, as in `send`

    private = z85.encode(hashlib.sha256((os.environ.get(SECRET_VARIABLE) or secrets.token_hex()).encode()).digest())
    public = zmq.curve_public(private)
    begin = zmqrpc.BaseSocket.__init__

    def begin_protected(self: Any, kind: int, *arguments: Any) -> None:
        begin(self, kind, *arguments)  # type: ignore[no-untyped-call]  # Locust's, without types
        sock, is_master = self.socket, kind == zmq.ROUTER
        sock.maxmsgsize = MAX_MESSAGE_BYTES
        if is_master:
            sock.curve_server, sock.curve_secretkey = True, private
        else:
            sock.curve_serverkey = public
            sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
        failures = (
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        )
        gevent.spawn(_count_refused if is_master else _end_if_refused, sock.get_monitor_socket(failures))

    # Locust's constructors call this one, and bind or connect right after it: there is no other place for the options.
    zmqrpc.BaseSocket.__init__ = begin_protected  # type: ignore[method-assign]


def _count_refused(monitor: Any) -> None:
    """Count, at the master, the handshakes of processes that do not know the secret."""
    refused = 0
    while recv_monitor_message(monitor):
        refused += 1
        if refused & (refused - 1) == 0:  # the 1st, 2nd, 4th, 8th …: so that nobody can fill the log
            logger.warning("The master has refused %s handshakes of processes that do not know its secret.", refused)


def _end_if_refused(monitor: Any) -> None:
    """End a worker whose secret is not the master's: it would try again for minutes."""
    recv_monitor_message(monitor)
    logger.error("The master refused this worker: set %s to the same secret for both.", SECRET_VARIABLE)
    raise SystemExit(1)
