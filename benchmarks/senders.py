"""Who posts to `benchmarks.api_gateway`: the broadcast, as invocations that are a process each, and boto3.

Nothing is sent anywhere else: the endpoint is on loopback, and the credentials are AWS's example.
"""

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks.api_gateway import Gateway
from benchmarks.children import child
from benchmarks.functions import POOLS, ConnectionPool, Fanout, close_pools

DATA = b"." * 200
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",  # AWS's own example; the endpoint checks no signature
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def sender_environment(gateway: Gateway) -> dict[str, str]:
    """The environment variables of who posts to this endpoint."""
    trusted = {"AWS_CA_BUNDLE": str(gateway.ca_file)} if gateway.ca_file else {}
    return CREDENTIALS | {"APIGatewayEndpoint": gateway.url} | trusted


class LimitedConnections(ConnectionPool):
    """At most so many connections, and posts in flight."""

    def __init__(self, number: int, endpoint: str) -> None:
        super().__init__(endpoint)
        self.max_connections = number


class FixedConnections(LimitedConnections):
    """A number of connections that is given in advance."""

    def __init__(self, number: int, endpoint: str) -> None:
        super().__init__(number, endpoint)
        self.first_window = number

    def missing(self, posts: int, rate: float) -> int:
        """So many as are not there yet."""
        return min(self.max_connections, posts) - len(self.all)


@dataclass(frozen=True)
class Sent:
    """What a sender says of its posts."""

    delivered: int
    seconds: float
    error: str | None
    """The last one."""
    counts: dict[str, int] = field(default_factory=dict)
    """Of the broadcast: the figures of `fanout.Outcome`."""
    cpu_ms: float = 0.0
    """CPU time of one post."""
    kept: int = 0
    """Connections that are open for the next broadcast."""


def post(
    name: str,
    number: int,
    is_cold: bool,
    seconds: float = 120.0,
    rate: float | None = None,
    invocations: int = 1,
    make_pool: Callable[[str], ConnectionPool] = ConnectionPool,
) -> Sent:
    """Broadcast to so many ids, within so many seconds, with so much of the quota for all invocations together.

    With `is_cold`, over new connections. `make_pool` makes those of an endpoint.
    """
    url = os.environ["APIGatewayEndpoint"]
    if is_cold or url not in POOLS:
        close_pools()
        POOLS[url] = make_pool(url)
    cpu_s, started = time.process_time(), time.perf_counter()
    with Fanout(DATA, time.monotonic() + seconds, rate, invocations) as fanout:
        fanout.post([f"{name}-{n}" for n in range(number)])
    took_s = time.perf_counter() - started
    cpu_ms = (time.process_time() - cpu_s) * 1000 / number
    outcome = fanout.outcome
    counts = {name: count for name, count in vars(outcome).items() if isinstance(count, int)}
    return Sent(outcome.delivered, took_s, outcome.error, counts, cpu_ms, len(POOLS[url].idle))


def boto3_client(**options: Any) -> Any:  # boto3 makes the classes of its clients at run time
    """The client that everybody else posts with; the options are those of botocore's `Config`."""
    config = Config(**options)
    url, trusted = os.environ["APIGatewayEndpoint"], os.environ["AWS_CA_BUNDLE"]
    return boto3.client("apigatewaymanagementapi", endpoint_url=url, verify=trusted, config=config)


def boto3_rate(number: int, threads: int) -> float:
    """Posts a second of boto3, one after another or in threads."""
    client = boto3_client(max_pool_connections=threads, retries={"mode": "standard", "total_max_attempts": 4})

    def deliver(n: int) -> None:
        client.post_to_connection(ConnectionId=f"boto3-{n}", Data=DATA)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(deliver, range(threads)))  # connections
        started = time.perf_counter()
        list(pool.map(deliver, range(number)))
    return number / (time.perf_counter() - started)


def boto3_adaptive(name: str, number: int, threads: int = 16) -> Sent:
    """boto3's own answer to throttles, in threads."""
    client = boto3_client(max_pool_connections=threads, retries={"mode": "adaptive", "total_max_attempts": 4})
    started = time.perf_counter()

    def deliver(n: int) -> str | None:
        try:
            client.post_to_connection(ConnectionId=f"{name}-{n}", Data=DATA)
        except ClientError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(threads) as pool:
        errors = [error for error in pool.map(deliver, range(number)) if error]
    return Sent(number - len(errors), time.perf_counter() - started, errors[-1] if errors else None)


def polite(posts_per_s: float, stop: threading.Event) -> None:
    """A client that posts steadily and tries nothing again, until it has to stop."""
    client, number = boto3_client(retries={"total_max_attempts": 1}), 0
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        due, number = due + 1 / posts_per_s, number + 1
        try:
            client.post_to_connection(ConnectionId=f"polite-{number}", Data=DATA)
        except ClientError:
            continue  # the endpoint counts it


Sender = Callable[[str, int], Sent]
"""Posts to so many ids that begin with this name."""
Task = tuple[dict[str, str], float, Sender, str, int]
"""Environment variables, when to begin (by `time.time()`), what to call, and its arguments."""
Invocation: TypeAlias = "Connection[Task, Sent]"
"""A process that does one task after another; seen from outside."""


def _work(pipe: "Connection[Sent | None, Task]") -> None:
    gc.freeze()  # as the function does
    with suppress(EOFError, BrokenPipeError):  # the other end has ended
        pipe.send(None)  # begun: importing has taken a second of CPU
        while True:
            variables, begin_at, sender, name, number = pipe.recv()
            os.environ |= variables
            time.sleep(max(0.0, begin_at - time.time()))
            pipe.send(sender(name, number))


@contextmanager
def invocations(number: int) -> Iterator[list[Invocation]]:
    """So many processes."""
    with ExitStack() as stack:
        pipes = [stack.enter_context(child(_work)) for _ in range(number)]
        for pipe in pipes:
            pipe.recv()
        yield pipes


def run_together(pipes: list[Invocation], gateway: Gateway, sender: Sender, ids: int) -> list[Sent]:
    """All of these invocations at once, each with its part of the ids: what each says of it."""
    begin_at = time.time() + 0.5
    for number, pipe in enumerate(pipes):
        part = ids // len(pipes) + (number < ids % len(pipes))
        pipe.send((sender_environment(gateway), begin_at, sender, f"s{number}", part))
    return [pipe.recv() for pipe in pipes]
