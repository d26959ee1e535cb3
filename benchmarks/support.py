"""What the benchmarks share: a chat to measure, and processes that post to an endpoint."""

import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks.endpoint import Gateway, child
from chatlab import Lab, LabError, local_cloud
from chatlab.fanout import POOLS, ConnectionPool, Fanout, close_pools
from chatlab.settings import DEFAULT_NAME, Settings

# --- a chat to measure -----------------------------------------------------------------------------------------------


@contextmanager
def deployed_chat(name: str = DEFAULT_NAME) -> Iterator[Lab]:
    """A chat of this name on a local cloud of its own: the notebooks build it, and the cloud is stopped at the end.

    Raises:
        LabError: in one sentence, if a notebook fails.
    """
    # It takes a second and more, for which a sender's process need not wait.
    from chatlab.notebooks import BUILD, DEPLOY, FASTER, execute

    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, CHATLAB_HOME=folder):
        os.environ.pop("CHATLAB_RUN", None)
        try:
            for notebook in (*BUILD[:-1], FASTER):  # all but the page
                saved, only = Path(folder) / f"{notebook}.ipynb", DEPLOY if notebook == FASTER else ""
                outcome = execute(notebook, saved, Settings(name=name).parameters, only=only)
                if not outcome.ok:
                    raise LabError(f"{notebook}, {outcome.reason}")
            yield Lab.load()
        finally:
            local_cloud.stop()


# --- senders ---------------------------------------------------------------------------------------------------------

DATA = b"." * 200
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",  # AWS's own example; the endpoint checks no signature
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def sender_environment(gateway: Gateway) -> dict[str, str]:
    """The environment variables of a sender to this endpoint, which is on loopback."""
    trusted = {"AWS_CA_BUNDLE": str(gateway.ca_file)} if gateway.ca_file else {}
    return CREDENTIALS | {"APIGatewayEndpoint": gateway.url} | trusted


@contextmanager
def sending_to(gateway: Gateway) -> Iterator[None]:
    """Let this process be a sender to this endpoint."""
    with patch.dict(os.environ, sender_environment(gateway)):
        yield


class FixedConnections(ConnectionPool):
    """A number of connections that is given in advance."""

    def __init__(self, number: int, endpoint: str) -> None:
        super().__init__(endpoint)
        self.max_connections = self.first_window = number

    def missing(self, posts: int, rate: float) -> int:
        """How many are not there yet."""
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
    """Broadcast to `number` ids, within `seconds`.

    Args:
        is_cold: whether over new connections, which `make_pool` makes for an endpoint.
        rate: the share of the quota in posts a second, for all invocations together; None if it is not known.
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
    """boto3's client, with these options of botocore's `Config`."""
    url, trusted = os.environ["APIGatewayEndpoint"], os.environ["AWS_CA_BUNDLE"]
    return boto3.client("apigatewaymanagementapi", endpoint_url=url, verify=trusted, config=Config(**options))


def boto3_posts(name: str, number: int, threads: int = 16, mode: str = "adaptive", warm_up: int = 0) -> Sent:
    """Post with boto3, in threads; "adaptive" is its answer to throttles. `warm_up` more go first, untimed."""
    client = boto3_client(max_pool_connections=threads, retries={"mode": mode, "total_max_attempts": 4})

    def deliver(n: int) -> str | None:
        try:
            client.post_to_connection(ConnectionId=f"{name}-{n}", Data=DATA)
        except ClientError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(deliver, range(number, number + warm_up)))
        started = time.perf_counter()
        errors = [error for error in pool.map(deliver, range(number)) if error]
    return Sent(number - len(errors), time.perf_counter() - started, errors[-1] if errors else None)


def post_politely(posts_per_s: float, stop: threading.Event) -> None:
    """Be a client that posts steadily and tries nothing again, until it has to stop."""
    client, number, due = boto3_client(retries={"total_max_attempts": 1}), 0, time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        due, number = due + 1 / posts_per_s, number + 1
        with suppress(ClientError):  # the endpoint counts it
            client.post_to_connection(ConnectionId=f"polite-{number}", Data=DATA)


Sender = Callable[[str, int], Sent]
"""Posts to a number of ids that begin with a name."""
Task = tuple[dict[str, str], float, Sender, str, int]
"""Environment variables, when to begin (by `time.time()`), what to call, and its arguments."""
Invocation: TypeAlias = "Connection[Task, Sent]"
"""A process that does one task after another, as an invocation of a function is one; seen from outside."""


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
    """Start `number` processes that wait for tasks."""
    with ExitStack() as stack:
        pipes = [stack.enter_context(child(_work)) for _ in range(number)]
        for pipe in pipes:
            pipe.recv()
        yield pipes


def run_together(pipes: list[Invocation], gateway: Gateway, sender: Sender, ids: int) -> list[Sent]:
    """Run all of these invocations at once, each with its part of the ids: what each says of it."""
    begin_at = time.time() + 0.5
    for number, pipe in enumerate(pipes):
        part = ids // len(pipes) + (number < ids % len(pipes))
        pipe.send((sender_environment(gateway), begin_at, sender, f"s{number}", part))
    return [pipe.recv() for pipe in pipes]
