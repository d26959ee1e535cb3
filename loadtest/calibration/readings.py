"""Readings: what the load test, or the naive client, measured in one case, beside the truth."""

import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from loadtest import live, results
from loadtest.calibration import reference_server
from loadtest.calibration.reference_server import Faults, ReferenceServer, server_tls
from loadtest.calibration.sides import SIDES
from loadtest.errors import LoadTestError
from loadtest.results import Json

RUN_S = 180
"""No run takes longer; it is ended then."""
STALL_S = 0.15
"""Less than the time between two broadcasts: afterwards, the load test could not tell their arrivals apart."""

LOAD_TEST, NAIVE_CLIENT = "this load test", "naive client"


@dataclass(frozen=True)
class Case:
    """One calibration."""

    name: str
    faults: Faults = field(default_factory=Faults)
    connections: int = 1000
    broadcast_rate: float = 5.0
    broadcasts: int = 30
    warm_up: int = 2
    tls: bool = False
    protocol: str = "plain"
    processes: int = 1
    naive_client: bool = False
    """Whether the naive client measures this case too."""
    stall: bool = False
    """Whether the load test's process is stopped for a moment again and again while deliveries arrive."""


@dataclass(frozen=True)
class Reading:
    """What a reader measured in a case, beside the truth."""

    case: Case
    reader: str
    rows: pd.DataFrame
    """One row for each delivery, with `truth_ms` (from due to sent by the server) and `latency_ms` (as it was read)."""
    result: results.Result | None = None
    """The load test's; the naive client has none."""
    detected_faults: Json = field(default_factory=dict)
    """For each kind of fault: how many there were, how many were found, and by how many the two sets differ."""

    def metrics(self) -> Json:
        """The reading as JSON. Times are in milliseconds."""
        at = (0.5, 0.9, 0.99)
        metrics = {
            "case": self.case.name,
            "reader": self.reader,
            "connections": self.case.connections,
            "tls": self.case.tls,
            "protocol": self.case.protocol,
            "broadcasts_per_s": self.case.broadcast_rate,
            "deliveries": len(self.rows),
            "truth_ms": results.quantiles(self.rows["truth_ms"], at),
            "reading_ms": results.quantiles(self.rows["latency_ms"], at),
            "error_ms": self._errors_ms(at),
            "error_of_one_delivery_ms": results.quantiles(
                self.rows["latency_ms"] - self.rows["truth_ms"], (0.5, 0.99), with_max=True
            ),
        }
        if self.result:
            summary = self.result.summary
            kept = "connections delivered missing upper_bounds harness_lag_ms send_late_ms clock processes".split()
            metrics |= {name: summary[name] for name in kept} | {"detected_faults": self.detected_faults}
        return metrics

    def _errors_ms(self, at: tuple[float, ...]) -> dict[str, float]:
        """The difference of the two quantiles, as they are rounded."""
        truth, reading = (self.rows[name].quantile(list(at)).round(3) for name in ("truth_ms", "latency_ms"))
        return {f"p{q * 100:g}": round(float(reading[q] - truth[q]), 3) for q in at}


def measure(case: Case, folder: Path) -> Reading:
    """Run one case with the load test.

    Raises:
        LoadTestError: in one sentence, if it gives no result.
    """
    ca_file = folder / "ca.pem"
    tls = server_tls(ca_file) if case.tls else None
    with reference_server.run(case.faults, tls, side=SIDES[case.protocol]) as server:
        options: dict[str, object] = {"protocol": case.protocol} | ({"ca_file": ca_file} if case.tls else {})
        if case.processes > 1:  # another one may run at the same time
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            options |= {"processes": case.processes, "master_bind_port": port, "master_port": port}
        words = live.words(
            server.url, folder, users=case.connections, spawn_rate=450, speakers=3, drain_time=4, warm_up=case.warm_up,
            broadcasts=case.broadcasts, broadcast_rate=case.broadcast_rate, **options,
        )  # fmt: skip
        process = _start("locust", *words)
        if case.stall:
            threading.Thread(target=_stall, args=(process, server), daemon=True).start()
        output = _output(process)
        sent, dropped = server.sent(), server.dropped
    try:
        result = results.load(folder)
    except FileNotFoundError:
        raise LoadTestError(f"The load test gave no result for {case.name!r}: {_last_line(output)}") from None
    return Reading(case, LOAD_TEST, with_truth(result, sent), result, _detected_faults(result, sent, dropped))


