"""What a test is asked to do: the arguments that the load test adds to Locust's, and what follows from them.

That is its schedule (when each broadcast is due) and how long each part of it may take.
"""

import argparse
import math
import secrets
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from loadtest import messages, protocols
from loadtest.storm import POLICIES

WARM_UP_GAP_S = 1.0

MAX_S = 7 * 24 * 60 * 60.0
"""The longest that anything may take: a week."""
MAX_DELIVERIES = 5_000_000
"""The most deliveries that one test may ask for: `WRITE_S` is enough to write them. A million take 330 MB of memory
then."""
MAX_TRACE_BYTES = 100_000_000
"""A larger file is not a trace: a million lines, which are more than a test can have, take a tenth of this."""
PAGE_PATH = f"/{secrets.token_urlsafe()}"
"""Where Locust's web page is. The page has no log-in, so only the person who sees Locust print this may find it."""

# How long each part of a test may take. Every wait has an end, and all of the ends are here.
CONNECT_GRACE_S = 10.0
"""How much longer the connections of a phase may take than their rate, the time-out and the retries need."""
SYNCHRONISE_S = 10.0
"""For the first comparisons of a worker's clock with the master's."""
LEAD_S = 0.3
"""From sending the plan to its first broadcast."""
SETTLE_S = 0.5
"""After the last expected delivery of all: time for a second copy to arrive."""
HALT_S = 2.0
"""For deliveries under way when somebody stops the test."""
COLLECT_S = 20.0
"""For the last records of all generators to arrive."""
LEAVE_GRACE_S = 10.0
"""How much longer the connections may take to leave than their rate needs."""
WRITE_S = 7.5
"""For writing the results of the largest test: a million deliveries took 1.3 s (`MAX_DELIVERIES`)."""
STOP_S = HALT_S + SETTLE_S + COLLECT_S + WRITE_S
"""From Ctrl-C, SIGTERM or Locust's stop button to the end of the process, with the results written. Wait this long
before you kill a load test that you have stopped."""

Offsets = NDArray[np.float64]
"""When broadcasts are due: seconds after the start, shape (broadcasts,), ascending, the first one at or after 0. They
are fixed before the first one (open loop): a slow system does not slow them."""


class Option(NamedTuple):
    """An argument, without the dashes of its name: its default, whose type it has; its help; and the values it takes.

    A larger number than `at_most` is a slip, and would take memory or time without end.
    """

    default: int | float | str
    help: str
    at_most: float = math.inf
    above_0: bool = False
    """Whether 0 is refused."""
    at_least: int = 0
    choices: tuple[str, ...] | None = None
    on_web_page: bool = True


