"""What a WebSocket server of your own can do, for `chatlab.capacity.alternatives`: `python -m benchmarks.server`.

The server is the one that calibrates the load test (`loadtest.calibration.reference_server`, on `websockets`), in a
process of its own. Measured is the CPU time that this process takes for a delivery, which a busy machine and slow
readers hardly change, and the memory that it takes for a connection. Both are this machine's, not AWS's.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import resource
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import pandas as pd
import psutil
import trustme
import websocket

from chatlab.errors import LabError
from chatlab.signals import exit_status
from loadtest.calibration import reference_server

BROADCASTS = 20  # in a round, said at once: so few that the kernel takes them all, whether or not somebody reads
PAYLOAD_BYTES = 200
FRAME_BYTES = PAYLOAD_BYTES + 4  # with the header that a server's frame of this size has
ANSWER_S = 30.0  # nothing is waited for longer
CORES = 4  # of the server in `chatlab.capacity.alternatives`; connections are spread over a process for each
MEMORY_GB = 6  # of its 8: the rest is for the system, the processes themselves, and 5 KB a socket in the kernel


def serve(pipe: Connection, certificate: Path | None) -> None:
    """Be the server; answer each request for it with CPU seconds (user and system) and resident bytes, until a None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process at the other end of the pipe
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with reference_server.run(tls=context) as server, contextlib.suppress(EOFError, OSError):  # the other end is gone
        pipe.send(server.url)
        while pipe.recv():
            pipe.send((time.process_time(), psutil.Process().memory_info().rss))


class Server:
    """The server's process, seen from outside."""

    def __init__(self, pipe: Connection):
        self._pipe = pipe
        self.url = self._answer()

    def used(self) -> tuple[float, int]:
        """CPU seconds since it began, and resident bytes now."""
        self._pipe.send("used")
        return self._answer()

    def _answer(self):
        if not self._pipe.poll(ANSWER_S):
            raise LabError(f"The server did not answer within {ANSWER_S:.0f} s.")
        try:
            return self._pipe.recv()
        except EOFError:
            raise LabError("The server's process has ended.") from None


@contextlib.contextmanager
def run(certificate: Path | None) -> Iterator[Server]:
    """The server on a free port of 127.0.0.1, for as long as the `with` block lasts; with a certificate it is wss://."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, certificate), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Server(ours)
    finally:
        with contextlib.suppress(OSError):
            ours.send(None)
        process.join(5)
        process.kill()
        process.join()


def measure(connections: int, rounds: int, tls: bool) -> dict:
    """One server with so many connections, as JSON takes it: KB for each; for each round, microseconds a delivery."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = stack.enter_context(run(_certificate(Path(folder)) if tls else None))
        trusting = {"context": ssl.create_default_context(cafile=f"{folder}/ca.pem")} if tls else None
        sockets = []
        _, empty = server.used()
        for _ in range(connections):
            sockets.append(websocket.create_connection(server.url, timeout=ANSWER_S, sslopt=trusting))
            stack.callback(sockets[-1].shutdown)
        _, full = server.used()
        return {
            "scheme": "wss" if tls else "ws",
            "connections": connections,
            "kb_per_connection": (full - empty) / connections / 1024,
            "us_per_delivery": [_round(server, sockets) for _ in range(rounds)],
        }


def _round(server: Server, sockets: list[websocket.WebSocket]) -> float:
    """Broadcast, and read all of it at each connection; the server's CPU time for a delivery, in microseconds."""
    before, _ = server.used()
    for _ in range(BROADCASTS):
        sockets[0].send("." * PAYLOAD_BYTES)
    for receiver in sockets:
        missing = BROADCASTS * FRAME_BYTES
        while missing:  # the bytes are counted and not looked at, which leaves most of the machine to the server
            received = len(receiver.sock.recv(missing))
            if not received:
                raise LabError("The server closed a connection.")
            missing -= received
    after, _ = server.used()
    return (after - before) * 1e6 / (BROADCASTS * len(sockets))


def _certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, in one file; whom to trust for it is `ca.pem` beside it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder / "server.pem"


def table(measured: list[dict]) -> pd.DataFrame:
    """A row for each server: CPU time of a delivery (median, least, most of the rounds), and what follows from it."""
    rows = pd.DataFrame(measured)[["scheme", "connections", "kb_per_connection"]]
    rounds = pd.DataFrame([row["us_per_delivery"] for row in measured])
    rows["us_per_delivery"], rows["least"], rows["most"] = rounds.median(axis=1), rounds.min(axis=1), rounds.max(axis=1)
    rows["per_s_one_core"] = (1e6 / rows["us_per_delivery"]).astype(int)
    rows[f"per_s_{CORES}_cores"] = CORES * rows["per_s_one_core"]
    rows[f"connections_in_{MEMORY_GB}_gb"] = (MEMORY_GB * 1024**2 / rows["kb_per_connection"]).astype(int)
    return rows


def _allow_sockets(number: int) -> None:
    """Let this process and the server's, which inherits it, have so many open."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed >= number:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, most))
    except ValueError:
        raise LabError(f"This needs {number:,} open files, and a process may have {most:,} (ulimit -Hn).") from None


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
        machine = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg(),
            "system": platform.platform(),
            "python": platform.python_version(),
        }
        told = {"machine": machine, "measured": measured, "table": rows.to_dict("records")}
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
