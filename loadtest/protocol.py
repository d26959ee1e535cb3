"""The messages between the coordinator and the generators, which are Locust's custom messages.

A test begins with `Start` to every generator. For each phase there is a `Plan`. `Halt` ends the sending early,
`Collect` asks for the last records, `Leave` closes the connections. Generators send `Progress`, `Deliveries` and a
`WorkerReport`, and `Failed` if they cannot go on. `Ping` and `Pong` compare a worker's clock with the master's.

Within one process a message is handed over as it is. To and from a worker it travels as a dict of types that msgpack
knows, tables as Parquet.
"""

import types
import typing
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar

import pandas as pd

from loadtest import records

if typing.TYPE_CHECKING:
    from locust.runners import Runner


class ProtocolError(ValueError):
    """A message that cannot be read; says why in one sentence."""


class Message:
    """The base of all messages. Each is a dataclass."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


M = typing.TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Plan(Message):
    """The broadcasts of one phase."""

    run: str
    """The id of the test, as in all messages that are of one."""
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

    @property
    def intended_ns(self) -> list[int]:
        """When each broadcast is due, by the master's clock."""
        return [self.start_ns + offset_ns for offset_ns in self.offsets_ns]

    @property
    def is_warm_up(self) -> list[bool]:
        """Whether each broadcast is one of the warm-up."""
        return [k < self.warm_up for k in range(len(self.offsets_ns))]


@dataclass(frozen=True, slots=True)
class Start(Message):
    """A test begins: connect at so many a second. For a worker that joins in the middle, `plans` has those so far."""

    run: str
    url: str
    """The only one to connect to, whatever Locust's page says meanwhile."""
    connection_rate: float
    plans: list[Plan] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Halt(Message):
    """Send no further broadcast."""

    run: str


@dataclass(frozen=True, slots=True)
class Collect(Message):
    """Hand over the remaining records, and the last report."""

    run: str


@dataclass(frozen=True, slots=True)
class Leave(Message):
    """Close all connections, one after another."""

    run: str


@dataclass(frozen=True, slots=True)
class Ping(Message):
    """A worker asks the master for its time, at `sent_ns` by the worker's clock."""

    client_id: str
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Pong(Message):
    """The answer to a ping, with the time by the master's clock."""

    ping_sent_ns: int
    master_ns: int


@dataclass(frozen=True, slots=True)
class Progress(Message):
    """The state of a generator, a few times a second. Counts are since the test's start, except `open`."""

    run: str
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
    expected: int
    delivered: int
    outstanding: int


@dataclass(frozen=True, slots=True)
class Deliveries(Message):
    """Deliveries since the generator's last message of this kind. Times are by its clock, `offset_ns` behind."""

    run: str
    client_id: str
    rows: pd.DataFrame
    offset_ns: int


@dataclass(frozen=True, slots=True)
class WorkerReport(Message):
    """All connections and broadcasts of a generator as they were at `reported_ns`, by its clock."""

    run: str
    client_id: str
    final: bool
    """Whether it is the last report."""
    reported_ns: int
    connections: pd.DataFrame
    broadcasts: pd.DataFrame
    exchanges: list[list[int]]
    """Of `clock.Offset`."""
    refusals: dict[str, int]
    error_frames: dict[str, int]
    cpu: list[float]
    """Share of a core, second by second, while broadcasts were due."""
    bytes_per_connection: float


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """A generator cannot go on."""

    run: str
    client_id: str
    reason: str


FIELDS: dict[type[Message], dict[str, type | types.GenericAlias]] = {
    kind: {name: type_ for name, type_ in typing.get_type_hints(kind).items() if not name.startswith("__")}
    for kind in (Plan, Start, Halt, Collect, Leave, Ping, Pong, Progress, Deliveries, WorkerReport, Failed)
}
"""Fields and their types of each kind of message."""


def name(kind: type[Message]) -> str:
    """The name by which Locust knows a kind of message."""
    return f"loadtest.{kind.__name__.lower()}"


def send(runner: "Runner", message: Message, client_id: str | None = None) -> None:
    """Send a message to the other side: the master sends to all workers, or to the one with this client id."""
    from locust.runners import LocalRunner  # not above: Locust patches the sockets and threads of whoever imports it

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
    return {each.name: _pack(getattr(message, each.name)) for each in fields(message)}


def decode(kind: type[M], data: object) -> M:
    """The message of a kind in what arrived: a dict, or within one process the message itself.

    Raises:
        ProtocolError: if it is something else, such as the message of another version.
    """
    if isinstance(data, kind):
        return data
    expected = FIELDS[kind]
    if not isinstance(data, dict) or data.keys() != expected.keys():
        raise ProtocolError(f"A {name(kind)} message has other fields: master and workers need the same version.")
    try:
        return kind(**{key: _unpack(expected[key], value) for key, value in data.items()})
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"A {name(kind)} message cannot be read: {error}") from error


def _pack(value: object) -> object:
    if isinstance(value, pd.DataFrame):
        return records.pack(value)
    if isinstance(value, list) and value and isinstance(value[0], Plan):
        return [encode(plan) for plan in value]
    return value


def _unpack(expected: type | types.GenericAlias, value: Any) -> Any:  # its type is known at run time only: `expected`
    """A value of the expected type, from the value that msgpack decoded. Raises TypeError or ValueError."""
    if expected is pd.DataFrame:
        return records.unpack(value)
    if expected is Plan:
        return decode(Plan, value)
    if expected is float and type(value) is int:
        return float(value)
    kind, inner = typing.get_origin(expected) or expected, typing.get_args(expected)
    if kind is not type(value):
        raise TypeError(f"{value!r:.50} is no {kind.__name__}.")
    if isinstance(value, list):
        return [_unpack(inner[0], each) for each in value]
    if isinstance(value, dict):
        return {_unpack(inner[0], key): _unpack(inner[1], each) for key, each in value.items()}
    return value
