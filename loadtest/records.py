"""What a load generator records, compactly, and how it travels to the master."""

import io
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loadtest.clock import Offset

TIMESTAMP_SOURCES = ("user", "kernel", "bound")
"""Where an arrival time comes from: user space, because the kernel gave no timestamp; the kernel; or the kernel's
timestamp of something that arrived behind it, which is an upper bound."""
USER, KERNEL, BOUND = range(3)


class DeliveryLog:
    """Deliveries in the order in which they were handled: 25 bytes each."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._columns = {
            "connection": array("i"),
            "broadcast": array("i"),
            "arrived_ns": array("q"),
            "handled_ns": array("q"),
            "timestamp_source": array("b"),
        }

    def __len__(self) -> int:
        return len(self._columns["timestamp_source"])

    def append(self, connection: int, broadcast: int, arrived_ns: int, handled_ns: int, timestamp_source: int) -> None:
        """Add a delivery; `timestamp_source` is `USER`, `KERNEL` or `BOUND`."""
        columns = self._columns
        columns["connection"].append(connection)
        columns["broadcast"].append(broadcast)
        columns["arrived_ns"].append(arrived_ns)
        columns["handled_ns"].append(handled_ns)
        columns["timestamp_source"].append(timestamp_source)

    def extend(self, rows: pd.DataFrame) -> None:
        """Add all deliveries of a table that `take` returned, here or in another process."""
        added = {name: rows[name].to_numpy(dtype=values.typecode) for name, values in self._columns.items()}
        for name, values in added.items():
            self._columns[name].frombytes(values.tobytes())

    def table(self) -> pd.DataFrame:
        """All deliveries, as the table `deliveries` of `TYPES`."""
        # By way of numpy, which copies the memory; pandas would make an object of each number first.
        return pd.DataFrame({name: np.array(values) for name, values in self._columns.items()})

    def take(self) -> pd.DataFrame:
        """All deliveries since the last call, as `table` has them."""
        rows = self.table()
        self._clear()
        return rows


@dataclass(slots=True)
class ConnectionRecord:
    """One connection that was asked for, and its life. Times are Unix time in ns by the generator's clock."""

    connection: int
    started_ns: int
    local_port: int | None = None
    opened_ns: int | None = None
    closed_ns: int | None = None
    """None if it was still open at the test's end."""
    left: bool = False
    """Whether this side closed it before the test's end, as --churn or --storm asks."""
    error: str | None = None
    """Why it could not connect, or why it closed."""
    refused: int = 0
    """Handshakes before the last one, refused because the server had too much to do."""
    foreign: int = 0
    """Frames that are not a broadcast of this test."""
    due_before: int = 0
    """Broadcasts that were due before it opened. For `Connections.arrived` only."""
    seen: int = 0
    """A bit for each broadcast that it has received. For `Connections.arrived` only."""


@dataclass(slots=True)
class BroadcastRecord:
    """One broadcast that this generator was to send. Times are Unix time in ns."""

    broadcast: int
    phase: int
    warm_up: bool
    speaker: int
    """The number of the connection that sent it, or `connections.NO_CONNECTION`."""
    intended_ns: int
    """When it was due, by the master's clock."""
    sent_ns: int | None = None
    """When it was sent, by the generator's clock; None if that failed."""
    error: str | None = None
    """Why it could not be sent, or the error with which the server answered it."""


TYPES = {
    "deliveries": {
        "connection": "int32", "broadcast": "int32", "arrived_ns": "int64", "handled_ns": "int64",
        "timestamp_source": "int8",
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
"""Columns and their types of each table of records. Values of a type with a capital letter can be missing."""


GENERATOR_TIMES = ["arrived_ns", "handled_ns", "sent_ns", "started_ns", "opened_ns", "closed_ns"]
"""Columns of times that a generator reads from its clock; `intended_ns` is by the master's, which planned it."""


def table(name: str, records: Sequence[ConnectionRecord] | Sequence[BroadcastRecord]) -> pd.DataFrame:
    """Records as the table `name` of `TYPES`; None is a missing value."""
    # One column at a time, since pandas would make floats of whole numbers where some are missing, and round them.
    columns = {
        column: pd.Series([getattr(record, column) for record in records], dtype=kind)
        for column, kind in TYPES[name].items()
    }
    return pd.DataFrame(columns)


def pack(rows: pd.DataFrame) -> bytes:
    """Rows as one compressed block of bytes, for a Locust message."""
    buffer = io.BytesIO()
    rows.to_parquet(buffer, compression="zstd", index=False)
    return buffer.getvalue()


def unpack(block: bytes) -> pd.DataFrame:
    """The rows that `pack` has packed."""
    return pd.read_parquet(io.BytesIO(block))


def on_masters_clock(rows: pd.DataFrame, offset: Offset) -> pd.DataFrame:
    """The rows with their times, which are by a generator's clock, as times by the master's."""
    shifted = rows.copy()
    for column in rows.columns.intersection(GENERATOR_TIMES):
        times_ns = rows[column].array.copy()
        known = ~pd.isna(times_ns)
        times_ns[known] += offset.at(np.asarray(times_ns[known], dtype=np.int64))
        shifted[column] = times_ns
    return shifted
