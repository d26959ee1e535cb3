"""Bounds that a measurement has to hold, and how a command reports them: the calibration's, and the benchmarks'."""

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from loadtest.errors import LoadTestError
from loadtest.results import Json


class Bounds:
    """A list of bounds, each with what was measured."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, float, str, bool]] = []

    def at_most(self, what: str, measured: float, limit: float) -> None:
        """It holds if no more was measured."""
        self._rows.append((what, round(float(measured), 4), f"<= {limit:g}", bool(measured <= limit)))

    def at_least(self, what: str, measured: float, limit: float) -> None:
        """It holds if no less was measured."""
        self._rows.append((what, round(float(measured), 4), f">= {limit:g}", bool(measured >= limit)))

    @property
    def table(self) -> pd.DataFrame:
        """A row for each bound: `what`, `measured`, `bound`, and whether it `holds`."""
        return pd.DataFrame(self._rows, columns=["what", "measured", "bound", "holds"])


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a command that ends with `report`: `--check` and `--json`."""
    parser.add_argument("--check", action="store_true", help="Exit with 1 if a bound does not hold")
    parser.add_argument("--json", type=Path, metavar="PATH", help="Write everything to this file")


def report(bounds: Bounds, path: Path | None, check: bool, **measured: pd.DataFrame | list[Json]) -> None:
    """Print the bounds; if there is a `path`, write them, all that was measured and the machine to this JSON file.

    Raises:
        LoadTestError: with `check`, in one sentence, for the bounds that do not hold.
    """
    if len(bounds.table):
        print(f"\n{bounds.table.to_string(index=False)}")
    if path:
        tables = {name: rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
                  for name, rows in (measured | {"bounds": bounds.table}).items()}  # fmt: skip
        path.write_text(json.dumps({"machine": machine()} | tables, indent=2) + "\n")
    broken = [f"{row.what}: {row.measured:g}, where it has to be {row.bound}" for row in bounds.table.itertuples()
              if not row.holds]  # fmt: skip
    if check and broken:
        raise LoadTestError(f"This does not hold: {'; '.join(broken)}.")


def machine() -> dict[str, object]:
    """When and on what it was measured, as JSON takes it."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