OPTIONS = {
    # The broadcasts
    "broadcasts": Option(20, "Number of broadcasts (in each step of --shape steps)", 1_000_000, above_0=True),
    "broadcast_rate": Option(1.0, "Broadcasts per second, on average", 1e6, above_0=True),
    "duration": Option(0.0, "Seconds of broadcasting. If it is not 0, --broadcasts does not count", MAX_S),
    "warm_up": Option(
        2,
        "Broadcasts before the others (in each step) that are recorded but do not count in the summary, so that a cold "
        "start of the system does not count",
        1_000_000,
    ),
    "speakers": Option(1, "Number of connections that take turns to broadcast", 1_000_000, above_0=True),
    "payload_bytes": Option(200, "Size of a broadcast in bytes; API Gateway takes 32768 at most", messages.MAX_BYTES),
    "arrivals": Option(
        "constant",
        "How broadcasts are spread: evenly, at random (a Poisson process), or as in the file --trace",
        choices=("constant", "poisson", "trace"),
    ),
    "trace": Option("", "File with one offset in seconds a line, for --arrivals trace"),
    "seed": Option(1, "Seed of the Poisson process and of --churn", 2**32 - 1),
    "drain_time": Option(
        10.0,
        "Seconds to wait for deliveries after the last broadcast; those that have not arrived then are missing",
        MAX_S,
    ),
    # The connections
    "shape": Option(
        "constant",
        "constant: broadcast when all --users are connected. ramp: broadcast while they connect, one after another. "
        "steps: for each number of --steps, connect that many and then broadcast",
        choices=("constant", "ramp", "steps"),
        on_web_page=False,  # Locust calls the shape before it reads the web page's form
    ),
    "steps": Option("", "Numbers of connections for --shape steps, such as 50,100,200,400"),
    "connect_timeout": Option(30.0, "Seconds that one connection may take to be accepted", MAX_S, above_0=True),
    "retry_time": Option(
        30.0,
        "Seconds for which a connection that was refused because of too much load (status 429 or 5xx) is tried again, "
        "with growing pauses",
        MAX_S,
    ),
    "max_handshakes": Option(
        0,
        "If it is not 0, the test ends when this many connections were tried, those of --churn and refused ones "
        "included",
        2**31 - 1,
    ),
    "churn": Option(
        0.0,
        "Share of the connections, such as 0.05, that leave in each second of broadcasting, at random times, and are "
        "replaced by new ones; the --speakers stay",
        1.0,
    ),
    "storm": Option(
        "",
        "After a quarter of the broadcasts, drop all connections at once but a tenth and the --speakers; each comes "
        f"back when this policy says so, and tries until it is let in: {', '.join(POLICIES)}",
        choices=("", *POLICIES),
    ),
    "max_connection_rate": Option(
        450.0,
        "Upper bound of new connections per second, whatever --spawn-rate is; API Gateway allows 500",
        1e6,
        above_0=True,
    ),
    "max_message_bytes": Option(
        messages.MAX_MESSAGE_BYTES,
        "The largest message that the server may send, in bytes; API Gateway's is 131072. A connection that gets a "
        "larger one is closed",
        2**30,
        at_least=messages.MAX_BYTES,  # the largest --payload-bytes
    ),
    "protocol": Option("plain", f"What the connections speak: {', '.join(protocols.OURS)}, or another package's"),
    "channel": Option("", "Where they speak, as the protocol calls it. Default: the protocol's"),
    "ca_file": Option("", "PEM file of certificates to trust for wss:// instead of the system's"),
    # The results
    "results": Option("", "Folder for the results, made if needed. Default: runs/loadtest-<UTC time>"),
}
LIMITED = OPTIONS | {"users": Option(1, "Locust's own", 1_000_000, above_0=True)}


