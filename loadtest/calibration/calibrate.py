"""Compare the load test's readings with the truth: `python -m loadtest.calibration.calibrate`.

A reference server on loopback records when it sent each frame and what it did to it. The load test measures it like any
other chat, and so does a naive client (`loadtest.calibration.naive_client`). The command prints the truth, the reading
and the error side by side. An error is the difference of two quantiles over the same deliveries; its limits are in
`loadtest.calibration.bounds`.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from loadtest import plots, verdict
from loadtest.calibration.bounds import BOUNDS
from loadtest.calibration.cases import CASES, Case
from loadtest.calibration.readings import LOAD_TEST, measure, measure_naively
from loadtest.errors import exit_status
from loadtest.results import Json


class Comparison(NamedTuple):
    """This load test and a naive client, beside the truth."""

    table: pd.DataFrame
    """A row for each reader; truth, reading and error of p50 and p99, in milliseconds."""
    figure: Figure
    """The readings of each, beside the truth."""


def quick(connections: int = 300, broadcast_rate: float = 10.0, broadcasts: int = 8) -> Comparison:
    """Calibrate in some seconds, to see with your own eyes why the naive reading is wrong.

    Raises:
        LoadTestError: in one sentence, if a reader fails.
    """
    # The server is of this process, and warm.
    case = Case("no delay", connections=connections, broadcast_rate=broadcast_rate, broadcasts=broadcasts, warm_up=0)
    with tempfile.TemporaryDirectory() as folder:
        readings = [measure(case, Path(folder)), measure_naively(case, Path(folder))]
    return Comparison(
        table([reading.metrics() for reading in readings]),
        plots.readings({reading.reader: reading.rows for reading in readings}),
    )


def table(rows: list[Json]) -> pd.DataFrame:
    """Truth, reading and error of p50 and p99 in milliseconds, a row for each case and reader."""
    columns = {
        f"{quantile} {kind}": [row[f"{kind}_ms"][quantile] for row in rows]
        for quantile in ("p50", "p99")
        for kind in ("truth", "reading", "error")
    }
    index = pd.MultiIndex.from_tuples([(row["case"], row["reader"]) for row in rows], names=["case", "reader"])
    return pd.DataFrame(columns, index=index)


def main(arguments: list[str] | None = None) -> int:
    """Run the cases; return 0, or 1 if `--check` finds a bound that does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.calibration.calibrate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="Write everything to this file")
    parser.add_argument("--check", action="store_true", help="Exit with 1 if a bound does not hold")
    parser.add_argument("--case", action="append", metavar="NAME", help="Run only this case (may be repeated)")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if not options.case or case.name in options.case]
    if not cases:
        parser.error(f"there is no such case; there are: {', '.join(case.name for case in CASES)}")

    rows = [metrics for case in cases for metrics in _run(case)]
    own = [row for row in rows if row["reader"] == LOAD_TEST]
    bounds = [bound.check(own) for bound in BOUNDS] if not options.case else []
    if options.json:
        machine = {
            "cores": os.cpu_count(),
            "load_average": os.getloadavg(),
            "system": platform.platform(),
            "python": platform.python_version(),
        }
        options.json.write_text(json.dumps({"machine": machine, "runs": rows, "bounds": bounds}, indent=2))
    _print(rows, own, bounds)
    return int(options.check and not all(bound["holds"] for bound in bounds))


def _run(case: Case) -> list[Json]:
    """The metrics of each reader of a case."""
    rows = []
    for run in (measure, *([measure_naively] if case.naive_client else [])):
        size = f"{case.connections:,} connections, {case.broadcast_rate:g} broadcasts a second"
        print(f"{case.name}: {size} …", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(case, Path(folder)).metrics())
    return rows


def _print(rows: list[Json], own: list[Json], bounds: list[Json]) -> None:
    """Print the tables, and the result as the last line."""
    for row in own:
        if row["upper_bounds"] > verdict.MAX_BOUND_SHARE * row["delivered"]:
            print(
                f"{row['case']}: of {row['upper_bounds']:,} of {row['delivered']:,} arrivals only an upper bound is "
                "known, since more had arrived behind them."
            )
    print("\nMilliseconds:\n" + table(rows).to_string(float_format="{:.3f}".format))
    faults = {
        (row["case"], name): fault for row in own for name, fault in row["detected_faults"].items() if fault["truth"]
    }
    if faults:
        print("\nDeliveries:\n" + pd.DataFrame(faults).T.to_string())
    conclusion = "no bounds checked"
    if bounds:
        print("\n" + pd.DataFrame(bounds).to_string(index=False))
        broken = [bound["bound"] for bound in bounds if not bound["holds"]]
        conclusion = f"not within bounds: {'; '.join(broken)}" if broken else "all bounds hold"
    max_error_ms = max(abs(error) for row in own for name, error in row["error_ms"].items() if name != "p90")
    print(
        f"\nOver {len(own)} cases this load test is at most {max_error_ms:.3f} ms from the truth in p50 and p99; "
        f"{conclusion}."
    )


if __name__ == "__main__":
    sys.exit(exit_status(main))
