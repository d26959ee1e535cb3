"""What must hold of what a benchmark has measured, and how all of it is kept."""

import json
import os
import platform
from pathlib import Path

import pandas as pd


class Bounds:
    """A list of bounds, each with what was measured."""

    def __init__(self):
        self._rows = []

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


def save(path: Path, bounds: Bounds, **measured: pd.DataFrame) -> None:
    """Write what was measured, the bounds and the machine to a JSON file."""
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    tables = {name: table.to_dict("records") for name, table in (measured | {"bounds": bounds.table}).items()}
    path.write_text(json.dumps({"machine": machine} | tables, indent=2) + "\n")
