"""The results of one test: a folder with three Parquet tables and a summary, which docs/loadtest.md describes."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

TABLES = ("deliveries", "broadcasts", "connections")
Json = dict[str, Any]
"""A JSON object, such as the summary: docs/loadtest.md lists its keys and their types."""


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
        with _replacing(folder / f"{name}.parquet") as partial:
            table.to_parquet(partial, compression="zstd", index=False)
    if summary is not None:
        with _replacing(folder / "summary.json") as partial:
            partial.write_text(json.dumps(summary, indent=2))


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file to write in place of another one: it takes the other's name once it is complete."""
    partial = path.with_name(f"{path.name}.tmp")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
