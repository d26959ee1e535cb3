"""Compare the load test's readings with the truth: `python -m loadtest.calibration.calibrate`.

A reference server on loopback records when it sent each frame and what it did to it. The load test measures it like any
other chat, and so does a naive client (`loadtest.calibration.naive_client`). The command prints the truth, the reading
and the error side by side. An error is the difference of two quantiles over the same deliveries; its limits are in
`bounds_of`.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from loadtest import plots, verdict
from loadtest.calibration.bounds import Bounds, add_options, report
from loadtest.calibration.readings import LOAD_TEST, Case, measure, measure_naively
from loadtest.calibration.reference_server import Faults
from loadtest.calibration.sides import SIDES
from loadtest.errors import exit_status
from loadtest.protocols import KEY_VARIABLE
from loadtest.results import Json


def delay(milliseconds: float) -> Faults:
    """Delay every delivery by this much."""
    return Faults(delay_ms=lambda random, n: np.full(n, milliseconds))


def log_normal(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Delays in milliseconds, shape (n,), with a median of 10 and a long tail: p99 is 64."""
    return random.lognormal(np.log(10), 0.8, n)


CASES = [
    Case("no delay", naive_client=True),
    Case("no delay, 20 a second", broadcast_rate=20, broadcasts=100, naive_client=True),
    Case("5 ms", delay(5), naive_client=True),
    Case("50 ms", delay(50)),
    Case("log-normal", Faults(delay_ms=log_normal)),
    Case("dropped, doubled, reordered", Faults(drop=0.01, double=0.01, reorder=0.01)),
    Case("stalled reader", delay(20), stall=True),
    Case("wss, 5 ms", delay(5), tls=True),
    Case("5,000 connections in two processes", connections=5000, processes=2, broadcast_rate=1, broadcasts=8),
    *(Case(name, protocol=name, broadcast_rate=12, broadcasts=60) for name in SIDES if name != "plain"),
]


def bounds_of(rows: list[Json]) -> Bounds:
    """What has to hold of the load test's `Reading.metrics` in all cases."""
    bounds, lossless = Bounds(), [row for row in rows if not row["missing"]]
    plain = [row for row in rows if row["protocol"] == "plain"]
    for quantile in ("p50", "p99"):
        for what, limit_ms, of_these in (("plain frames", 0.05, plain), ("any protocol", 0.3, rows)):
            errors_ms = [abs(row["error_ms"][quantile]) for row in of_these if row["connections"] == 1000]
            bounds.at_most(f"error of {quantile}, {what}, ms", max(errors_ms), limit_ms)
    wrong = sum(fault["wrong"] for row in rows for fault in row["detected_faults"].values())
    bounds.at_most("deliveries wrongly taken for dropped, doubled or reordered, or not found", wrong, 0)
    for name in SIDES:
        of_it = [row for row in lossless if row["protocol"] == name and len(row["processes"]) == 1]
        per_s = max((row["connections"] * row["broadcasts_per_s"] for row in of_it), default=0)
        wanted = 20_000 if name == "plain" else 10_000
        bounds.at_least(f"deliveries a second, {name}, one process, no loss", per_s, wanted)
    connections = [row["connections"] for row in lossless if len(row["processes"]) == 2]
    bounds.at_least("connections, two processes, no loss", max(connections, default=0), 5_000)
    memory_kb = [each["memory_kb_per_connection"] for row in rows if not row["tls"] for each in row["processes"]]
    bounds.at_most("memory, KB a connection (wss:// adds what OpenSSL needs)", max(memory_kb), 40)
    return bounds


class Calibration(NamedTuple):
    """This load test and a naive client, beside the truth."""

    table: pd.DataFrame
    """A row for each reader; truth, reading and error of p50 and p99, in milliseconds."""
    figure: Figure
    """The readings of each, beside the truth."""


def quick(connections: int = 300, broadcasts: int = 8) -> Calibration:
    """Calibrate in a few seconds, to see with your own eyes why the naive reading is wrong.

    Raises:
        LoadTestError: in one sentence, if a reader fails.
    """
    # The server is of this process, and warm.
    case = Case("no delay", connections=connections, broadcast_rate=10, broadcasts=broadcasts, warm_up=0)
    with tempfile.TemporaryDirectory() as folder:
        readings = [measure(case, Path(folder)), measure_naively(case, Path(folder))]
    return Calibration(
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
    """Run the cases.

    Raises:
        LoadTestError: with `--check`, in one sentence, if a bound does not hold; or if a reader fails.
    """
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.calibration.calibrate", description=__doc__.split("\n")[0]
    )
    add_options(parser)
    parser.add_argument("--case", action="append", metavar="NAME", help="Run only this case (may be repeated)")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if not options.case or case.name in options.case]
    if not cases:
        parser.error(f"there is no such case; there are: {', '.join(case.name for case in CASES)}")

    os.environ.setdefault(KEY_VARIABLE, "any")  # the reference server lets everybody in
    rows = [metrics for case in cases for metrics in _run(case)]
    own = [row for row in rows if row["reader"] == LOAD_TEST]
    _print(rows, own)
    report(Bounds() if options.case else bounds_of(own), options.json, options.check, runs=rows)
    return 0


def _run(case: Case) -> list[Json]:
    """The metrics of each reader of a case."""
    rows = []
    for run in (measure, *([measure_naively] if case.naive_client else [])):
        size = f"{case.connections:,} connections, {case.broadcast_rate:g} broadcasts a second"
        print(f"{case.name}: {size} …", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(case, Path(folder)).metrics())
    return rows


def _print(rows: list[Json], own: list[Json]) -> None:
    """Print the tables, and the largest error as the last line."""
    for row in own:
        if row["upper_bounds"] > verdict.MAX_BOUND_SHARE * row["delivered"]:
            print(
                f"{row['case']}: {row['upper_bounds']:,} of {row['delivered']:,} arrival times are upper bounds, since "
                "more had arrived behind them."
            )
    print("\nMilliseconds:\n" + table(rows).to_string(float_format="{:.3f}".format))
    faults = {
        (row["case"], name): fault for row in own for name, fault in row["detected_faults"].items() if fault["truth"]
    }
    if faults:
        print("\nDeliveries:\n" + pd.DataFrame(faults).T.to_string())
    max_error_ms = max(abs(error) for row in own for name, error in row["error_ms"].items() if name != "p90")
    print(f"\nOver {len(own)} cases this load test is at most {max_error_ms:.3f} ms from the truth in p50 and p99.")


if __name__ == "__main__":
    sys.exit(exit_status(main))
