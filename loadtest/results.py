"""The result of one test: how it comes from the records, and its folder, which docs/loadtest.md describes."""

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from loadtest.intervals import quantile_interval
from loadtest.records import TIMESTAMP_SOURCES

TABLES = ("deliveries", "broadcasts", "connections")
Json = dict[str, Any]
"""A JSON object, such as the summary: docs/loadtest.md lists its keys and their types."""
COUNTS = ("expected", "delivered", "missing", "dropped", "departed", "duplicate", "out_of_order")
"""Columns of both broadcasts and connections, and keys of the summary."""

Pairs = NDArray[np.bool_]
"""Whether something is true of a broadcast at a connection, shape (broadcasts, connections)."""


@dataclass(frozen=True)
class Result:
    """What one test measured. Times named `_ns` are Unix time in nanoseconds, others have their unit in the name."""

    deliveries: pd.DataFrame
    """One row for each copy of a broadcast that a connection received."""
    broadcasts: pd.DataFrame
    """One row for each broadcast that was due."""
    connections: pd.DataFrame
    """One row for each connection that was tried."""
    summary: Json

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by their names."""
        return {name: getattr(self, name) for name in TABLES}

    def measured(self) -> pd.DataFrame:
        """First copies of the expected deliveries, without the warm-up's."""
        return first_copies(self.deliveries[~self.deliveries["warm_up"]])

    def heard_broadcasts(self) -> pd.DataFrame:
        """The broadcasts that at least one connection received, without the warm-up's."""
        return self.broadcasts[~self.broadcasts["warm_up"] & self.broadcasts["last_ms"].notna()]


def load(folder: str | Path) -> Result:
    """Read a folder of results.

    Raises:
        FileNotFoundError: in one sentence, if there are none in it.
    """
    folder = Path(folder)
    files = ["summary.json", *(f"{name}.parquet" for name in TABLES)]
    if not all((folder / name).is_file() for name in files):
        raise FileNotFoundError(f"There are no results in {folder}: a finished load test leaves a summary.json there.")
    tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}
    return Result(**tables, summary=json.loads((folder / "summary.json").read_text()))


def prepare(folder: Path) -> None:
    """Make the folder and remove an earlier test's results from it.

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


def write(folder: Path, tables: dict[str, pd.DataFrame], summary: Json | None) -> None:
    """Write the tables, and the summary last: if it is there, all is there. Without it there are only records.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)  # somebody may have removed it during the test
    for name, table in tables.items():
        with replacing(folder / f"{name}.parquet") as partial:
            table.to_parquet(partial, compression="zstd", index=False)
    if summary is not None:
        with replacing(folder / "summary.json") as partial:
            partial.write_text(json.dumps(summary, indent=2))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write in place of another one: it takes the other's name once it is complete."""
    partial = path.with_name(f"{path.name}.tmp")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_libraries() -> None:
    """Import what only the end of a test needs, which takes a second or two."""
    for name in ("scipy.stats", "pyarrow.parquet"):
        importlib.import_module(name)


def assemble(
    deliveries: pd.DataFrame,
    broadcasts: pd.DataFrame,
    connections: pd.DataFrame,
    requested: int,
    users: int,
    drain_s: float,
    metadata: Json,
    hears_itself: bool = True,
) -> Result:
    """Turn the generators' records (`loadtest.records`) into a result: count what happened to every delivery.

    Args:
        deliveries, broadcasts, connections: tables of `loadtest.records.TYPES`, by one clock; deliveries in the order
            of their arrival at each connection.
        requested: how many broadcasts the test was to send, without the warm-up's.
        users: how many connections it was to open.
        drain_s: a delivery that arrives later than this after its phase's last broadcast was due is not delivered, even
            if it got into the records; nor is it departed if its connection left later than this after it was sent.
        hears_itself: whether a speaker should receive its own broadcasts.
        metadata: becomes a part of the summary; a `problem` in it that is not None makes the test incomplete.
    """
    connections = connections.sort_values("connection", ignore_index=True)
    connections["connect_ms"] = ((connections["opened_ns"] - connections["started_ns"]) / 1e6).astype(float)
    broadcasts = broadcasts.sort_values("broadcast", ignore_index=True)
    broadcasts["send_late_ms"] = ((broadcasts["sent_ns"] - broadcasts["intended_ns"]) / 1e6).astype(float)
    source = pd.Categorical.from_codes(deliveries["timestamp_source"], pd.Index(TIMESTAMP_SOURCES))
    deliveries = deliveries.assign(timestamp_source=source)

    reached_nobody = ~broadcasts["broadcast"].isin(deliveries["broadcast"])
    broadcasts["refused"] = broadcasts["sent_ns"].notna() & broadcasts["error"].notna() & reached_nobody
    expected = expected_pairs(broadcasts, connections)
    if not hears_itself:
        expected &= broadcasts["speaker"].to_numpy()[:, None] != connections["connection"].to_numpy()[None, :]
    deliveries = _measure(deliveries, broadcasts, connections, expected, drain_s)
    _count(deliveries, broadcasts, connections, expected, drain_s)
    by_broadcast = first_copies(deliveries).groupby("broadcast")["latency_ms"]
    for name, statistic in {
        "first_ms": by_broadcast.min(),
        "median_ms": by_broadcast.median(),
        "p99_ms": by_broadcast.quantile(0.99),
        "last_ms": by_broadcast.max(),
    }.items():
        broadcasts[name] = broadcasts["broadcast"].map(statistic)

    opened = connections["opened_ns"].notna()
    measured = broadcasts[~broadcasts["warm_up"]]
    is_user_time = (deliveries["timestamp_source"] == "user").any() or deliveries.empty
    summary = {
        "connections": int(opened.sum()),
        "connections_asked": int(users),
        "connections_failed": int((~opened).sum()),
        "connections_dropped": int(_was_dropped(connections).sum()),
        "connections_left": int(connections["left"].sum()),
        "broadcasts_asked": int(requested),
        **summarize(deliveries[~deliveries["warm_up"]], measured),
        "phases": [
            summarize(deliveries[~deliveries["warm_up"] & deliveries["phase"].eq(phase)], rows)
            for phase, rows in measured.groupby("phase")
        ],
        "warm_up": summarize(deliveries[deliveries["warm_up"]], broadcasts[broadcasts["warm_up"]]),
        "foreign": int(connections["foreign"].sum()),
        "refusals": {},
        "error_frames": {},
        "clock": "user" if is_user_time else "kernel",
        **metadata,
    }
    summary["complete"] = not (metadata.get("problem") or shortfall(summary))
    return Result(deliveries, broadcasts, connections, summary)


