"""An `@connections` endpoint that answers as AWS does: over TLS, after a delay, under quotas, and for bad clients.

The local cloud answers in a third of a millisecond over plain HTTP and never throttles, so it teaches nothing about a
broadcast under a quota. Here, what each id got and what was refused is the endpoint's count and not the sender's word.
It checks no signature.

It runs as a process of its own, on loopback, for as long as its `with` block lasts:

    with run_endpoint(Settings(quotas=[(2_000, 1_000)])) as gateway:
        ...                                    # post to gateway.url, trusting gateway.ca_file
        gateway.report()["refused"]
"""

import asyncio
import contextlib
import gc
import json
import multiprocessing
import os
import random
import socket
import ssl
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import unquote_to_bytes

import httptools
import psutil
import trustme
import uvloop

from chatlab.signals import children_uninterrupted

PATH = b"/production/@connections/"

PHRASES = {200: "OK", 410: "Gone", 429: "Too Many Requests", 500: "Internal Server Error"}
SLOT_S = 0.05
ERRORS = {410: "GoneException", 429: "LimitExceededException", 500: "InternalServerErrorException"}


@dataclass(frozen=True)
class Settings:
    """What the endpoint does. Shares are of the connection ids: an id is gone, full, or silent, each time."""

    tls: bool = True
    delay_ms: float = 8.0
    """Mean time until a response; 0 responds at once."""
    spread_ms: float = 2.0
    """Its standard deviation."""
    quotas: tuple[tuple[float, float], ...] = ()
    """Token buckets, each as (posts a second, burst): a post needs a token of every one, or is answered 429."""
    drained: tuple[float, float] | None = None
    """From when to when, in seconds after the first post, others take all tokens; (0, 0): the first post finds none."""
    refused: tuple[float, float] = (0.0, 0.0)
    """The share of all posts that is answered 429 whatever is in the buckets, and for how many seconds."""
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
    """What a response of 200 holds: with a service's own, in JSON, the endpoint stands for that service."""


class Report(TypedDict):
    """What the endpoint has counted."""

    posts: int
    refused: int
    """Those answered 429."""
    delivered: int
    """Ids that got the message."""
    doubled: int
    """Ids that got it more than once."""
    posts_by_sender: dict[str, int]
    """By what an id has before its first hyphen."""
    refused_by_sender: dict[str, int]
    opened: int
    """Connections."""
    accepted_by_slot: list[int]
    """Posts that were not answered 429, in each `SLOT_S` since the first post."""


class TokenBucket:
    """A token bucket, as API Gateway's quota is one."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate, self.burst, self.tokens, self.updated_at = rate, burst, burst, now

    def has_token(self, now: float) -> bool:
        """Whether a token is there; `acquire` takes it."""
        self.tokens = min(self.burst, self.tokens + (now - self.updated_at) * self.rate)
        self.updated_at = now
        return self.tokens >= 1

    def acquire(self) -> None:
        """Take a token."""
        self.tokens -= 1

    def drain(self, now: float) -> None:
        """Take all tokens."""
        self.tokens, self.updated_at = 0.0, now


class Endpoint:
    """The answer to each post, and the counts, for all connections."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.random = settings, random.Random(1)
        self.responses: dict[tuple[int | str, bool], bytes] = {
            (status, closes): response(status, closes, settings.body) for status in PHRASES for closes in (False, True)
        }
        self.clear()

    def clear(self) -> None:
        """Full buckets, and nothing counted."""
        now = time.monotonic()
        self.buckets = [TokenBucket(rate, burst, now) for rate, burst in self.settings.quotas]
        self.delivered: Counter[bytes] = Counter()
        self.posts: Counter[bytes] = Counter()
        self.refused: Counter[bytes] = Counter()
        self.accepted: Counter[int] = Counter()
        self.throttled, self.opened, self.first_s = 0, 0, 0.0

    def kind(self, connection_id: bytes) -> str:
        """What becomes of posts to this id: drawn once, by the id itself."""
        drawn = zlib.crc32(connection_id) / 2**32
        for kind in ("gone", "error", "reset", "silent", "full"):
            if (drawn := drawn - getattr(self.settings, kind)) < 0:
                return kind
        return "here"

    def status(self, connection_id: bytes, now: float) -> int | str:
        """Decide on a post, and count it: a status, "reset" or "silent"."""
        self.first_s = self.first_s or now
        sender = connection_id.partition(b"-")[0]
        self.posts[sender] += 1
        since_s, drained, (refused, refused_s) = now - self.first_s, self.settings.drained, self.settings.refused
        if drained and drained[0] <= since_s <= drained[1]:
            for bucket in self.buckets:
                bucket.drain(now)
        is_refused = since_s < refused_s and self.random.random() < refused
        if is_refused or not all([bucket.has_token(now) for bucket in self.buckets]):
            self.refused[sender] += 1
            answer: int | str = 429
        else:
            self.accepted[int(since_s / SLOT_S)] += 1
            for bucket in self.buckets:
                bucket.acquire()
            kind = self.kind(connection_id)
            answer = {"here": 200, "gone": 410, "full": 429, "error": 500}.get(kind, kind)
            if answer == 200:
                self.delivered[connection_id] += 1
        self.throttled += answer == 429
        return answer

    def delay_s(self) -> float:
        """Seconds until a response."""
        mean, spread = self.settings.delay_ms, self.settings.spread_ms
        return max(0.0, self.random.gauss(mean, spread)) / 1000 if mean else 0.0

    def report(self) -> Report:
        """What was counted since the beginning, or since `clear`."""
        return {
            "posts": sum(self.posts.values()),
            "refused": self.throttled,
            "delivered": len(self.delivered),
            "doubled": sum(count > 1 for count in self.delivered.values()),
            "posts_by_sender": {name.decode(): count for name, count in self.posts.items()},
            "refused_by_sender": {name.decode(): count for name, count in self.refused.items()},
            "opened": self.opened,
            "accepted_by_slot": [self.accepted[slot] for slot in range(max(self.accepted, default=-1) + 1)],
        }


