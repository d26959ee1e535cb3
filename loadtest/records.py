"""What a load generator writes down, compactly, and how it travels to the master."""

import io
from array import array
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import pandas as pd

from loadtest.clock import Offset

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
        # By way of numpy, which copies the memory; pandas would make each number an object first.
        rows = pd.DataFrame({name: np.array(values) for name, values in vars(self).items()})
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


CONNECTION_COLUMNS = ("connection", "started_ns", "local_port", "opened_ns", "closed_ns", "error", "foreign")


def of_connections(connections: list[ConnectionRecord]) -> pd.DataFrame:
    """One row for each connection, in the columns `CONNECTION_COLUMNS`."""
    rows = map(attrgetter(*CONNECTION_COLUMNS), connections)
    return pd.DataFrame(rows, columns=CONNECTION_COLUMNS, dtype=object).convert_dtypes()


def pack(rows: pd.DataFrame) -> bytes:
    """Rows as one compressed block of bytes, for a Locust message."""
    buffer = io.BytesIO()
    rows.to_parquet(buffer, compression="zstd", index=False)
    return buffer.getvalue()


def unpack(block: bytes | pd.DataFrame) -> pd.DataFrame:
    """The rows of a message; within one process they travel as they are."""
    return block if isinstance(block, pd.DataFrame) else pd.read_parquet(io.BytesIO(block))


def shift(rows: pd.DataFrame, offset: Offset, columns: tuple[str, ...]) -> pd.DataFrame:
    """The rows with `columns`, times by a generator's clock that may be missing, as times by the master's clock."""
    shifted = rows.copy()
    for column in set(columns) & set(rows.columns):
        times_ns = pd.array(rows[column], dtype="Int64")
        known = ~times_ns.isna()
        times_ns[known] += offset.at(times_ns[known].to_numpy(dtype=np.int64))
        shifted[column] = times_ns
    return shifted