def _count(
    deliveries: pd.DataFrame, broadcasts: pd.DataFrame, connections: pd.DataFrame, expected: Pairs, drain_s: float
) -> None:
    """Add the columns `COUNTS` to the broadcasts and to the connections."""
    first = first_copies(deliveries)
    delivered = np.zeros(expected.shape, dtype=bool)
    delivered[
        _rows(first["broadcast"], broadcasts["broadcast"]), _rows(first["connection"], connections["connection"])
    ] = True
    closed_after_ns = _ns(connections["closed_ns"])[None, :] - _ns(broadcasts["sent_ns"])[:, None]
    not_delivered = expected & ~delivered
    dropped = not_delivered & _was_dropped(connections).to_numpy()
    # The delivery was still on its way when the connection left.
    departed = not_delivered & connections["left"].to_numpy() & (closed_after_ns <= drain_s * 1e9)
    pairs = {
        "expected": expected,
        "delivered": delivered,
        "missing": not_delivered & ~dropped & ~departed,
        "dropped": dropped,
        "departed": departed,
    }
    copies = deliveries[deliveries["expected"] & (deliveries["copy"] > 0)]
    for table, key, axis in ((broadcasts, "broadcast", 1), (connections, "connection", 0)):
        for name, each in pairs.items():
            table[name] = each.sum(axis=axis)
        for name, rows in {"duplicate": copies, "out_of_order": first[first["out_of_order"]]}.items():
            table[name] = table[key].map(rows[key].value_counts()).fillna(0).astype(int)


def first_copies(deliveries: pd.DataFrame) -> pd.DataFrame:
    """The deliveries that were expected, without their further copies."""
    return deliveries[deliveries["expected"] & (deliveries["copy"] == 0)]


def _was_dropped(connections: pd.DataFrame) -> pd.Series:
    """Whether the other side closed a connection before the test's end."""
    return connections["closed_ns"].notna() & ~connections["left"]


