"""Compare what the load test says with what is known: `python -m loadtest.calibration.calibrate`.

A reference server on loopback writes down when each frame left and what it did to it. The load test measures it as it
would any chat, and so does a plain reader (`loadtest.calibration.naive_client`). Printed side by side: the truth, the
reading and the error. An error is the difference of two quantiles over the same deliveries; the limits are in `BOUNDS`.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from loadtest import live, plots, results, verdict
from loadtest.calibration import reference_server
from loadtest.calibration.reference_server import Faults, Reference
from loadtest.errors import LoadTestError, exit_status

ROOT = Path(__file__).resolve().parents[2]
RUN_S = 180
"""No run takes longer; it is ended then."""
STALL_S = 0.15  # less than the time between two broadcasts, whose arrivals could not be told apart afterwards


@dataclass(frozen=True)
class Case:
    """One calibration: what the server does, and how the load test is run."""

    name: str
    faults: Faults = field(default_factory=Faults)
    connections: int = 1000
    broadcast_rate: float = 5.0
    broadcasts: int = 30
    tls: bool = False
    processes: int = 1
    plain: bool = False
    """Whether the plain reader is run too."""
    stall: bool = False
    """Whether the load test's process is stopped for `STALL_S` again and again while deliveries arrive."""


def delay(milliseconds: float) -> Faults:
    """Every delivery is delayed by so much."""
    return Faults(delay_ms=lambda random, n: np.full(n, milliseconds))


def log_normal(random: np.random.Generator, n: int) -> np.ndarray:
    """Delays with a median of 10 ms and a long tail: p99 is 64 ms."""
    return random.lognormal(np.log(10), 0.8, n)


CASES = [
    Case("no delay", plain=True),
    Case("no delay, 20 a second", broadcast_rate=20, broadcasts=100, plain=True),
    Case("5 ms", delay(5), plain=True),
    Case("50 ms", delay(50)),
    Case("log-normal", Faults(delay_ms=log_normal)),
    Case("dropped, doubled, reordered", Faults(drop=0.01, double=0.01, reorder=0.01)),
    Case("stalled reader", delay(20), stall=True),
    Case("wss, 5 ms", delay(5), tls=True),
    Case("5,000 connections in two processes", connections=5000, processes=2, broadcast_rate=1, broadcasts=8),
]


@dataclass(frozen=True)
class Reading:
    """What a reader made of a case, beside what is known."""

    case: Case
    reader: str
    rows: pd.DataFrame
    """One row for each delivery, with `truth_ms` and `latency_ms`: from due to left the server, and as it was read."""
    result: results.Result | None = None
    accounts: dict = field(default_factory=dict)

    def figures(self) -> dict:
        """As JSON takes it. Times are in milliseconds."""
        at = (0.5, 0.9, 0.99)
        truth, reading = (results.quantiles(self.rows[name], at) for name in ("truth_ms", "latency_ms"))
        figures = {
            "case": self.case.name,
            "reader": self.reader,
            "connections": self.case.connections,
            "tls": self.case.tls,
            "broadcasts_per_s": self.case.broadcast_rate,
            "deliveries": len(self.rows),
            "truth_ms": truth,
            "reading_ms": reading,
            "error_ms": {name: round(reading[name] - truth[name], 3) for name in truth},
            "error_of_one_delivery_ms": results.quantiles(
                self.rows["latency_ms"] - self.rows["truth_ms"], (0.5, 0.99), with_max=True
            ),
        }
        if self.result:
            summary = self.result.summary
            kept = (
                *("connections", "delivered", "missing", "upper_bounds", "harness_lag_ms", "send_late_ms"),
                *("clock", "processes"),
            )
            figures |= {name: summary[name] for name in kept} | {"accounts": self.accounts}
        return figures


def measure(case: Case, folder: Path) -> Reading:
    """Run one case with the load test.

    Raises:
        LoadTestError: in one sentence, if it gives no result.
    """
    certificate = _certificate(folder) if case.tls else None
    with reference_server.run(case.faults, _server_context(certificate) if certificate else None) as server:
        process = _start(
            *["locust", "-f", "loadtest/locustfile.py", "--headless", "--host", server.url, "--results", f"{folder}"],
            *["--users", f"{case.connections}", "--spawn-rate", "450", "--speakers", "3", "--drain-time", "4"],
            *["--broadcasts", f"{case.broadcasts}", "--broadcast-rate", f"{case.broadcast_rate}"],
            *(["--ca-file", f"{certificate}"] if certificate else []),
            *(["--processes", f"{case.processes}"] if case.processes > 1 else []),
        )
        if case.stall:
            threading.Thread(target=_stall, args=(process, server), daemon=True).start()
        output = _output(process)
        left, dropped = server.left(), server.dropped()
    try:
        result = results.load(folder)
    except FileNotFoundError:
        raise LoadTestError(f"The load test gave no result for {case.name!r}: {_last_line(output)}") from None
    return Reading(case, "this load test", _with_truth(result, left), result, _accounts(result, left, dropped))


