"""The clocks of a measurement: the host's, the kernel's arrival timestamps, and the offset of other hosts' clocks.

All times are integers in nanoseconds of Unix time (CLOCK_REALTIME): it is the clock of the kernel's timestamps.
"""

import socket
import struct
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import overload

import numpy as np
from numpy.typing import NDArray

# <asm-generic/socket.h>; Python's socket module does not name it. The timestamp comes as a `struct timespec`.
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)

Ancillary = Iterable[tuple[int, int, bytes]]
"""Control messages as `recvmsg` returns them: level, type, data."""
Times = NDArray[np.int64]


def now_ns() -> int:
    """Unix time by this process's clock, in nanoseconds."""
    return time.time_ns()


def ahead_of_monotonic_ns() -> int:
    """How far Unix time is ahead of the monotonic clock, in nanoseconds: it changes when somebody sets the clock."""
    return now_ns() - time.monotonic_ns()


def timestamp_ns(ancillary: Ancillary) -> int:
    """The kernel's arrival timestamp in what `recvmsg` returned, in nanoseconds; 0 if there is none."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0


@cache
def kernel_timestamps() -> bool:
    """Whether the kernel gives TCP arrivals a timestamp, on the same clock as `now_ns`.

    A socket on loopback answers this, not the platform's name. So a process whose own clock is not the kernel's
    (under `faketime`, for example) finds out too.
    """
    with socket.socket() as own:
        try:
            own.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        except OSError:
            return False
        own.settimeout(1)
        own.bind(("127.0.0.1", 0))
        own.connect(own.getsockname())  # with itself (RFC 9293, section 3.5): so nobody else can connect
        # The kernel begins to give timestamps a moment after the first request for them, hence several attempts.
        for _ in range(50):
            before_ns = now_ns()
            own.send(b"?")
            _, ancillary, _, _ = own.recvmsg(1, ANCILLARY_BYTES)
            if arrived_ns := timestamp_ns(ancillary):
                return before_ns - 1_000_000 <= arrived_ns <= now_ns() + 1_000_000
            time.sleep(0.001)
    return False


class Offset:
    """How far the master's clock is ahead of this process's clock, from repeated exchanges of a ping and a pong.

    The master reads its clock between the moments at which the ping is sent and the pong arrives. So the offset is
    known to half the round trip, however unequal the two ways are. Of each `WINDOW_S` seconds, the exchange with the
    shortest round trip counts (NTP's clock filter chooses so, RFC 5905, section 10); between those the offset is
    interpolated, which follows a drift. If no exchange can tell the offset from 0, as between processes of one machine,
    it is 0.

    Args:
        exchanges: those of another `Offset.exchanges`.
    """

    WINDOW_S = 10

    def __init__(self, exchanges: Iterable[Sequence[int]] = ()) -> None:
        self.count = 0
        self._best: dict[int, tuple[int, int, int]] = {}
        for at_ns, offset_ns, round_trip_ns in exchanges:
            self._keep(at_ns, offset_ns, round_trip_ns)

    def add(self, ping_sent_ns: int, master_ns: int, pong_received_ns: int) -> None:
        """Add an exchange: the ping and the pong by this process's clock, `master_ns` by the master's."""
        middle_ns = (ping_sent_ns + pong_received_ns) // 2
        self._keep(middle_ns, master_ns - middle_ns, pong_received_ns - ping_sent_ns)

    def _keep(self, at_ns: int, offset_ns: int, round_trip_ns: int) -> None:
        self.count += 1
        window = at_ns // (self.WINDOW_S * 1_000_000_000)
        if window not in self._best or round_trip_ns < self._best[window][2]:
            self._best[window] = (at_ns, offset_ns, round_trip_ns)

    @property
    def exchanges(self) -> list[tuple[int, int, int]]:
        """The exchanges that count: this process's time, offset and round trip, in nanoseconds."""
        return [self._best[window] for window in sorted(self._best)]

    @property
    def is_zero(self) -> bool:
        """Whether no exchange can tell the offset from 0."""
        return all(abs(offset_ns) <= round_trip_ns / 2 for _, offset_ns, round_trip_ns in self._best.values())

    @overload
    def at(self, times_ns: int) -> int: ...

    @overload
    def at(self, times_ns: Times) -> Times: ...

    def at(self, times_ns: Times | int) -> Times | int:
        """The offset in nanoseconds at times of this process's clock, of the same shape."""
        if self.is_zero:
            return np.zeros_like(times_ns) if isinstance(times_ns, np.ndarray) else 0
        at_ns, offset_ns, _ = np.array(self.exchanges).T
        # Differences from the first, since a float64 holds Unix time to 256 ns only.
        change_ns = np.interp(np.asarray(times_ns - at_ns[0], dtype=float), at_ns - at_ns[0], offset_ns - offset_ns[0])
        found_ns = offset_ns[0] + np.rint(change_ns).astype(np.int64)
        return found_ns if isinstance(times_ns, np.ndarray) else int(found_ns)

    @property
    def uncertainty_ns(self) -> float:
        """The largest possible error of the offset at an exchange that counts: half the longest round trip."""
        return max((round_trip_ns for _, _, round_trip_ns in self._best.values()), default=0) / 2
