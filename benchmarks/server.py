"""What a WebSocket server of your own can do, for `chatlab.cost`: `python -m benchmarks.server`.

The server is the one that calibrates the load test (`loadtest.calibration.reference_server`, on `websockets`), in a
process of its own. Measured is the CPU time that this process takes for a delivery, which a busy machine and slow
readers hardly change, and the memory that it takes for a connection. Both are this machine's, not AWS's.
"""

import argparse
import contextlib
import json
import resource
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, TypedDict

import pandas as pd
import psutil
import trustme
import websocket

from benchmarks.support import child, machine
from chatlab.errors import LabError
from chatlab.signals import exit_status
from loadtest.calibration import reference_server

BROADCASTS = 20  # in a round, sent at once: so few that the kernel takes them all, whether or not somebody reads
PAYLOAD_BYTES = 200
FRAME_BYTES = PAYLOAD_BYTES + 4  # with the header that a server's frame of this size has
ANSWER_S = 30.0  # nothing is waited for longer
CORES = 4  # of the server in `chatlab.cost`; connections are spread over a process for each
MEMORY_GB = 6  # of its 8: the rest is for the system, the processes themselves, and 5 KB a socket in the kernel


class Usage(NamedTuple):
    """What the server's process has taken."""

    url: str
    cpu_s: float
    """User and system, since it began."""
    resident_bytes: int


def serve(pipe: "Connection[Usage, None]", certificate: Path | None) -> None:
    """Be the server; send its usage at the beginning, and whenever it is asked."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with reference_server.run(tls=context) as server, contextlib.suppress(EOFError, OSError):  # the other end has ended
        while True:
            pipe.send(Usage(server.url, time.process_time(), psutil.Process().memory_info().rss))
            pipe.recv()


class Server:
    """The server's process, seen from outside."""

    def __init__(self, pipe: "Connection[None, Usage]") -> None:
        self._pipe = pipe
        self.url = self._receive().url

    def usage(self) -> Usage:
        """What it has taken by now."""
        self._pipe.send(None)
        return self._receive()

    def _receive(self) -> Usage:
        if not self._pipe.poll(ANSWER_S):
            raise LabError(f"The server did not answer within {ANSWER_S:.0f} s.")
        try:
            return self._pipe.recv()
        except EOFError:
            raise LabError("The server's process has ended.") from None


@contextlib.contextmanager
def run(certificate: Path | None) -> Iterator[Server]:
    """The server on a free port of 127.0.0.1, for as long as the `with` block lasts; with a certificate it is wss://."""
    with child(serve, certificate) as pipe:
        yield Server(pipe)


class Measured(TypedDict):
    """One server, as JSON takes it."""

    scheme: str
    connections: int
    kb_per_connection: float
    us_per_delivery: list[float]
    """For each round: microseconds of CPU."""


def measure(connections: int, rounds: int, tls: bool) -> Measured:
    """Measure one server with so many connections."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = stack.enter_context(run(_certificate(Path(folder)) if tls else None))
        trusting = {"context": ssl.create_default_context(cafile=f"{folder}/ca.pem")} if tls else None
        clients = []
        empty_bytes = server.usage().resident_bytes
        for _ in range(connections):
            clients.append(websocket.create_connection(server.url, timeout=ANSWER_S, sslopt=trusting))
            stack.callback(clients[-1].shutdown)
        full_bytes = server.usage().resident_bytes
        return {
            "scheme": "wss" if tls else "ws",
            "connections": connections,
            "kb_per_connection": (full_bytes - empty_bytes) / connections / 1024,
            "us_per_delivery": [_round(server, clients) for _ in range(rounds)],
        }


def _round(server: Server, clients: list[websocket.WebSocket]) -> float:
    """Broadcast, and read all of it at each connection; the server's CPU time for a delivery, in microseconds."""
    before_s = server.usage().cpu_s
    for _ in range(BROADCASTS):
        clients[0].send("." * PAYLOAD_BYTES)
    for client in clients:
        missing = BROADCASTS * FRAME_BYTES
        while missing:  # the bytes are counted and not looked at, which leaves most of the machine to the server
            received = len(client.sock.recv(missing)) if client.sock else 0
            if not received:
                raise LabError("The server closed a connection.")
            missing -= received
    return (server.usage().cpu_s - before_s) * 1e6 / (BROADCASTS * len(clients))


def _certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, in one file; whom to trust for it is `ca.pem` beside it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder / "server.pem"


def table(measured: list[Measured]) -> pd.DataFrame:
    """A row for each server: CPU time of a delivery (median and extremes of the rounds), and what follows from it."""
    rows = pd.DataFrame(measured)[["scheme", "connections", "kb_per_connection"]]
    rounds = pd.DataFrame([row["us_per_delivery"] for row in measured])
    rows["us_per_delivery"], rows["least"], rows["most"] = rounds.median(axis=1), rounds.min(axis=1), rounds.max(axis=1)
    rows["per_s_one_core"] = (1e6 / rows["us_per_delivery"]).astype(int)
    rows[f"per_s_{CORES}_cores"] = CORES * rows["per_s_one_core"]
    rows[f"connections_in_{MEMORY_GB}_gb"] = (MEMORY_GB * 1024**2 / rows["kb_per_connection"]).astype(int)
    return rows


def _allow_sockets(number: int) -> None:
    """Let this process and the server's, which inherits it, have so many open."""
    allowed, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed >= number:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, maximum))
    except ValueError:
        raise LabError(f"This needs {number:,} open files, and a process may have {maximum:,} (ulimit -Hn).") from None


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__.split("\n")[0])
    parser.add_argument("--connections", type=int, nargs="+", default=[1_000, 5_000], metavar="N")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="Repetitions of each (default: 10)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="Write everything to this file")
    options = parser.parse_args(arguments)
    if min(*options.connections, options.rounds) < 1:
        parser.error("there has to be one connection and one round at least")
    _allow_sockets(max(options.connections) + 100)
    measured = [measure(number, options.rounds, tls) for tls in (False, True) for number in options.connections]
    rows = table(measured)
    print(rows.round(1).to_string(index=False))
    if options.json:
        document = {"machine": machine(), "measured": measured, "table": rows.to_dict("records")}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
