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
import math
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

import httptools
import psutil
import trustme
import uvloop

PATH = b"/production/@connections/"


@dataclass(frozen=True)
class Settings:
    """What the endpoint does. Shares are of the connection ids: an id is gone, full, or silent, each time."""

    tls: bool = True
    delay_ms: float = 8.0
    """Mean time until an answer; 0 answers at once."""
    spread_ms: float = 2.0
    """Its standard deviation; with `long_tail`, the shape of a log-normal distribution of the same mean."""
    long_tail: bool = False
    quotas: tuple[tuple[float, float], ...] = ()
    """Token buckets, each as (posts a second, burst): a post needs a token of every one, or is answered 429."""
    close_after: int = 0
    """Requests until a connection is closed, with `Connection: close`; 0: never."""
    idle_s: float = 0.0
    """Seconds until an idle connection is closed; 0: never."""
    gone: float = 0.0
    full: float = 0.0
    """Of connections whose client does not read: answered as a quota is, 429, each time."""
    error: float = 0.0
    reset: float = 0.0
    silent: float = 0.0
    body: str = ""
    """What an answer of 200 holds: with a service's own, in JSON, the endpoint stands for that service."""
    seed: int = 1


class Bucket:
    """A token bucket, as API Gateway's quota is one."""

    def __init__(self, rate: float, burst: float, now: float):
        self.rate, self.burst, self.tokens, self.at = rate, burst, burst, now

    def has_one(self, now: float) -> bool:
        """Whether a token is there; `take` takes it."""
        self.tokens, self.at = min(self.burst, self.tokens + (now - self.at) * self.rate), now
        return self.tokens >= 1

    def take(self) -> None:
        """Take a token."""
        self.tokens -= 1


class Endpoint:
    """What all connections share."""

    def __init__(self, settings: Settings):
        self.settings, self.random = settings, random.Random(settings.seed)
        self.responses = {
            (status, closes): response(status, closes, settings.body) for status in PHRASES for closes in (False, True)
        }
        self.clear()

    def clear(self) -> None:
        """Full buckets, and nothing counted."""
        now = time.monotonic()
        self.buckets = [Bucket(rate, burst, now) for rate, burst in self.settings.quotas]
        self.statuses: Counter = Counter()
        self.delivered: Counter = Counter()
        self.posts: Counter = Counter()
        self.refused: Counter = Counter()
        self.opened, self.first_s, self.last_s = 0, None, None

    def kind(self, connection_id: bytes) -> str:
        """What becomes of posts to this id: drawn once, by the id itself."""
        drawn = zlib.crc32(connection_id + b"%d" % self.settings.seed) / 2**32
        for kind in ("gone", "error", "reset", "silent", "full"):
            if (drawn := drawn - getattr(self.settings, kind)) < 0:
                return kind
        return "here"

    def status(self, connection_id: bytes, now: float) -> int | str:
        """Decide on a post, and count it: a status, "reset" or "silent"."""
        self.first_s, self.last_s = self.first_s or now, now
        sender = connection_id.partition(b"-")[0]
        self.posts[sender] += 1
        if not all([bucket.has_one(now) for bucket in self.buckets]):
            self.refused[sender] += 1
            answer: int | str = 429
        else:
            for bucket in self.buckets:
                bucket.take()
            kind = self.kind(connection_id)
            answer = {"here": 200, "gone": 410, "full": 429, "error": 500}.get(kind, kind)
            if answer == 200:
                self.delivered[connection_id] += 1
        self.statuses[answer] += 1
        return answer

    def delay_s(self) -> float:
        """Seconds until an answer."""
        mean, spread = self.settings.delay_ms, self.settings.spread_ms
        if not mean:
            return 0.0
        if self.settings.long_tail:
            variance = math.log(1 + (spread / mean) ** 2)
            return mean * self.random.lognormvariate(-variance / 2, math.sqrt(variance)) / 1000
        return max(0.0, self.random.gauss(mean, spread)) / 1000

    def report(self) -> dict:
        """What was counted since the beginning, or since `clear`."""
        return {
            "posts": sum(self.posts.values()),
            "refused": self.statuses[429],
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "delivered": len(self.delivered),
            "doubled": sum(count > 1 for count in self.delivered.values()),
            "posts_by_sender": {name.decode(): count for name, count in self.posts.items()},
            "refused_by_sender": {name.decode(): count for name, count in self.refused.items()},
            "opened": self.opened,
            "seconds": (self.last_s or 0) - (self.first_s or 0),
        }