def flag(name: str) -> str:
    """An argument as it is typed."""
    return f"--{name.replace('_', '-')}"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to Locust's parser.

    Each has a default of its type, since Locust converts what the web page posts to the type of the default. They are
    added one by one and not as a group, since Locust's web page does not show groups.
    """
    for name, option in OPTIONS.items():
        of_locusts: dict[str, Any] = {} if option.on_web_page else {"include_in_web_ui": False}
        kind, choices = type(option.default), option.choices
        parser.add_argument(
            flag(name), type=kind, default=option.default, help=option.help, choices=choices, **of_locusts
        )
    # Locust prints a long table every two seconds, and progress.json has the same numbers. Locust's web page and its
    # master would otherwise listen on every address of the machine.
    parser.set_defaults(only_summary=True, web_host="127.0.0.1", master_bind_host="127.0.0.1", web_base_path=PAGE_PATH)


@dataclass(frozen=True)
class Settings:
    """What one test has to do. Only `from_options` makes one, which checks it."""

    url: str
    users: int
    shape: str
    steps: tuple[int, ...]
    broadcasts: int
    broadcast_rate: float
    duration: float
    warm_up: int
    speakers: int
    payload_bytes: int
    arrivals: str
    trace: str
    seed: int
    drain_time: float
    connect_timeout: float
    retry_time: float
    max_handshakes: int
    churn: float
    storm: str
    max_connection_rate: float
    max_message_bytes: int
    protocol: str
    channel: str
    ca_file: str
    results: Path

    @classmethod
    def from_options(cls, options: argparse.Namespace, url: str | None, users: int) -> "Settings":
        """Read Locust's parsed options.

        Raises:
            ValueError: in one sentence, if the test cannot be done.
        """
        try:
            steps = tuple(int(step) for step in options.steps.split(",") if step.strip())
        except ValueError:
            raise ValueError(f"--steps takes numbers with commas between them, not {options.steps!r}.") from None
        results = options.results or time.strftime("runs/loadtest-%Y%m%dT%H%M%SZ", time.gmtime())
        own = {name: getattr(options, name) for name in OPTIONS}
        settings = cls(**(own | {"url": url or "", "users": users, "steps": steps, "results": Path(results)}))
        settings._check()
        return settings

    def _check(self) -> None:
        if not _is_websocket_url(self.url):
            raise ValueError(f"--host takes the chat's URL, ws://… or wss://…, not {self.url!r}.")
        for name, option in LIMITED.items():
            value = getattr(self, name)
            if isinstance(option.default, str):
                continue
            if not option.at_least <= value <= option.at_most or (option.above_0 and not value):  # or it is NaN
                least = "more than 0" if option.above_0 else f"at least {option.at_least:,}"
                raise ValueError(f"{flag(name)} must be {least} and at most {option.at_most:,.0f}, not {value}.")
        if self.shape == "steps" and (not self.steps or min(self.steps) < 1 or list(self.steps) != sorted(self.steps)):
            raise ValueError("--shape steps needs --steps with growing numbers of connections, such as 50,100,200.")
        if self.churn and self.speakers >= self.phases[0]:
            raise ValueError(
                f"With --churn there have to be more connections than --speakers, which stay: {self.phases[0]} are not "
                f"more than {self.speakers}."
            )
        if self.storm and (self.shape != "constant" or self.churn):
            raise ValueError("--storm drops a constant number of connections: leave out --shape and --churn.")
        if self.ca_file and not Path(self.ca_file).is_file():
            raise ValueError(f"There is no file {self.ca_file!r} of certificates to trust (--ca-file).")
        protocols.make(self.protocol, self.channel)
        self._check_schedule()

    def _check_schedule(self) -> None:
        if self.arrivals != "trace":  # a trace is as long as its file
            rate = self.broadcast_rate
            self._check_extent(
                self.warm_up + (self.duration * rate if self.duration else self.broadcasts),
                self.warm_up / rate + (self.duration or self.broadcasts / rate),
            )
        if not len(self.schedule):
            raise ValueError("The schedule is empty: no broadcast is due within --duration.")
        if self.storm and len(self.schedule) < 8:
            raise ValueError("--storm needs at least 8 broadcasts: before the drop, meanwhile, and after.")
        offsets = self.with_warm_up()
        self._check_extent(len(offsets), float(offsets[-1]))

    def _check_extent(self, broadcasts: float, seconds: float) -> None:
        """Refuse too many broadcasts in each phase, or too long a phase, before its schedule takes any memory."""
        if not seconds <= MAX_S:
            raise ValueError(
                f"The last broadcast would be due after {seconds / 86_400:,.0f} days, and a test can take "
                f"{MAX_S / 86_400:.0f}: ask for fewer broadcasts, or a higher --broadcast-rate."
            )
        if (deliveries := broadcasts * sum(self.phases)) > MAX_DELIVERIES:
            raise ValueError(
                f"That would be {deliveries:,.0f} deliveries, and a test can have {MAX_DELIVERIES:,}: ask for fewer "
                "broadcasts or connections, or for a shorter --duration."
            )

    @cached_property
    def schedule(self) -> Offsets:
        """Offsets of one phase's broadcasts in seconds, shape (broadcasts,), without the warm-up's.

        It is made once, when the settings are checked: later, the file --trace may have changed.
        """
        if self.arrivals == "trace":
            offsets = trace_offsets(self.trace)
            return offsets[offsets < self.duration] if self.duration else offsets
        if self.arrivals == "poisson":
            return poisson_offsets(self.broadcasts, self.broadcast_rate, self.seed, self.duration)
        return constant_offsets(self.broadcasts, self.broadcast_rate, self.duration)

    def with_warm_up(self, phase: int = 0) -> Offsets:
        """Offsets of one phase in seconds, shape (warm_up + broadcasts,): the warm-up at an even rate, then the rest.

        In the first phase at least `WARM_UP_GAP_S` lies between the two, which is longer than the cold start of a small
        Lambda function. In later phases the function is warm.
        """
        gap_s = 1 / self.broadcast_rate
        warm_up = constant_offsets(self.warm_up, self.broadcast_rate, 0)
        pause_s = gap_s if phase else max(gap_s, WARM_UP_GAP_S)
        start_s = warm_up[-1] + pause_s if self.warm_up else 0.0
        return np.concatenate([warm_up, start_s + self.schedule])

    @property
    def total_broadcasts(self) -> int:
        """Broadcasts of all phases, without the warm-up's."""
        return len(self.schedule) * len(self.phases)

    def as_json(self) -> dict[str, object]:
        """The settings as `json.dumps` takes them."""
        return asdict(self) | {"results": f"{self.results}"}

    @property
    def phases(self) -> tuple[int, ...]:
        """The number of connections in each phase: one phase for each step, or a single one."""
        return self.steps if self.shape == "steps" else (self.users,)

    def connecting_s(self, connections: int, rate: float) -> float:
        """The longest time that this many connections may take to open, at `rate` a second."""
        return connections / rate + self.connect_timeout + self.retry_time + CONNECT_GRACE_S

    def longest_s(self, rate: float) -> float:
        """The longest time that a whole test may take with `rate` new connections a second, from start to results.

        Most tests take far less: a phase ends as soon as all are connected and everything has arrived.
        """
        phases = sum(
            self.connecting_s(connections, rate)
            + SYNCHRONISE_S
            + LEAD_S
            + float(self.with_warm_up(phase)[-1])
            + self.drain_time
            + (self.retry_time if self.storm else 0)  # until all are back
            for phase, connections in enumerate(self.phases)
        )
        return phases + SETTLE_S + COLLECT_S + leaving_s(self.phases[-1], rate) + WRITE_S


