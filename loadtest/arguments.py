"""The arguments that the load test adds to Locust's: for the command line, the web page and the configuration file."""

import argparse
import math
import secrets
import time
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from loadtest import messages, schedule
from loadtest.schedule import Offsets

SHAPES = ("constant", "ramp", "steps")
WARM_UP_GAP_S = 1.0

MAX_S = 7 * 24 * 60 * 60.0
"""The longest that anything may take: a week."""
MAX_DELIVERIES = 5_000_000
"""The most deliveries that one test may ask for: `budget.WRITE_S` is enough to write them. A million take 330 MB of
memory then."""
MAX_VALUES = {
    "users": 1_000_000, "broadcasts": 1_000_000, "warm_up": 1_000_000, "speakers": 1_000_000,
    "broadcast_rate": 1e6, "max_connection_rate": 1e6, "max_handshakes": 2**31 - 1, "seed": 2**32 - 1, "churn": 1.0,
    "duration": MAX_S, "drain_time": MAX_S, "connect_timeout": MAX_S, "retry_time": MAX_S,
    "max_message_bytes": 2**30,
}  # fmt: skip
"""The largest value of each option: a larger one is a slip, and would take memory or time without end."""
PAGE_PATH = f"/{secrets.token_urlsafe()}"
"""Where Locust's web page is. The page has no log-in, so only the person who sees Locust print this may find it."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to Locust's parser.

    Each has a default of its type, since Locust converts what the web page posts to the type of the default. They are
    added one by one and not as a group, since Locust's web page does not show groups.
    """
    # The broadcasts
    parser.add_argument(
        "--broadcasts", type=int, default=20, help="Number of broadcasts (in each step of --shape steps)"
    )
    parser.add_argument("--broadcast-rate", type=float, default=1.0, help="Broadcasts per second, on average")
    parser.add_argument(
        "--duration",
        type=float,
        default=0.0,
        help="Seconds of broadcasting. If it is not 0, --broadcasts does not count",
    )
    parser.add_argument(
        "--warm-up",
        type=int,
        default=2,
        help="Broadcasts before the others (in each step) that are recorded but do not count in the summary, so that "
        "a cold start of the system does not count",
    )
    parser.add_argument("--speakers", type=int, default=1, help="Number of connections that take turns to broadcast")
    parser.add_argument("--payload-bytes", type=int, default=200, help="Size of a broadcast in bytes, at most 32768")
    parser.add_argument(
        "--arrivals",
        choices=schedule.ARRIVALS,
        default="constant",
        help="How broadcasts are spread: evenly, at random (a Poisson process), or as in the file --trace",
    )
    parser.add_argument("--trace", default="", help="File with one offset in seconds a line, for --arrivals trace")
    parser.add_argument("--seed", type=int, default=1, help="Seed of the Poisson process and of --churn")
    parser.add_argument(
        "--drain-time",
        type=float,
        default=10.0,
        help="Seconds to wait for deliveries after the last broadcast; those that have not arrived then are missing",
    )
    # The connections
    parser.add_argument(
        "--shape",
        choices=SHAPES,
        default="constant",
        # Locust calls the shape before it reads the web page's form.
        include_in_web_ui=False,
        help="constant: broadcast when all --users are connected. ramp: broadcast while they connect, one after "
        "another. steps: for each number of --steps, connect so many and then broadcast",
    )
    parser.add_argument("--steps", default="", help="Numbers of connections for --shape steps, such as 50,100,200,400")
    parser.add_argument(
        "--connect-timeout", type=float, default=30.0, help="Seconds that one connection may take to be accepted"
    )
    parser.add_argument(
        "--retry-time",
        type=float,
        default=30.0,
        help="Seconds for which a connection that was refused because of too much load (status 429 or 5xx) is tried "
        "again, with growing pauses",
    )
    parser.add_argument(
        "--max-handshakes",
        type=int,
        default=0,
        help="If it is not 0, the test ends when so many connections were tried, those of --churn and refused ones "
        "included",
    )
    parser.add_argument(
        "--churn",
        type=float,
        default=0.0,
        help="Share of the connections, such as 0.05, that leave in each second of broadcasting, at random times, and "
        "are replaced by new ones; the --speakers stay",
    )
    parser.add_argument(
        "--max-connection-rate",
        type=float,
        default=450.0,
        help="Upper bound of new connections per second, whatever --spawn-rate is; API Gateway allows 500",
    )
    parser.add_argument(
        "--max-message-bytes",
        type=int,
        default=messages.MAX_MESSAGE_BYTES,
        help="The largest message that the server may send, in bytes; API Gateway's is 131072. A connection that gets "
        "a larger one is closed",
    )
    parser.add_argument(
        "--ca-file", default="", help="PEM file of certificates to trust for wss:// instead of the system's"
    )
    # The results
    parser.add_argument(
        "--results", default="", help="Folder for the results, made if needed. Default: runs/loadtest-<UTC time>"
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
    max_connection_rate: float
    max_message_bytes: int
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
        own = {name: getattr(options, name) for name in cls.__dataclass_fields__ if hasattr(options, name)}
        settings = cls(**(own | {"url": url or "", "users": users, "steps": steps, "results": Path(results)}))
        settings._check()
        return settings

    def _check(self) -> None:
        for name, value in self._values().items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"--{name.replace('_', '-')} must be a finite number, not {value}.")
        if not _is_websocket_url(self.url):
            raise ValueError(f"--host takes the chat's URL, ws://… or wss://…, not {self.url!r}.")
        for name in ("users", "broadcasts", "broadcast_rate", "speakers", "connect_timeout", "max_connection_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name.replace('_', '-')} must be more than 0, not {getattr(self, name)}.")
        not_negative = ("duration", "warm_up", "drain_time", "payload_bytes", "retry_time", "max_handshakes", "churn")
        for name in (*not_negative, "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--{name.replace('_', '-')} cannot be negative, as {getattr(self, name)} is.")
        for name, max_value in MAX_VALUES.items():
            if getattr(self, name) > max_value:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} can be {max_value:,.0f} at most, not {getattr(self, name)}.")
        if self.payload_bytes > messages.MAX_BYTES:
            raise ValueError(
                f"--payload-bytes can be {messages.MAX_BYTES} at most, as API Gateway's frames, not "
                f"{self.payload_bytes}."
            )
        if self.max_message_bytes < messages.MAX_BYTES:
            raise ValueError(
                f"--max-message-bytes must be {messages.MAX_BYTES} at least, the largest of --payload-bytes, not "
                f"{self.max_message_bytes}."
            )
        if self.shape == "steps" and (not self.steps or min(self.steps) < 1 or list(self.steps) != sorted(self.steps)):
            raise ValueError("--shape steps needs --steps with growing numbers of connections, such as 50,100,200.")
        if self.churn and self.speakers >= self.phases[0]:
            raise ValueError(
                f"With --churn there have to be more connections than --speakers, which stay: {self.phases[0]} are not "
                f"more than {self.speakers}."
            )
        if self.ca_file and not Path(self.ca_file).is_file():
            raise ValueError(f"There is no file {self.ca_file!r} of certificates to trust (--ca-file).")
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
            offsets = schedule.trace(self.trace)
            return offsets[offsets < self.duration] if self.duration else offsets
        if self.arrivals == "poisson":
            return schedule.poisson(self.broadcasts, self.broadcast_rate, self.seed, self.duration)
        return schedule.constant(self.broadcasts, self.broadcast_rate, self.duration)

    def with_warm_up(self, phase: int = 0) -> Offsets:
        """Offsets of one phase in seconds, shape (warm_up + broadcasts,): the warm-up at an even rate, then the rest.

        In the first phase at least `WARM_UP_GAP_S` lies between the two, which is longer than the cold start of a small
        Lambda function. In later phases the function is warm.
        """
        gap_s = 1 / self.broadcast_rate
        warm_up = schedule.constant(self.warm_up, self.broadcast_rate, 0)
        pause_s = gap_s if phase else max(gap_s, WARM_UP_GAP_S)
        start_s = warm_up[-1] + pause_s if self.warm_up else 0.0
        return np.concatenate([warm_up, start_s + self.schedule])

    @property
    def total_broadcasts(self) -> int:
        """Broadcasts of all phases, without the warm-up's."""
        return len(self.schedule) * len(self.phases)

    def as_json(self) -> dict[str, object]:
        """The settings as `json.dumps` takes them."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in self._values().items()}

    def _values(self) -> dict[str, object]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def phases(self) -> tuple[int, ...]:
        """The number of connections in each phase: one phase for each step, or a single one."""
        return self.steps if self.shape == "steps" else (self.users,)


def _is_websocket_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port or the IPv6 address is invalid
        return False