PHRASES = {200: "OK", 410: "Gone", 429: "Too Many Requests", 500: "Internal Server Error"}
ERRORS = {410: "GoneException", 429: "LimitExceededException", 500: "InternalServerErrorException"}


def response(status: int, closes: bool, told: str) -> bytes:
    """An answer as API Gateway writes it."""
    body = told.encode() if status == 200 else json.dumps({"message": PHRASES[status], "connectionId": "x"}).encode()
    kind = f"x-amzn-ErrorType: {ERRORS[status]}\r\n" if status in ERRORS else ""
    keep = "close" if closes else "keep-alive"
    return (
        f"HTTP/1.1 {status} {PHRASES[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"{kind}x-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\nConnection: {keep}\r\n\r\n"
    ).encode() + body


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, endpoint: Endpoint, loop: asyncio.AbstractEventLoop):
        self.endpoint, self.loop, self.requests, self.idle = endpoint, loop, 0, None

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.endpoint.opened += 1
        self._rest()

    def connection_lost(self, _):
        if self.idle:
            self.idle.cancel()

    def data_received(self, data):
        if self.idle:
            self.idle.cancel()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_url(self, url):
        self.url = url

    def on_message_complete(self):
        endpoint, self.requests = self.endpoint, self.requests + 1
        status = endpoint.status(unquote_to_bytes(self.url.removeprefix(PATH)), time.monotonic())
        if status == "silent":
            return
        closes = 0 < endpoint.settings.close_after <= self.requests
        if delay_s := endpoint.delay_s():
            self.loop.call_later(delay_s, self._answer, status, closes)
        else:
            self._answer(status, closes)

    def _answer(self, status, closes):
        if status == "reset":
            self.transport.abort()
            return
        self.transport.write(self.endpoint.responses[status, closes])
        if closes:
            self.transport.close()
        else:
            self._rest()

    def _rest(self):
        if self.endpoint.settings.idle_s:
            self.idle = self.loop.call_later(self.endpoint.settings.idle_s, self.transport.close)


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
        orders = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        while order := await orders.readline():
            answer = endpoint.report()
            if order.strip() == b"clear":
                endpoint.clear()
            print(json.dumps(answer), flush=True)


class Gateway:
    """The endpoint's process, seen from outside. `url` is the stage's; `ca_file` is whom to trust, None without TLS."""

    def __init__(self, process: subprocess.Popen, url: str, ca_file: Path | None):
        self._process, self.url, self.ca_file = process, url, ca_file

    def report(self) -> dict:
        """What it has counted since it was cleared. See `Endpoint.report`."""
        return self._ask("report")

    def clear(self) -> dict:
        """The report, after which all counts are 0 and all buckets full."""
        return self._ask("clear")

    def cpu_s(self) -> float:
        """Seconds of CPU that its process has taken, user and system."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def _ask(self, order):
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def run(settings: Settings | None = None) -> Iterator[Gateway]:
    """The endpoint in a process of its own, on a free port of 127.0.0.1."""
    settings = settings or Settings()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.api_gateway", json.dumps(asdict(settings)), folder]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
        )
        try:
            port = json.loads(process.stdout.readline())["port"]
            scheme = "https" if settings.tls else "http"
            ca_file = Path(folder) / "ca.pem" if settings.tls else None
            yield Gateway(process, f"{scheme}://127.0.0.1:{port}/production", ca_file)
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    chosen["quotas"] = tuple(map(tuple, chosen["quotas"]))
    uvloop.run(serve(Settings(**chosen), Path(sys.argv[2])))
