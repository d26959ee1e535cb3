"""Compare the load test's readings with the truth: `python -m loadtest.calibration.calibrate`.

A reference server on loopback records when it sent each frame and what it did to it. The load test measures it like any
other chat, and so does a naive client (`loadtest.calibration.naive_client`). The command prints the truth, the reading
and the error side by side. An error is the difference of two quantiles over the same deliveries; its limits are in
`BOUNDS`.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from loadtest import plots, verdict
from loadtest.calibration.readings import LOAD_TEST, Case, measure, measure_naively
from loadtest.calibration.reference_server import Faults
from loadtest.errors import exit_status
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
]

Rows = list[Json]
"""`Reading.metrics` of each case that the load test ran."""


class Bound(NamedTuple):
    """A limit for a number over all cases."""

    name: str
    measured: Callable[[Rows], float]
    limit: float
    at_most: bool = True

    def check(self, rows: Rows) -> Json:
        """The bound, what was measured and whether it holds, as JSON."""
        measured = self.measured(rows)
        holds = measured <= self.limit if self.at_most else measured >= self.limit
        return {"bound": self.name, "measured": round(measured, 3), "limit": self.limit, "holds": bool(holds)}


def _max_error_ms(quantile: str) -> Callable[[Rows], float]:
    return lambda rows: max(abs(row["error_ms"][quantile]) for row in rows if row["connections"] == 1000)


def _max_without_loss(rows: Rows, metric: Callable[[Json], float], processes: int) -> float:
    """The largest value of a metric over the cases with this many processes and no missing delivery."""
    lossless = (row for row in rows if not row["missing"] and len(row["processes"]) == processes)
    return max(map(metric, lossless), default=0)


BOUNDS = [
    Bound("error of p50, ms", _max_error_ms("p50"), 0.3),
    Bound("error of p99, ms", _max_error_ms("p99"), 0.3),
    Bound(
        "deliveries wrongly taken for dropped, doubled or reordered, or not found",
        lambda rows: sum(fault["wrong"] for row in rows for fault in row["detected_faults"].values()),
        0,
    ),
    Bound(
        "deliveries a second, one process, no loss",
        lambda rows: _max_without_loss(rows, lambda row: row["connections"] * row["broadcasts_per_s"], processes=1),
        20_000,
        at_most=False,
    ),
    Bound(
        "connections, two processes, no loss",
        lambda rows: _max_without_loss(rows, lambda row: row["connections"], processes=2),
        5_000,
        at_most=False,
    ),
    Bound(
        "memory, KB a connection (wss:// adds what OpenSSL needs)",
        lambda rows: max(
            process["memory_kb_per_connection"] for row in rows if not row["tls"] for process in row["processes"]
        ),
        40,
    ),
]


class Calibration(NamedTuple):
    """This load test and a naive client, beside the truth."""

    table: pd.DataFrame
    """A row for each reader; truth, reading and error of p50 and p99, in milliseconds."""
    figure: Figure
    """The readings of each, beside the truth."""


def quick(connections: int = 300, broadcast_rate: float = 10.0, broadcasts: int = 8) -> Calibration:
    """Calibrate in a few seconds, to see with your own eyes why the naive reading is wrong.

    Raises:
        LoadTestError: in one sentence, if a reader fails.
    """
    # The server is of this process, and warm.
    case = Case("no delay", connections=connections, broadcast_rate=broadcast_rate, broadcasts=broadcasts, warm_up=0)
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
                f"{row['case']}: {row['upper_bounds']:,} of {row['delivered']:,} arrival times are upper bounds, since "
                "more had arrived behind them."
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
