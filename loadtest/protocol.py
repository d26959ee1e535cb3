"""What the coordinator and the generators tell each other, in Locust's custom messages.

A test begins with `Start` to every generator. For each phase there is a `Plan`. `Halt` ends the sending early,
`Collect` asks for the last records, `Leave` lets the connections go. Generators tell `Progress`, `Deliveries` and an
`Account`; `Failed`, if they cannot go on. `Ping` and `Pong` compare a worker's clock with the master's.

Within one process a message is handed over as it is. To and from a worker it travels as a dict of what msgpack takes,
tables as Parquet.
"""

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache

import pandas as pd

from loadtest import records

if typing.TYPE_CHECKING:
    from locust.runners import Runner


class ProtocolError(ValueError):
    """A message that cannot be read; says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The broadcasts of one phase."""

    phase: int
    first: int
    """Number of the first broadcast; the others follow."""
    start_ns: int
    """When the phase begins, by the master's clock."""
    offsets_ns: list[int]
    """When each broadcast leaves, after `start_ns`; those of the warm-up come first."""
    warm_up: int
    """How many of them are the warm-up."""
    speakers: int
    """How many connections take turns."""
    own_speakers: dict[str, list[int]]
    """Which of them are whose, by generator."""
    payload_bytes: int
    churn: float
    """Share of the connections that leave in each second."""
    seed: int

    @property
    def intended_ns(self) -> list[int]:
        """When each broadcast leaves, by the master's clock."""
        return [self.start_ns + offset_ns for offset_ns in self.offsets_ns]

    @property
    def is_warm_up(self) -> list[bool]:
        """Of each broadcast."""
        return [k < self.warm_up for k in range(len(self.offsets_ns))]


@dataclass(frozen=True, slots=True)
class Start:
    """A test begins; connect at so many a second. `plans` are those so far, for a worker that joins in the middle."""

    run: str
    connection_rate: float
    plans: list[Plan] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Halt:
    """No further broadcast is to leave."""


@dataclass(frozen=True, slots=True)
class Collect:
    """Hand over all records that have not been handed over, and the account."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Close all connections, one after another."""


@dataclass(frozen=True, slots=True)
class Ping:
    """What time is it? Asked at `asked_ns` by the worker's clock."""

    client: str
    asked_ns: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer, by the master's clock."""

    asked_ns: int
    answered_ns: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a generator stands, a few times a second. Counts are since the test's start, but for `open`."""

    run: str
    client: str
    synchronised: bool
    """Whether its clock has been compared with the master's."""
    open: int
    opened: int
    left: int
    failed: int
    refused: int
    errors: list[str]
    """Why connections could not be made, or closed: the first few reasons."""
    refusals: dict[str, int]
    due: int
    """Broadcasts whose time had come."""
    sending: int
    """Broadcasts that are just being sent."""
    sent: int
    expected: int
    delivered: int
    outstanding: int


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What a generator has received since it last told. Times are by its clock, which is `offset_ns` behind."""

    run: str
    client: str
    rows: pd.DataFrame
    offset_ns: int


@dataclass(frozen=True, slots=True)
class Account:
    """What a generator's connections and broadcasts have come to until `reported_ns`, by its clock."""

    run: str
    client: str
    final: bool
    """Whether there is nothing more to come."""
    reported_ns: int
    connections: pd.DataFrame
    broadcasts: pd.DataFrame
    exchanges: list[list[int]]
    """Of `clock.Offset`."""
    refusals: dict[str, int]
    error_frames: dict[str, int]
    cpu: list[float]
    """Share of a core, second by second, while broadcasts were under way."""
    bytes_per_connection: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A generator cannot go on."""

    run: str
    client: str
    reason: str


def name(kind: type) -> str:
    """Under which name Locust knows a kind of message."""
    return f"loadtest.{kind.__name__.lower()}"


def send(runner: "Runner", message, client: str | None = None) -> None:
    """Tell the other side: the master tells all workers, or the one with the id `client`."""
    from locust.runners import LocalRunner  # not above: Locust patches the sockets and threads of whoever imports it

    data = message if isinstance(runner, LocalRunner) else encode(message)
    runner.send_message(name(type(message)), data, client)


def listen(runner: "Runner", kind: type, listener: Callable, on_error: Callable[[Exception], None]) -> None:
    """Call `listener(message)` for each message of this kind, and `on_error` if that fails.

    Locust would log the error and go on, and what was in the message would be lost without a word.
    """

    def on_message(msg, **_) -> None:
        try:
            listener(decode(kind, msg.data))
        except Exception as error:
            on_error(error)

    runner.register_message(name(kind), on_message)


def encode(message) -> dict:
    """A message as a dict of what msgpack takes."""
    return {each.name: _pack(getattr(message, each.name)) for each in fields(message)}


def decode(kind: type, data):
    """The message of a kind in what arrived: a dict, or within one process the message itself.

    Raises:
        ProtocolError: if it is something else, such as the message of another version.
    """
    if isinstance(data, kind):
        return data
    expected = _types(kind)
    if not isinstance(data, dict) or data.keys() != expected.keys():
        raise ProtocolError(f"A {name(kind)} message has other fields: master and workers need the same version.")
    try:
        return kind(**{key: _unpack(expected[key], value) for key, value in data.items()})
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"A {name(kind)} message cannot be read: {error}") from error


@cache
def _types(kind: type) -> dict[str, type | types.GenericAlias]:
    return typing.get_type_hints(kind)


def _pack(value):
    if isinstance(value, pd.DataFrame):
        return records.pack(value)
    if isinstance(value, list) and value and isinstance(value[0], Plan):
        return [encode(plan) for plan in value]
    return value


def _unpack(expected: type | types.GenericAlias, value):
    """A value of the type that is expected, from what msgpack made of it. Raises TypeError or ValueError."""
    if expected is pd.DataFrame:
        return records.unpack(value)
    if expected is Plan:
        return decode(Plan, value)
    if expected is float and type(value) is int:
        return float(value)
    kind, inner = typing.get_origin(expected) or expected, typing.get_args(expected)
    if type(value) is not kind:
        raise TypeError(f"{value!r:.50} is no {kind.__name__}.")
    if kind is list:
        return [_unpack(inner[0], each) for each in value]
    if kind is dict:
        return {_unpack(inner[0], key): _unpack(inner[1], each) for key, each in value.items()}
    return value