def _is_websocket_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port or the IPv6 address is invalid
        return False


def leaving_s(connections: int, rate: float) -> float:
    """The longest time that this many connections may take to leave, at `rate` a second."""
    return connections / rate + LEAVE_GRACE_S


def constant_offsets(broadcasts: int, rate: float, duration: float = 0.0) -> Offsets:
    """One broadcast every 1 / `rate` seconds: `broadcasts` of them or, if it is not 0, for `duration` seconds."""
    return np.arange(math.ceil(round(duration * rate, 9)) if duration else broadcasts) / rate


def poisson_offsets(broadcasts: int, rate: float, seed: int, duration: float = 0.0) -> Offsets:
    """Independent senders: exponential gaps of mean 1 / `rate` seconds; as many as `constant_offsets` on average."""
    random = np.random.default_rng(seed)
    if not duration:
        return np.cumsum(random.exponential(1 / rate, broadcasts))
    # Given their number, a Poisson process's points are uniform.
    return np.sort(random.uniform(0, duration, random.poisson(rate * duration)))


def trace_offsets(path: str | Path) -> Offsets:
    """The offsets in a text file, one a line, in seconds; empty lines and lines with # are comments.

    Raises:
        ValueError: in one sentence, naming the line.
    """
    offsets: list[float] = []
    try:
        lines = _text(Path(path)).splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(f"The trace {str(path)!r} can't be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            offset = float(text)
        except ValueError:
            offset = np.nan
        if not 0 <= offset < np.inf or (offsets and offset < offsets[-1]):
            raise ValueError(
                f"{path}, line {number}: {text[:40]!r} is not a number of seconds at or after the line before."
            )
        offsets.append(offset)
    if not offsets:
        raise ValueError(f"The trace {path} has no offsets in it.")
    return np.array(offsets)


def _text(path: Path) -> str:
    if not path.is_file():  # reading a device or a pipe would not end
        raise ValueError("it is not a file" if path.exists() else "there is no such file")
    if path.stat().st_size > MAX_TRACE_BYTES:
        raise ValueError(f"it has more than {MAX_TRACE_BYTES // 1_000_000} MB")
    return path.read_text()