def measure_plain(case: Case, folder: Path) -> Reading:
    """Run one case with the plain reader. Raises as `measure` does."""
    output = folder / "plain.parquet"
    with reference_server.run(case.faults) as server:
        process = _start(
            *["loadtest.calibration.naive_client", server.url, "--output", f"{output}"],
            *["--connections", f"{case.connections}"],
            *["--broadcasts", f"{case.broadcasts}", "--broadcast-rate", f"{case.broadcast_rate}"],
        )
        said = _output(process)
        left = server.left()
    if not output.exists():
        raise LoadTestError(f"The plain reader gave no result for {case.name!r}: {_last_line(said)}")
    rows = pd.read_parquet(output).merge(left, on=["broadcast", "port"])
    rows["truth_ms"] = (rows["left_ns"] - rows["sent_ns"]) / 1e6
    rows["latency_ms"] = (rows["seen_ns"] - rows["sent_ns"]) / 1e6
    return Reading(case, "plain reader", rows)


def _with_truth(result: results.Result, left: pd.DataFrame) -> pd.DataFrame:
    """First copies of the measured deliveries, with `truth_ms`: due to left the server."""
    rows = result.deliveries[result.deliveries["expected"] & (result.deliveries["copy"] == 0)]
    rows = rows[~rows["warm_up"]].assign(port=_ports(rows, result))
    rows = rows.merge(left.drop_duplicates(["broadcast", "port"]), on=["broadcast", "port"])
    due_ns = rows["broadcast"].map(result.broadcasts.set_index("broadcast")["intended_ns"])
    return rows.assign(truth_ms=(rows["left_ns"] - due_ns) / 1e6)


def _ports(rows: pd.DataFrame, result: results.Result) -> pd.Series:
    return rows["connection"].map(result.connections.set_index("connection")["local_port"]).astype(int)


def _accounts(result: results.Result, left: pd.DataFrame, dropped: set[tuple[int, int]]) -> dict:
    """For each kind of fault how many there were, how many were found, and how many of the two are not the same."""
    sent = set(result.broadcasts["broadcast"][result.broadcasts["sent_ns"].notna()])
    rows = result.deliveries.assign(port=_ports(result.deliveries, result))
    pairs = lambda part: set(zip(part["broadcast"], part["port"], strict=True))  # noqa: E731
    everyone = {
        (broadcast, port) for broadcast in sent for port in result.connections["local_port"].dropna().astype(int)
    }
    left = left[left["broadcast"] >= 0]
    copy = left.groupby(["port", "broadcast"]).cumcount()
    overtaken = (left["broadcast"] < left.groupby("port")["broadcast"].cummax()) & (copy == 0)
    found_and_true = {
        "dropped": (everyone - pairs(rows), dropped),
        "doubled": (pairs(rows[rows["copy"] == 1]), pairs(left[copy == 1])),
        "reordered": (pairs(rows[rows["out_of_order"]]), pairs(left[overtaken])),
    }
    return {
        name: {"truth": len(true), "found": len(found), "wrong": len(found ^ true)}
        for name, (found, true) in found_and_true.items()
    }


def _stall(process: subprocess.Popen, server: Reference) -> None:
    """Stop the process after every fifth broadcast came in, while its deliveries are still held back by the server."""
    stalled = 0
    while process.poll() is None:
        if len(server.heard) >= 5 * (stalled + 1):
            stalled += 1
            process.send_signal(signal.SIGSTOP)
            time.sleep(STALL_S)
            process.send_signal(signal.SIGCONT)
        time.sleep(0.002)


def _start(*module: str) -> subprocess.Popen:
    command = [sys.executable, "-m", *module]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _output(process: subprocess.Popen) -> str:
    """Wait for a process, for `RUN_S` at most."""
    try:
        return process.communicate(timeout=RUN_S)[0]
    finally:
        live.stop(process)


def _last_line(output: str) -> str:
    return (output.strip().splitlines() or ["it said nothing"])[-1]


def _certificate(folder: Path) -> Path:
    """A self-signed certificate and its key for 127.0.0.1, in one PEM file, made by the `openssl` command."""
    path = folder / "certificate.pem"
    if not shutil.which("openssl"):
        raise LoadTestError("The wss:// case needs the openssl command, to make a certificate.")
    subprocess.run(
        [
            *["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"],
            *["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{path}", "-out", f"{path}.cert"],
        ],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + Path(f"{path}.cert").read_text())
    return path


def _server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class Bound(NamedTuple):
    """What must hold, over the figures of all cases that the load test ran."""

    name: str
    measured: Callable[[list[dict]], float]
    limit: float
    at_most: bool = True

    def check(self, rows: list[dict]) -> dict:
        """The bound, what was measured and whether it holds, as JSON takes it."""
        measured = self.measured(rows)
        holds = measured <= self.limit if self.at_most else measured >= self.limit
        return {"bound": self.name, "measured": round(measured, 3), "limit": self.limit, "holds": bool(holds)}


