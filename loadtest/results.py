"""The results of one test: a folder with three Parquet tables and a summary. docs/loadtest.md is their reference."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from loadtest import throttling
from loadtest.intervals import quantile_interval
from loadtest.records import STAMPS

TABLES = ("deliveries", "broadcasts", "connections")
COUNTS = ("expected", "delivered", "missing", "dropped", "departed", "duplicate", "out_of_order")
"""Columns of both broadcasts and connections, and keys of the summary."""


@dataclass(frozen=True)
class Result:
    """What one test measured. Times named `_ns` are Unix time in nanoseconds, others carry their unit in the name."""

    deliveries: pd.DataFrame
    """One row for each copy of a broadcast that a connection received."""
    broadcasts: pd.DataFrame
    """One row for each broadcast that was planned and begun."""
    connections: pd.DataFrame
    """One row for each attempt to connect."""
    summary: dict

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by their names."""
        return {name: getattr(self, name) for name in TABLES}


def load(folder: str | Path) -> Result:
    """Read a folder of results.

    Raises:
        FileNotFoundError: in one sentence, if there are none in it.
    """
    folder = Path(folder)
    if not (folder / "summary.json").is_file():
        raise FileNotFoundError(f"There are no results in {folder}: a finished load test leaves a summary.json there.")
    tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}
    return Result(**tables, summary=json.loads((folder / "summary.json").read_text()))


def prepare(folder: Path) -> None:
    """Make the folder and take an earlier test's results out of it.

    Raises:
        ValueError: in one sentence, if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*(f"{table}.parquet" for table in TABLES), "summary.json", "progress.json"):
            (folder / name).unlink(missing_ok=True)
        (folder / "progress.json").write_text("{}")
    except OSError as error:
        raise ValueError(f"The folder {folder} for the results cannot be written: {error.strerror}.") from error


def write(folder: Path, tables: dict[str, pd.DataFrame], summary: dict | None) -> None:
    """Write the tables, and the summary last: where it is, all is. Without one there are records, and no result.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)  # somebody may have removed it during the test
    for name, table in tables.items():
        with _replacing(folder / f"{name}.parquet") as partial:
            table.to_parquet(partial, compression="zstd", index=False)
    if summary is not None:
        with _replacing(folder / "summary.json") as partial:
            partial.write_text(json.dumps(summary, indent=2))


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file to write in place of another one: it takes that one's name once it is whole."""
    partial = path.with_name(f"{path.name}.tmp")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def assemble(
    deliveries: pd.DataFrame,
    broadcasts: pd.DataFrame,
    connections: pd.DataFrame,
    asked: int,
    users: int,
    drain_s: float,
    facts: dict,
) -> Result:
    """Turn what the generators wrote down (`loadtest.records`) into accounts.

    Args:
        deliveries, broadcasts, connections: tables of `loadtest.records.TYPES`, by one clock; deliveries in the order
            of their arrival at each connection.
        asked: how many broadcasts there were to be, without the warm-up's.
        users: how many connections there were to be.
        drain_s: seconds after which a delivery that has not come is missing, even to a connection that left later.
        facts: goes into the summary as it is; `problem`, if not None, makes the test incomplete.
    """
    connections = connections.sort_values("connection", ignore_index=True)
    connections["connect_ms"] = ((connections["opened_ns"] - connections["started_ns"]) / 1e6).astype(float)
    broadcasts = broadcasts.sort_values("broadcast", ignore_index=True)
    broadcasts["send_late_ms"] = ((broadcasts["sent_ns"] - broadcasts["intended_ns"]) / 1e6).astype(float)
    deliveries = deliveries.assign(stamp=pd.Categorical.from_codes(deliveries["stamp"], STAMPS))

    reached_nobody = ~broadcasts["broadcast"].isin(deliveries["broadcast"])
    broadcasts["refused"] = broadcasts["sent_ns"].notna() & broadcasts["error"].notna() & reached_nobody
    expected = expected_pairs(broadcasts, connections)
    deliveries = _measure(deliveries, broadcasts, connections, expected)
    first = deliveries[deliveries["expected"] & (deliveries["copy"] == 0)]
    got = np.zeros(expected.shape, dtype=bool)
    got[_rows(first["broadcast"], broadcasts["broadcast"]), _rows(first["connection"], connections["connection"])] = (
        True
    )
    left = connections["left"].to_numpy()
    gone = connections["closed_ns"].notna().to_numpy() & ~left
    in_time = _ns(connections["closed_ns"])[None, :] - _ns(broadcasts["sent_ns"])[:, None] <= drain_s * 1e9
    dropped = expected & ~got & gone
    departed = expected & ~got & left & in_time  # it was still on its way
    missing = expected & ~got & ~dropped & ~departed
    copies = deliveries[deliveries["expected"] & (deliveries["copy"] > 0)]

    pairs = {"expected": expected, "delivered": got, "missing": missing, "dropped": dropped, "departed": departed}
    for name, each in pairs.items():
        broadcasts[name], connections[name] = each.sum(axis=1), each.sum(axis=0)
    for table, key in ((broadcasts, "broadcast"), (connections, "connection")):
        table["duplicate"] = _count(copies, table, key)
        table["out_of_order"] = _count(first[first["out_of_order"]], table, key)
    by_broadcast = first.groupby("broadcast")["latency_ms"]
    for name, statistic in {
        "first_ms": by_broadcast.min(),
        "median_ms": by_broadcast.median(),
        "p99_ms": by_broadcast.quantile(0.99),
        "last_ms": by_broadcast.max(),
    }.items():
        broadcasts[name] = broadcasts["broadcast"].map(statistic)

    opened = connections["opened_ns"].notna()
    measured = broadcasts[~broadcasts["warm_up"]]
    summary = {
        "connections": int(opened.sum()),
        "connections_asked": int(users),
        "connections_failed": int((~opened).sum()),
        "connections_dropped": int(gone.sum()),
        "connections_left": int(left.sum()),
        "broadcasts_asked": int(asked),
        **account(deliveries[~deliveries["warm_up"]], measured),
        "phases": [
            account(deliveries[~deliveries["warm_up"] & deliveries["phase"].eq(phase)], rows)
            for phase, rows in measured.groupby("phase")
        ],
        "warm_up": account(deliveries[deliveries["warm_up"]], broadcasts[broadcasts["warm_up"]]),
        "foreign": int(connections["foreign"].sum()),
        "refusals": {},
        "error_frames": {},
        "clock": "user" if (deliveries["stamp"] == "user").any() or deliveries.empty else "kernel",
        **facts,
    }
    summary["complete"] = not (facts.get("problem") or shortfall(summary))
    return Result(deliveries, broadcasts, connections, summary)


