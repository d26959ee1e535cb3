"""The load test's own arguments, beside Locust's: on the command line, in Locust's web page, in its configuration file."""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from loadtest import messages, schedule, shapes


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to Locust's parser. Each has a default of its type: the web page converts what it posts to it."""
    group = parser.add_argument_group("Broadcasts")
    group.add_argument("--broadcasts", type=int, default=20, help="Number of broadcasts (in each step of --shape steps)")
    group.add_argument("--broadcast-rate", type=float, default=1.0, help="Broadcasts per second, on average")
    group.add_argument(
        "--duration",
        type=float,
        default=0.0,
        help="Seconds of broadcasting; the schedule is cut there. 0: as long as --broadcasts takes",
    )
    group.add_argument("--speakers", type=int, default=1, help="Number of connections that take turns to broadcast")
    group.add_argument("--payload-bytes", type=int, default=200, help="Size of a broadcast in bytes, at most 131072")
    group.add_argument(
        "--arrivals",
        choices=schedule.ARRIVALS,
        default="constant",
        help="How broadcasts are spread: evenly, at random (a Poisson process), or as in the file --trace",
    )
    group.add_argument("--trace", default="", help="File with one offset in seconds a line, for --arrivals trace")
    group.add_argument("--seed", type=int, default=1, help="Seed of the Poisson process")
    group.add_argument(
        "--drain-time",
        type=float,
        default=10.0,
        help="Seconds to wait for deliveries after the last broadcast; what has not come by then is missing",
    )

    group = parser.add_argument_group("Connections")
    group.add_argument(
        "--shape",
        choices=shapes.SHAPES,
        default="constant",
        # Locust asks for the shape before it reads the web page's form.
        include_in_web_ui=False,
        help="constant: broadcast when all --users are connected. ramp: broadcast while they connect, one after another. "
        "steps: connect to each number of --steps, broadcast there, go on",
    )
    group.add_argument("--steps", default="", help="Numbers of connections for --shape steps, such as 50,100,200,400")
    group.add_argument(
        "--connect-timeout", type=float, default=30.0, help="Seconds that one connection may take to be accepted"
    )
    group.add_argument(
        "--max-connection-rate",
        type=float,
        default=450.0,
        help="Upper bound of new connections per second, whatever --spawn-rate says; AWS takes 500",
    )
    group.add_argument(
        "--ca-file", default="", help="PEM file of certificates to trust for wss:// instead of the system's"
    )

    group = parser.add_argument_group("Results")
    group.add_argument(
        "--results", default="", help="Folder for the results, made if needed. Default: runs/loadtest-<UTC time>"
    )


@dataclass(frozen=True)
class Settings:
    """What one test is asked to do, checked."""

    url: str
    users: int
    shape: str
    steps: tuple[int, ...]
    broadcasts: int
    broadcast_rate: float
    duration: float
    speakers: int
    payload_bytes: int
    arrivals: str
    trace: str
    seed: int
    drain_time: float
    connect_timeout: float
    max_connection_rate: float
    ca_file: str
    results: Path

    @classmethod
    def from_options(cls, options: argparse.Namespace, url: str | None, users: int) -> "Settings":
        """Read Locust's parsed options.

        Raises:
            ValueError: in one sentence, for what cannot be done.
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
        parts = urlsplit(self.url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"--host takes the chat's URL, ws://… or wss://…, not {self.url!r}.")
        for name in ("users", "broadcasts", "broadcast_rate", "speakers", "connect_timeout", "max_connection_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name.replace('_', '-')} must be more than 0, not {getattr(self, name)}.")
        for name in ("duration", "drain_time", "payload_bytes"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--{name.replace('_', '-')} cannot be negative, as {getattr(self, name)} is.")
        if self.payload_bytes > messages.MAX_BYTES:
            raise ValueError(
                f"--payload-bytes can be {messages.MAX_BYTES} at most (API Gateway's 128 KB), not {self.payload_bytes}."
            )
        if self.shape == "steps" and (not self.steps or min(self.steps) < 1 or list(self.steps) != sorted(self.steps)):
            raise ValueError("--shape steps needs --steps with growing numbers of connections, such as 50,100,200.")
        if self.ca_file and not Path(self.ca_file).is_file():
            raise ValueError(f"There is no file {self.ca_file} of certificates to trust (--ca-file).")
        self.schedule()

    def schedule(self) -> np.ndarray:
        """Offsets of one phase's broadcasts in seconds, shape (broadcasts,). See `loadtest.schedule`."""
        if self.arrivals == "trace":
            offsets = schedule.trace(self.trace)
        elif self.arrivals == "poisson":
            offsets = schedule.poisson(self.broadcasts, self.broadcast_rate, self.seed)
        else:
            offsets = schedule.constant(self.broadcasts, self.broadcast_rate)
        return offsets[offsets < self.duration] if self.duration else offsets

    @property
    def phases(self) -> tuple[int, ...]:
        """Connections of each phase: one for each step, or one in all."""
        return self.steps if self.shape == "steps" else (self.users,)
