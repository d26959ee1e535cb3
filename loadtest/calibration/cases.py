"""The cases of the calibration: what the server does, and how the load test is run."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loadtest.calibration.reference_server import Faults


@dataclass(frozen=True)
class Case:
    """One calibration."""

    name: str
    faults: Faults = field(default_factory=Faults)
    connections: int = 1000
    broadcast_rate: float = 5.0
    broadcasts: int = 30
    warm_up: int = 2
    tls: bool = False
    processes: int = 1
    naive_client: bool = False
    """Whether the naive client measures this case too."""
    stall: bool = False
    """Whether the load test's process is stopped for a moment again and again while deliveries arrive."""


def delay(milliseconds: float) -> Faults:
    """Delay every delivery by so much."""
    return Faults(delay_ms=lambda random, n: np.full(n, milliseconds))


def log_normal(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Delays in milliseconds, shape (n,), with a median of 10 and a long tail: p99 is 64."""
    return random.lognormal(np.log(10), 0.8, n)


CASES = [
    Case("no delay", naive_client=True),
    Case("no delay, 20 a second", broadcast_rate=20, broadcasts=100, naive_client=True),
    Case("5 ms", delay(5), naive_client=True),
    Case("50 ms", delay(50)),
    Case("log-normal", Faults(delay_ms=log_normal)),
    Case("dropped, doubled, reordered", Faults(drop=0.01, double=0.01, reorder=0.01)),
    Case("stalled reader", delay(20), stall=True),
    Case("wss, 5 ms", delay(5), tls=True),
    Case("5,000 connections in two processes", connections=5000, processes=2, broadcast_rate=1, broadcasts=8),
]