def _worst_error(quantile: str) -> Callable[[list[dict]], float]:
    return lambda rows: max(abs(row["error_ms"][quantile]) for row in rows if row["connections"] == 1000)


def _most(rows: list[dict], figure: Callable[[dict], float], processes: int) -> float:
    """The most that runs in so many processes took without loss."""
    lossless = (row for row in rows if not row["missing"] and len(row["processes"]) == processes)
    return max(map(figure, lossless), default=0)


BOUNDS = [
    Bound("error of p50, ms", _worst_error("p50"), 0.3),
    Bound("error of p99, ms", _worst_error("p99"), 0.3),
    Bound(
        "deliveries wrongly taken for dropped, doubled or reordered, or not found",
        lambda rows: sum(account["wrong"] for row in rows for account in row["accounts"].values()),
        0,
    ),
    Bound(
        "deliveries a second, one process, no loss",
        lambda rows: _most(rows, lambda row: row["connections"] * row["broadcasts_per_s"], processes=1),
        20_000,
        at_most=False,
    ),
    Bound(
        "connections, two processes, no loss",
        lambda rows: _most(rows, lambda row: row["connections"], processes=2),
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


class Comparison(NamedTuple):
    """This load test and a plain reader, against the truth."""

    table: pd.DataFrame
    """A row for each reader; truth, reading and error of p50 and p99, in milliseconds."""
    figure: Figure
    """What each of them read, beside the truth."""


def quick(connections: int = 500, broadcast_rate: float = 5.0, broadcasts: int = 10) -> Comparison:
    """A calibration in about 12 seconds, to see with one's own eyes why the plain reading is wrong.

    Raises:
        LoadTestError: in one sentence, if a reader fails.
    """
    case = Case("no delay", connections=connections, broadcast_rate=broadcast_rate, broadcasts=broadcasts)
    with tempfile.TemporaryDirectory() as folder:
        readings = [measure(case, Path(folder)), measure_plain(case, Path(folder))]
    return Comparison(
        table([reading.figures() for reading in readings]),
        plots.readings({reading.reader: reading.rows for reading in readings}),
    )


def table(rows: list[dict]) -> pd.DataFrame:
    """Truth, reading and error of p50 and p99 in milliseconds, a row for each case and reader."""
    columns = {
        f"{quantile} {kind}": [row[f"{kind}_ms"][quantile] for row in rows]
        for quantile in ("p50", "p99")
        for kind in ("truth", "reading", "error")
    }
    index = pd.MultiIndex.from_tuples([(row["case"], row["reader"]) for row in rows], names=["case", "reader"])
    return pd.DataFrame(columns, index=index)


def main(arguments: list[str] | None = None) -> int:
    """Run all cases; 0, or 1 if `--check` finds a bound that does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.calibration.calibrate", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="Write everything to this file")
    parser.add_argument("--check", action="store_true", help="Exit with 1 if a bound does not hold")
    parser.add_argument("--case", action="append", metavar="NAME", help="Run only this case (may be repeated)")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if not options.case or case.name in options.case]
    if not cases:
        parser.error(f"there is no such case; there are: {', '.join(case.name for case in CASES)}")

    rows = []
    for case in cases:
        for run in (measure, *([measure_plain] if case.plain else [])):
            print(
                f"{case.name}: {case.connections:,} connections, {case.broadcast_rate:g} broadcasts a second …",
                flush=True,
            )
            with tempfile.TemporaryDirectory() as folder:
                rows.append(run(case, Path(folder)).figures())
    own = [row for row in rows if row["reader"] == "this load test"]
    for row in own:
        if row["upper_bounds"] > verdict.BOUND_SHARE * row["delivered"]:
            print(
                f"{row['case']}: {row['upper_bounds']:,} of {row['delivered']:,} arrivals are known as upper bounds "
                "only, since more had come behind them."
            )
    print("\nMilliseconds:\n" + table(rows).to_string(float_format="{:.3f}".format))
    faults = {
        (row["case"], name): account for row in own for name, account in row["accounts"].items() if account["truth"]
    }
    if faults:
        print("\nDeliveries:\n" + pd.DataFrame(faults).T.to_string())
    bounds = [bound.check(own) for bound in BOUNDS] if not options.case else []
    if bounds:
        print("\n" + pd.DataFrame(bounds).to_string(index=False))
    if options.json:
        machine = {
            "cores": os.cpu_count(),
            "load_average": os.getloadavg(),
            "system": platform.platform(),
            "python": platform.python_version(),
        }
        options.json.write_text(json.dumps({"machine": machine, "runs": rows, "bounds": bounds}, indent=2))
    broken = [bound["bound"] for bound in bounds if not bound["holds"]]
    worst = max(abs(error) for row in own for name, error in row["error_ms"].items() if name != "p90")
    print(
        f"\nOver {len(own)} cases this load test is at most {worst:.3f} ms from the truth in p50 and p99; "
        + (
            f"not within bounds: {'; '.join(broken)}."
            if broken
            else "all bounds hold."
            if bounds
            else "no bounds checked."
        )
    )
    return 1 if options.check and broken else 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