def measure_naively(case: Case, folder: Path) -> Reading:
    """Run one case with the naive client. Raises as `measure` does."""
    path = folder / "naive.parquet"
    with reference_server.run(case.faults) as server:
        process = _start(
            *["loadtest.calibration.naive_client", server.url, "--output", f"{path}"],
            *["--connections", f"{case.connections}"],
            *["--broadcasts", f"{case.broadcasts}", "--broadcast-rate", f"{case.broadcast_rate}"],
        )
        output = _output(process)
        sent = server.sent()
    if not path.exists():
        raise LoadTestError(f"The naive client gave no result for {case.name!r}: {_last_line(output)}")
    rows = pd.read_parquet(path).merge(sent, on=["broadcast", "port"])
    rows["truth_ms"] = (rows["server_sent_ns"] - rows["sent_ns"]) / 1e6
    rows["latency_ms"] = (rows["read_ns"] - rows["sent_ns"]) / 1e6
    return Reading(case, NAIVE_CLIENT, rows)


def with_truth(result: results.Result, sent: pd.DataFrame) -> pd.DataFrame:
    """First copies of the measured deliveries, with `truth_ms`: from due to sent by the server (`sent`)."""
    rows = result.measured()
    rows = rows.assign(port=_ports(rows, result)).merge(
        sent.drop_duplicates(["broadcast", "port"]), on=["broadcast", "port"]
    )
    due_ns = rows["broadcast"].map(result.broadcasts.set_index("broadcast")["intended_ns"])
    return rows.assign(truth_ms=(rows["server_sent_ns"] - due_ns) / 1e6)


def _ports(rows: pd.DataFrame, result: results.Result) -> pd.Series:
    return rows["connection"].map(result.connections.set_index("connection")["local_port"]).astype(int)


def _detected_faults(result: results.Result, sent: pd.DataFrame, dropped: set[tuple[int, int]]) -> Json:
    """Compare the faults that the server made with those that the load test found: `Reading.detected_faults`."""
    broadcasts = set(result.broadcasts["broadcast"][result.broadcasts["sent_ns"].notna()])
    ports = result.connections["local_port"].dropna().astype(int)
    everything = {(broadcast, port) for broadcast in broadcasts for port in ports}
    rows = result.deliveries.assign(port=_ports(result.deliveries, result))
    sent = sent[sent["broadcast"] >= 0]
    copy = sent.groupby(["port", "broadcast"]).cumcount()
    overtaken = (sent["broadcast"] < sent.groupby("port")["broadcast"].cummax()) & (copy == 0)
    found_and_true = {
        "dropped": (everything - _pairs(rows), dropped),
        "doubled": (_pairs(rows[rows["copy"] == 1]), _pairs(sent[copy == 1])),
        "reordered": (_pairs(rows[rows["out_of_order"]]), _pairs(sent[overtaken])),
    }
    return {
        name: {"truth": len(true), "found": len(found), "wrong": len(found ^ true)}
        for name, (found, true) in found_and_true.items()
    }


def _pairs(rows: pd.DataFrame) -> set[tuple[int, int]]:
    return set(zip(rows["broadcast"], rows["port"], strict=True))


def _stall(process: subprocess.Popen[str], server: ReferenceServer) -> None:
    """Stop the process for a moment after every fifth broadcast, while the server still delays its deliveries."""
    stalls = 0
    while process.poll() is None:
        if len(server.received) >= 5 * (stalls + 1):
            stalls += 1
            process.send_signal(signal.SIGSTOP)
            time.sleep(STALL_S)
            process.send_signal(signal.SIGCONT)
        time.sleep(0.002)


def _start(*module: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *module]
    return subprocess.Popen(command, cwd=live.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _output(process: subprocess.Popen[str]) -> str:
    """Wait for a process, for `RUN_S` at most."""
    try:
        return process.communicate(timeout=RUN_S)[0]
    finally:
        live.stop(process)


def _last_line(output: str) -> str:
    return (output.strip().splitlines() or ["it said nothing"])[-1]