def account(deliveries: pd.DataFrame, broadcasts: pd.DataFrame) -> dict:
    """Counts and quantiles of some broadcasts and their deliveries, as they stand in the summary."""
    first = deliveries[deliveries["expected"] & (deliveries["copy"] == 0)]
    return {
        "broadcasts": int((broadcasts["sent_ns"].notna() & ~broadcasts["refused"]).sum()),
        "broadcasts_refused": int(broadcasts["refused"].sum()),
        **{name: int(broadcasts[name].sum()) for name in COUNTS},
        "unexpected": int((~deliveries["expected"]).sum()),
        "upper_bounds": int((first["stamp"] == "bound").sum()),
        "latency_ms": quantiles(first["latency_ms"], (0.5, 0.9, 0.99), with_max=True),
        "last_delivery_ms": quantiles(broadcasts["last_ms"], (0.5, 0.99)),
        "harness_lag_ms": quantiles(first["harness_lag_ms"], (0.5, 0.99), with_max=True),
        "send_late_ms": quantiles(broadcasts["send_late_ms"], (0.5, 0.99), with_max=True),
        "interval_95": {
            "latency_ms": intervals_95(first["latency_ms"], first["broadcast"], (0.5, 0.9, 0.99)),
            "last_delivery_ms": intervals_95(broadcasts["last_ms"], broadcasts["broadcast"], (0.5, 0.99)),
        },
    }


def intervals_95(values: pd.Series, groups: pd.Series, at: tuple[float, ...]) -> dict[str, list[float | None]]:
    """`{"p50": [low, high], …}`: 95 % confidence intervals, see `loadtest.intervals`."""
    known = values.notna()
    values, groups = values[known].to_numpy(), groups[known].to_numpy()
    return {
        f"p{q * 100:g}": [None if end is None else round(end, 3) for end in quantile_interval(values, groups, q)]
        for q in at
    }