def response(status: int, closes: bool, content: str) -> bytes:
    """An HTTP response as API Gateway writes it."""
    body = content.encode() if status == 200 else json.dumps({"message": PHRASES[status], "connectionId": "x"}).encode()
    kind = f"x-amzn-ErrorType: {ERRORS[status]}\r\n" if status in ERRORS else ""
    keep = "close" if closes else "keep-alive"
    return (
        f"HTTP/1.1 {status} {PHRASES[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"{kind}x-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\nConnection: {keep}\r\n\r\n"
    ).encode() + body


# --- its process ------------------------------------------------------------------------------------------------------


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


async def _serve(settings: Settings, folder: Path, pipe: "Pipe[Any, str]") -> None:
    gc.disable()  # a collection would be a pause that no network has; what is left of a connection is small
    loop, endpoint, ended, tls = asyncio.get_running_loop(), Endpoint(settings), asyncio.Event(), None
    if settings.tls:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(tls)

    def answer() -> None:
        try:
            request = pipe.recv()
        except EOFError:
            ended.set()
            return
        pipe.send(endpoint.report())
        if request == "clear":
            endpoint.clear()

    loop.add_reader(pipe.fileno(), answer)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    async with await loop.create_server(lambda: Connection(endpoint, loop), sock=listener, ssl=tls):
        pipe.send((os.getpid(), listener.getsockname()[1]))
        await ended.wait()


def serve(pipe: "Pipe[Any, str]", settings: Settings, folder: Path) -> None:
    """Serve, with the certificate in `folder`, until the pipe ends; answers "report" and "clear" from there."""
    uvloop.run(_serve(settings, folder, pipe))


@dataclass(frozen=True)
class Gateway:
    """The endpoint's process, seen from outside."""

    pipe: "Pipe[str, Any]"
    process: psutil.Process
    url: str
    """The stage's."""
    ca_file: Path | None
    """Whom to trust; None without TLS."""

    def report(self) -> Report:
        """What it has counted since it was cleared."""
        return self._ask("report")

    def clear(self) -> Report:
        """The report, after which all counts are 0 and all buckets full."""
        return self._ask("clear")

    def cpu_s(self) -> float:
        """Seconds of CPU that its process has taken, user and system."""
        times = self.process.cpu_times()
        return times.user + times.system

    def _ask(self, request: str) -> Report:
        self.pipe.send(request)
        report: Report = self.pipe.recv()
        return report


@contextlib.contextmanager
def run_endpoint(settings: Settings) -> Iterator[Gateway]:
    """The endpoint in a process of its own, on a free port of 127.0.0.1."""
    with tempfile.TemporaryDirectory() as folder, child(serve, settings, Path(folder)) as pipe:
        pid, port = pipe.recv()
        url = f"{'https' if settings.tls else 'http'}://127.0.0.1:{port}/production"
        yield Gateway(pipe, psutil.Process(pid), url, Path(folder) / "ca.pem" if settings.tls else None)


@contextlib.contextmanager
def child(target: Callable[..., None], *arguments: object) -> Iterator["Pipe[Any, Any]"]:
    """Call `target(pipe, *arguments)` in a new process; yields the pipe's other end. The process has to end with it.

    Ctrl-C is for this process alone.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    resource_tracker.ensure_running()  # otherwise the first process starts it, which lets Ctrl-C in again
    with children_uninterrupted():
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(5)
        process.kill()
        process.join()
