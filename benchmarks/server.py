"""What a WebSocket server of your own can do, for `chatlab.cost.compare_alternatives`: `python -m benchmarks.server`.

The server is the one that calibrates the load test (`loadtest.calibration.reference_server`, on `websockets`), in a
process of its own. It measures the CPU time that this process takes for a delivery, which a busy machine and slow
readers hardly change, and its memory for a connection. Both are this machine's, not AWS's.
"""

import argparse
import contextlib
import resource
import ssl
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import psutil
import websocket

from benchmarks.endpoint import child
from chatlab.errors import LabError
from chatlab.signals import exit_status
from loadtest.calibration import reference_server
from loadtest.calibration.bounds import Bounds, report

BROADCASTS = 20  # in a round, sent at once: so few that the kernel takes them all, whether or not somebody reads
PAYLOAD_BYTES = 200
FRAME_BYTES = PAYLOAD_BYTES + 4  # with the header that a server's frame of this size has
ANSWER_S = 30.0  # for the longest wait
CORES = 4  # of the server that this chat is compared with; connections are spread over a process for each
MEMORY_GB = 6  # of its 8: the rest is for the system, the processes themselves, and 5 KB a socket in the kernel


class Usage(NamedTuple):
    """What the server's process has taken."""

    url: str
    cpu_s: float
    """User and system, since it began."""
    resident_bytes: int


def serve(pipe: "Connection[Usage, None]", ca_file: Path | None) -> None:
    """Be the server, on a free port of 127.0.0.1; send its usage whenever it is asked."""
    context = reference_server.server_tls(ca_file) if ca_file else None
    with reference_server.run(tls=context) as server, contextlib.suppress(EOFError, OSError):  # the other end has ended
        while True:
            pipe.recv()
            pipe.send(Usage(server.url, time.process_time(), psutil.Process().memory_info().rss))


def usage(pipe: "Connection[None, Usage]") -> Usage:
    """What the server has taken by now."""
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)
        if pipe.poll(ANSWER_S):
            return pipe.recv()
    raise LabError("The server's process has ended, or does not answer.")


def measure(connections: int, rounds: int, tls: bool) -> dict[str, Any]:
    """Measure one server with `connections` connections.

    Returns:
        `scheme`, `connections`, `kb_per_connection`, and `us_per_delivery`: for each round, microseconds of CPU.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ca_file = Path(folder) / "ca.pem" if tls else None
        server = stack.enter_context(child(serve, ca_file))
        empty, clients = usage(server), []
        trusting = {"context": ssl.create_default_context(cafile=ca_file)} if ca_file else None
        for _ in range(connections):
            clients.append(websocket.create_connection(empty.url, timeout=ANSWER_S, sslopt=trusting))
            stack.callback(clients[-1].shutdown)
        taken_bytes = usage(server).resident_bytes - empty.resident_bytes
        return {
            "scheme": "wss" if tls else "ws",
            "connections": connections,
            "kb_per_connection": taken_bytes / connections / 1024,
            "us_per_delivery": [_round(server, clients) for _ in range(rounds)],
        }


def _round(server: "Connection[None, Usage]", clients: list[websocket.WebSocket]) -> float:
    """Broadcast, and read all of it at each connection; the server's CPU time for a delivery, in microseconds."""
    before_s = usage(server).cpu_s
    for _ in range(BROADCASTS):
        clients[0].send("." * PAYLOAD_BYTES)
    for client in clients:
        missing = BROADCASTS * FRAME_BYTES
        while missing:  # the bytes are counted and not looked at, which leaves most of the machine to the server
            received = len(client.sock.recv(missing)) if client.sock else 0
            if not received:
                raise LabError("The server closed a connection.")
            missing -= received
    return (usage(server).cpu_s - before_s) * 1e6 / (BROADCASTS * len(clients))


def table(measured: list[dict[str, Any]]) -> pd.DataFrame:
    """A row for each server: CPU time of a delivery (median and extremes of the rounds), and what follows from it."""
    rows = pd.DataFrame(measured)[["scheme", "connections", "kb_per_connection"]]
    rounds = pd.DataFrame([row["us_per_delivery"] for row in measured])
    rows["us_per_delivery"], rows["least"], rows["most"] = rounds.median(axis=1), rounds.min(axis=1), rounds.max(axis=1)
    rows["per_s_one_core"] = (1e6 / rows["us_per_delivery"]).astype(int)
    rows[f"per_s_{CORES}_cores"] = CORES * rows["per_s_one_core"]
    rows[f"connections_in_{MEMORY_GB}_gb"] = (MEMORY_GB * 1024**2 / rows["kb_per_connection"]).astype(int)
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__.split("\n")[0])
    parser.add_argument("--connections", type=int, nargs="+", default=[1_000, 5_000], metavar="N")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="Repetitions of each (default: 10)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="Write everything to this file")
    options = parser.parse_args(arguments)
    if min(*options.connections, options.rounds) < 1:
        parser.error("there has to be one connection and one round at least")
    sockets, (allowed, maximum) = max(options.connections) + 100, resource.getrlimit(resource.RLIMIT_NOFILE)
    try:  # also for the server, which inherits it
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(allowed, sockets), maximum))
    except ValueError:
        raise LabError(f"This needs {sockets:,} open files, and a process may have {maximum:,} (ulimit -Hn).") from None
    measured = [measure(number, options.rounds, tls) for tls in (False, True) for number in options.connections]
    rows = table(measured)
    print(rows.round(1).to_string(index=False))
    report(Bounds(), options.json, check=False, measured=measured, table=rows)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
