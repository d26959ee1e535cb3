"""The clocks of a measurement: the host's real-time clock, and the kernel's stamps on what arrives.

All times are integers in nanoseconds of Unix time (CLOCK_REALTIME): it is the clock of the kernel's stamps.
"""

import os
import socket
import struct
import time
from functools import cache

# <asm-generic/socket.h>; Python's socket module does not name it. The stamp comes as a `struct timespec`.
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0

# Only tests set this: it puts the clock of this process wrong by so many seconds, stamps included, which is what a
# second machine with a wrong clock looks like. No name space of Linux can do that to CLOCK_REALTIME.
_WRONG_BY_NS = round(float(os.environ.get("LOADTEST_TEST_CLOCK_WRONG_BY_S", "0")) * 1e9)


def now_ns() -> int:
    """This process's idea of Unix time, in nanoseconds."""
    return time.time_ns() + _WRONG_BY_NS


def stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The kernel's arrival stamp in what `recvmsg` returned, in nanoseconds; 0 if there is none."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return seconds * 1_000_000_000 + nanoseconds + _WRONG_BY_NS
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