def summarize(deliveries: pd.DataFrame, broadcasts: pd.DataFrame) -> Json:
    """Counts and quantiles of some broadcasts and their deliveries, as a part of the summary."""
    first = first_copies(deliveries)
    return {
        "broadcasts": int((broadcasts["sent_ns"].notna() & ~broadcasts["refused"]).sum()),
        "broadcasts_refused": int(broadcasts["refused"].sum()),
        **{name: int(broadcasts[name].sum()) for name in COUNTS},
        "unexpected": int((~deliveries["expected"]).sum()),
        "upper_bounds": int((first["timestamp_source"] == "bound").sum()),
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
    known_values, known_groups = values[known].to_numpy(), groups[known].to_numpy()
    ends = {f"p{q * 100:g}": quantile_interval(known_values, known_groups, q) for q in at}
    return {name: [None if end is None else round(end, 3) for end in interval] for name, interval in ends.items()}


def shortfall(summary: Json) -> str | None:
    """Why the test is not complete, in one sentence; None if it is."""
    unsent = summary["broadcasts_asked"] - summary["broadcasts"] - summary["broadcasts_refused"]
    lacking = {
        "of {connections_asked} connections could not be made": summary["connections_failed"],
        "connections dropped": summary["connections_dropped"],
        "of {broadcasts_asked} broadcasts were not sent": unsent,
        "of {broadcasts_asked} broadcasts were answered with an error": summary["broadcasts_refused"],
        "of {expected} deliveries are missing": summary["missing"],
        "deliveries of the warm-up are missing": summary["warm_up"]["missing"],
    }
    parts = [f"{count} {text.format(**summary)}" for text, count in lacking.items() if count]
    why = explain_refusals(summary["refusals"], summary["error_frames"])
    return f"The test is not complete: {', '.join(parts)}. {why}".rstrip() if parts else None


def expected_pairs(broadcasts: pd.DataFrame, connections: pd.DataFrame) -> Pairs:
    """Which connection should receive which broadcast: bool, shape (broadcasts, connections).

    It should receive what was sent after it had opened and before it closed, and was not refused.
    """
    sent = _ns(broadcasts["sent_ns"].mask(broadcasts["refused"]))[:, None]
    opened, closed = _ns(connections["opened_ns"])[None, :], _ns(connections["closed_ns"], np.inf)[None, :]
    pairs: Pairs = (opened <= sent) & (sent < closed)  # a comparison with NaN is False: not sent, or never opened
    return pairs


def _ns(times: pd.Series, missing: float = np.nan) -> NDArray[np.float64]:
    """Times as float64, with `missing` where there is none."""
    return times.to_numpy(dtype=float, na_value=missing)


def quantiles(values: pd.Series, at: tuple[float, ...], with_max: bool = False) -> dict[str, float | None]:
    """`{"p50": …, "max": …}`, to the microsecond for values in milliseconds; None where there are no values."""
    values = values.dropna()
    found = {f"p{q * 100:g}": values.quantile(q) for q in at} | ({"max": values.max()} if with_max else {})
    return {name: None if pd.isna(value) else round(float(value), 3) for name, value in found.items()}


def _measure(
    deliveries: pd.DataFrame, broadcasts: pd.DataFrame, connections: pd.DataFrame, expected: Pairs, drain_s: float
) -> pd.DataFrame:
    """Add to each delivery its latency, its position and whether it was expected, which one that is too late is not."""
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
    # By the arrival's time, since how long a generator goes on receiving depends on what else the test's end has to do.
    last_due_ns = of_broadcast.groupby("phase")["intended_ns"].transform("max")
    rows["expected"] &= rows["arrived_ns"] <= rows["broadcast"].map(last_due_ns) + round(drain_s * 1e9)
    # Within a connection, the log is in the order of arrival.
    rows["copy"] = rows.groupby(["connection", "broadcast"]).cumcount()
    newest = rows.groupby("connection")["broadcast"].cummax()
    rows["out_of_order"] = (rows["broadcast"] < newest) & (rows["copy"] == 0)
    rows["position"] = rows[rows["copy"] == 0].groupby("broadcast")["arrived_ns"].rank(method="first") - 1
    rows["position"] = rows["position"].astype("Int32")
    return rows


def _rows(values: pd.Series, table_keys: pd.Series) -> NDArray[np.intp]:
    """Row numbers of `values` in a table with the unique keys `table_keys`."""
    rows: NDArray[np.intp] = pd.Index(table_keys).get_indexer(pd.Index(values))
    return rows


def explain_refusals(refusals: dict[str, int], error_frames: dict[str, int]) -> str:
    """What the server refused and what the reason may be, in sentences; "" if it refused nothing.

    Args:
        refusals: how many handshakes were refused, tried again or not, by the answer, such as "status 500".
        error_frames: how many frames said that the server could not handle a message, by their text.
    """
    sentences = []
    if refusals:
        sentences.append(
            f"{sum(refusals.values()):,} handshakes were refused because of too much load ({_list(refusals)})."
        )
    if error_frames:
        sentences.append(
            f"{sum(error_frames.values()):,} messages were answered with an error ({_list(error_frames)})."
        )
    reasons = " ".join([*refusals, *error_frames])
    if "status 429" in reasons:
        sentences.append(
            "API Gateway allows 500 new connections a second, its stage perhaps fewer: lower --spawn-rate."
        )
    if "Too Many Requests" in reasons:
        sentences.append("The stage limits the messages a second: lower --broadcast-rate.")
    if "status 5" in reasons or "Internal server error" in reasons:
        sentences.append(
            "At API Gateway the reason is Lambda, which runs as many invocations as it may (a new account's 10 at a "
            "time), or a function that fails, which its log says: connect and broadcast more slowly, or ask AWS for "
            "more concurrency."
        )
    if "timed out" in reasons:
        sentences.append("API Gateway waits 29 s for a function, and this one took longer.")
    return " ".join(sentences)


def _list(counts: dict[str, int]) -> str:
    return "; ".join(f"{count:,} x {reason}" for reason, count in sorted(counts.items()))
