"""What a load generator writes down, compactly, and how it travels to the master."""

import io
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

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
    """One connection that was to be, and what came of it. Times are Unix time in ns by the generator's clock."""

    connection: int
    started_ns: int
    local_port: int | None = None
    opened_ns: int | None = None
    closed_ns: int | None = None  # only if it closed before the test's end
    left: bool = False  # it was this side that closed it, as --churn asks
    error: str | None = None  # why it could not connect, or why it closed
    refused: int = 0  # handshakes before the one that counts, refused because of too much load
    foreign: int = 0  # frames that are no broadcast of this run
    # For the live figures only: broadcasts that had left when it opened, and a bit for each one it received.
    due_before: int = 0
    seen: int = 0


TYPES = {
    "deliveries": {
        "connection": "int32", "broadcast": "int32", "arrived_ns": "int64", "handled_ns": "int64", "stamp": "int8",
    },
    "broadcasts": {
        "broadcast": "int32", "phase": "int32", "warm_up": "bool", "speaker": "int32", "intended_ns": "int64",
        "sent_ns": "Int64", "error": "string",
    },
    "connections": {
        "connection": "int32", "started_ns": "int64", "local_port": "Int32", "opened_ns": "Int64", "closed_ns": "Int64",
        "left": "bool", "error": "string", "refused": "int32", "foreign": "int32",
    },
}  # fmt: skip
"""Columns and their types of each table of records. Those with a capital can be missing."""


GENERATORS_TIMES = ("arrived_ns", "handled_ns", "sent_ns", "started_ns", "opened_ns", "closed_ns")
"""Columns of times that a generator reads from its clock; `intended_ns` is by the master's, as it was planned."""


def table(name: str, rows: Sequence[dict | ConnectionRecord]) -> pd.DataFrame:
    """Rows as the table `name` of `TYPES`; what a row does not have is missing."""
    get = (lambda row, column: row.get(column)) if rows and isinstance(rows[0], dict) else getattr
    # One column at a time, since pandas would make floats of whole numbers where some are missing, and round them.
    columns = {column: pd.array([get(row, column) for row in rows], dtype=kind) for column, kind in TYPES[name].items()}
    return pd.DataFrame(columns)


def pack(rows: pd.DataFrame) -> bytes:
    """Rows as one compressed block of bytes, for a Locust message."""
    buffer = io.BytesIO()
    rows.to_parquet(buffer, compression="zstd", index=False)
    return buffer.getvalue()


def unpack(block: bytes | pd.DataFrame) -> pd.DataFrame:
    """The rows of a message; within one process they travel as they are."""
    return block if isinstance(block, pd.DataFrame) else pd.read_parquet(io.BytesIO(block))


def on_masters_clock(rows: pd.DataFrame, offset: Offset) -> pd.DataFrame:
    """The rows with their times, which are by a generator's clock, as times by the master's."""
    shifted = rows.copy()
    for column in rows.columns.intersection(GENERATORS_TIMES):
        times_ns = rows[column].array.copy()
        known = ~pd.isna(times_ns)
        times_ns[known] += offset.at(np.asarray(times_ns[known], dtype=np.int64))
        shifted[column] = times_ns
    return shifted
