"""An `@connections` endpoint as AWS's looks: over TLS, with a delay, with quotas, with clients that left or misbehave.

The local cloud answers in a third of a millisecond over plain HTTP and never throttles, so nothing can be learnt from
it about a broadcast under a quota. This is the wind tunnel for that: what each id got, and what was refused, is counted
here and not taken from the sender's word. It checks no signature.

It runs as a process of its own, on loopback, for as long as its `with` block lasts:

    with api_gateway.run(Settings(quotas=[(2_000, 1_000)])) as gateway:
        ...                                    # post to gateway.url, trusting gateway.ca_file
        gateway.report()["refused"]
"""

import asyncio
import contextlib
import gc
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO
from urllib.parse import unquote_to_bytes

import httptools
import psutil
import trustme
import uvloop

from benchmarks.endpoint import Endpoint, Report, Settings
from chatlab.signals import children_uninterrupted

PATH = b"/production/@connections/"


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        self.endpoint, self.loop, self.requests = endpoint, loop, 0
        self.idle_timer: asyncio.TimerHandle | None = None

    def connection_made(
        self,
        transport: asyncio.Transport,  # type: ignore[override]  # which is what asyncio gives the protocol of a stream
    ) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.endpoint.opened += 1
        self._begin_idle()

    def connection_lost(self, error: Exception | None) -> None:
        if self.idle_timer:
            self.idle_timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self.idle_timer:
            self.idle_timer.cancel()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_message_complete(self) -> None:
        endpoint, self.requests = self.endpoint, self.requests + 1
        status = endpoint.status(unquote_to_bytes(self.url.removeprefix(PATH)), time.monotonic())
        if status == "silent":
            return
        closes = 0 < endpoint.settings.close_after <= self.requests
        if delay_s := endpoint.delay_s():
            self.loop.call_later(delay_s, self._respond, status, closes)
        else:
            self._respond(status, closes)

    def _respond(self, status: int | str, closes: bool) -> None:
        if status == "reset":
            self.transport.abort()
            return
        self.transport.write(self.endpoint.responses[status, closes])
        if closes:
            self.transport.close()
        else:
            self._begin_idle()

    def _begin_idle(self) -> None:
        if self.endpoint.settings.idle_s:
            self.idle_timer = self.loop.call_later(self.endpoint.settings.idle_s, self.transport.close)


async def serve(settings: Settings, folder: Path) -> None:
    """Serve, with the certificate in `folder`, until standard input ends; answers "report" and "clear" from there."""
    gc.disable()  # a collection would be a pause that no network has; what is left of a connection is small
    loop, endpoint, tls = asyncio.get_running_loop(), Endpoint(settings), None
    if settings.tls:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(tls)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    async with await loop.create_server(lambda: Connection(endpoint, loop), sock=listener, ssl=tls):
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        requests = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
        while request := await requests.readline():
            report = endpoint.report()
            if request.strip() == b"clear":
                endpoint.clear()
            print(json.dumps(report), flush=True)


class Gateway:
    """The endpoint's process, seen from outside. `url` is the stage's; `ca_file` is whom to trust, None without TLS."""

    def __init__(self, pid: int, stdin: IO[str], stdout: IO[str], url: str, ca_file: Path | None) -> None:
        self._process, self._stdin, self._stdout = psutil.Process(pid), stdin, stdout
        self.url, self.ca_file = url, ca_file

    def report(self) -> Report:
        """What it has counted since it was cleared."""
        return self._ask("report")

    def clear(self) -> Report:
        """The report, after which all counts are 0 and all buckets full."""
        return self._ask("clear")

    def cpu_s(self) -> float:
        """Seconds of CPU that its process has taken, user and system."""
        times = self._process.cpu_times()
        return times.user + times.system

    def _ask(self, request: str) -> Report:
        self._stdin.write(f"{request}\n")
        self._stdin.flush()
        report: Report = json.loads(self._stdout.readline())
        return report


@contextlib.contextmanager
def run(settings: Settings | None = None) -> Iterator[Gateway]:
    """The endpoint in a process of its own, on a free port of 127.0.0.1."""
    settings = settings or Settings()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.api_gateway", json.dumps(asdict(settings)), folder]
        with children_uninterrupted():
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
            )
        assert process.stdin and process.stdout  # they are pipes
        try:
            port = json.loads(process.stdout.readline())["port"]
            scheme = "https" if settings.tls else "http"
            ca_file = Path(folder) / "ca.pem" if settings.tls else None
            url = f"{scheme}://127.0.0.1:{port}/production"
            yield Gateway(process.pid, process.stdin, process.stdout, url, ca_file)
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    settings["quotas"] = tuple(map(tuple, settings["quotas"]))  # JSON has lists alone
    uvloop.run(serve(Settings(**settings), Path(sys.argv[2])))
