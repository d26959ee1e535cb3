"""The clocks of a measurement: the host's, the kernel's stamps on what arrives, and what other hosts' differ by.

All times are integers in nanoseconds of Unix time (CLOCK_REALTIME): it is the clock of the kernel's stamps.
"""

import socket
import struct
import time
from collections.abc import Iterable
from functools import cache

import numpy as np

# <asm-generic/socket.h>; Python's socket module does not name it. The stamp comes as a `struct timespec`.
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0


def now_ns() -> int:
    """This process's idea of Unix time, in nanoseconds."""
    return time.time_ns()


def ahead_ns() -> int:
    """How far Unix time is ahead of the monotonic clock, in nanoseconds: it changes when somebody sets the clock."""
    return now_ns() - time.monotonic_ns()


def stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The kernel's arrival stamp in what `recvmsg` returned, in nanoseconds; 0 if there is none."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return seconds * 1_000_000_000 + nanoseconds
    return 0


@cache
def kernel_stamps() -> bool:
    """Whether the kernel stamps TCP arrivals, on the same clock as `now_ns`.

    Asked of a socket pair on loopback rather than of the platform's name, so a process whose own clock is not the
    kernel's (under `faketime`, say) finds out too.
    """
    if not ANCILLARY_BYTES:
        return False
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as receiver:
        try:
            receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        except OSError:
            return False
        receiver.settimeout(1)
        receiver.connect(server.getsockname())
        sender, _ = server.accept()
        with sender:
            # The kernel switches stamping on a moment after it is first asked for, hence more than one try.
            for _ in range(50):
                before = now_ns()
                sender.send(b"?")
                _, ancillary, _, _ = receiver.recvmsg(1, ANCILLARY_BYTES)
                if stamp := stamp_ns(ancillary):
                    return before - 1_000_000 <= stamp <= now_ns() + 1_000_000
                time.sleep(0.001)
    return False


class Offset:
    """How far the master's clock is ahead of this process's, from repeated exchanges of messages with the master.

    An exchange says that the master read its clock between the moments of asking and of hearing the answer, so the
    offset is known to half the round trip, however unequal the ways there and back. Of each `WINDOW_S` seconds the
    exchange with the shortest round trip counts (this is how NTP's clock filter chooses, RFC 5905, section 10); between
    them the offset is interpolated, which follows a drift. If none of them can tell it from 0, as between processes of
    one machine, it is 0.
    """

    WINDOW_S = 10

    def __init__(self, exchanges: Iterable[tuple[int, int, int]] = ()):
        self.count = 0
        self._best: dict[int, tuple[int, int, int]] = {}
        for exchange in exchanges:
            self._keep(*exchange)

    def add(self, asked_ns: int, answered_ns: int, heard_ns: int) -> None:
        """Take note of an exchange: asked and heard by this process's clock, answered by the master's."""
        middle_ns = (asked_ns + heard_ns) // 2
        self._keep(middle_ns, answered_ns - middle_ns, heard_ns - asked_ns)

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

    def at(self, times_ns: np.ndarray | int) -> np.ndarray | int:
        """The offset in nanoseconds at times of this process's clock, of the same shape."""
        if self.is_zero:
            return np.zeros_like(times_ns) if isinstance(times_ns, np.ndarray) else 0
        at_ns, offset_ns, _ = np.array(self.exchanges).T
        # Differences from one of them, since a float64 holds Unix time to 256 ns only.
        change_ns = np.interp(np.asarray(times_ns - at_ns[0], dtype=float), at_ns - at_ns[0], offset_ns - offset_ns[0])
        found = offset_ns[0] + np.rint(change_ns).astype(np.int64)
        return found if isinstance(times_ns, np.ndarray) else int(found)

    @property
    def uncertainty_ns(self) -> float:
        """The most by which the offset can be wrong at an exchange that counts: half the longest round trip."""
        return max((round_trip_ns for _, _, round_trip_ns in self._best.values()), default=0) / 2
