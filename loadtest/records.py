"""What a load generator writes down, compactly, and how it travels to the master."""

import io
from array import array
from dataclasses import dataclass

import pandas as pd

STAMPS = ("user", "kernel", "bound")
"""Where an arrival time comes from: user space, because the kernel gave none; the kernel; or the kernel's stamp of
something that came behind it, which is an upper bound."""
USER, KERNEL, BOUND = range(3)


class DeliveryLog:
    """Deliveries in the order in which they were handled: 25 bytes each."""

    def __init__(self):
        self._clear()

    def _clear(self) -> None:
        self.connection, self.broadcast = array("i"), array("i")
        self.arrived_ns, self.handled_ns, self.stamp = array("q"), array("q"), array("b")

    def __len__(self) -> int:
        return len(self.stamp)

    def append(self, connection: int, broadcast: int, arrived_ns: int, handled_ns: int, stamp: int) -> None:
        self.connection.append(connection)
        self.broadcast.append(broadcast)
        self.arrived_ns.append(arrived_ns)
        self.handled_ns.append(handled_ns)
        self.stamp.append(stamp)

    def take(self) -> pd.DataFrame:
        """All rows since the last call, with the columns of `append`."""
        rows = pd.DataFrame(vars(self))
        self._clear()
        return rows


@dataclass(slots=True)
class ConnectionRecord:
    """One attempt to connect, and what came of it. Times are Unix time in nanoseconds by the generator's clock."""

    connection: int
    started_ns: int
    local_port: int | None = None
    opened_ns: int | None = None
    closed_ns: int | None = None  # only if it closed before the test's end
    error: str | None = None  # why it could not connect, or why it closed
    foreign: int = 0  # frames that are no broadcast of this run
    # For the live figures only: broadcasts that had left when it opened, and a bit for each one it received.
    due_before: int = 0
    seen: int = 0

    @property
    def is_open(self) -> bool:
        return self.opened_ns is not None and self.closed_ns is None


def pack(rows: pd.DataFrame) -> bytes:
    """Rows as one compressed block of bytes, for a Locust message."""
    buffer = io.BytesIO()
    rows.to_parquet(buffer, compression="zstd", index=False)
    return buffer.getvalue()


def unpack(block: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(block))