def shortfall(summary: dict) -> str | None:
    """What is lacking from a complete test, in one sentence; None if nothing is."""
    unsent = summary["broadcasts_asked"] - summary["broadcasts"] - summary["broadcasts_refused"]
    lacking = {
        "of {connections_asked} connections could not be made": summary["connections_failed"],
        "connections dropped": summary["connections_dropped"],
        "of {broadcasts_asked} broadcasts did not leave": unsent,
        "of {broadcasts_asked} broadcasts were answered with an error": summary["broadcasts_refused"],
        "of {expected} deliveries are missing": summary["missing"],
        "deliveries of the warm-up are missing": summary["warm_up"]["missing"],
    }
    parts = [f"{count} {text.format(**summary)}" for text, count in lacking.items() if count]
    why = throttling.explain(summary["refusals"], summary["error_frames"])
    return f"The test is not complete: {', '.join(parts)}. {why}".rstrip() if parts else None


def expected_pairs(broadcasts: pd.DataFrame, connections: pd.DataFrame) -> np.ndarray:
    """Which broadcast was to reach which connection: bool, shape (broadcasts, connections).

    A connection is to receive what was sent after it had opened and before it closed, and was not refused.
    """
    sent = _ns(broadcasts["sent_ns"].mask(broadcasts["refused"]))[:, None]
    opened, closed = _ns(connections["opened_ns"])[None, :], _ns(connections["closed_ns"], np.inf)[None, :]
    return (opened <= sent) & (sent < closed)  # a comparison with NaN is False: not sent, or never opened


def _ns(times: pd.Series, missing: float = np.nan) -> np.ndarray:
    """Times as float64, with `missing` where there is none."""
    return times.to_numpy(dtype=float, na_value=missing)


def quantiles(values: pd.Series, at: tuple[float, ...], with_max: bool = False) -> dict[str, float | None]:
    """`{"p50": …, "max": …}`, to the microsecond for values in milliseconds; None where there are no values."""
    values = values.dropna()
    found = {f"p{q * 100:g}": values.quantile(q) for q in at} | ({"max": values.max()} if with_max else {})
    return {name: None if pd.isna(value) else round(float(value), 3) for name, value in found.items()}


def _measure(
    deliveries: pd.DataFrame, broadcasts: pd.DataFrame, connections: pd.DataFrame, expected: np.ndarray
) -> pd.DataFrame:
    """Add to each delivery its latency, its place and whether it was due there."""
    rows = deliveries.copy()
    known = rows["broadcast"].isin(broadcasts["broadcast"]) & rows["connection"].isin(connections["connection"])
    rows = rows[known].reset_index(drop=True)
    of_broadcast = broadcasts.set_index("broadcast")
    rows["warm_up"] = rows["broadcast"].map(of_broadcast["warm_up"]).astype(bool)
    rows["phase"] = rows["broadcast"].map(of_broadcast["phase"]).astype("int32")
    rows["latency_ms"] = (rows["arrived_ns"] - rows["broadcast"].map(of_broadcast["intended_ns"])) / 1e6
    rows["harness_lag_ms"] = (rows["handled_ns"] - rows["arrived_ns"]) / 1e6
    rows["expected"] = expected[
        _rows(rows["broadcast"], broadcasts["broadcast"]), _rows(rows["connection"], connections["connection"])
    ]
    # The log is in the order of arrival within a connection.
    rows["copy"] = rows.groupby(["connection", "broadcast"]).cumcount()
    newest = rows.groupby("connection")["broadcast"].cummax()
    rows["out_of_order"] = (rows["broadcast"] < newest) & (rows["copy"] == 0)
    rows["position"] = rows[rows["copy"] == 0].groupby("broadcast")["arrived_ns"].rank(method="first") - 1
    rows["position"] = rows["position"].astype("Int32")
    return rows


def _rows(values: pd.Series, table_keys: pd.Series) -> np.ndarray:
    """Row numbers of `values` in a table with the unique keys `table_keys`."""
    return pd.Index(table_keys).get_indexer(values)


def _count(rows: pd.DataFrame, table: pd.DataFrame, key: str) -> pd.Series:
    return table[key].map(rows[key].value_counts()).fillna(0).astype(int)
