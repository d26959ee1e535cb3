"""Who posts to `benchmarks.api_gateway`: the broadcast, as invocations that are a process each, and boto3.

Nothing is sent anywhere else: the endpoint is on loopback, and the credentials are AWS's example.
"""

import gc
import multiprocessing
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

sys.path.insert(0, str(Path(__file__).parent.parent / "lambdas"))
import fanout
import http_pool

DATA = b"." * 200
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",  # AWS's own example; the endpoint checks no signature
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def at(gateway):
    """What a sender's environment says of the endpoint."""
    return {"APIGatewayEndpoint": gateway.url} | ({"AWS_CA_BUNDLE": str(gateway.ca_file)} if gateway.ca_file else {})


class FixedFanout(fanout.Fanout):
    """The broadcast with a number of connections that is given in advance."""

    number = 0

    def _open_connections(self, now):
        self._under_way = self.number
        while len(self._connections) < min(self.number, self.counts["connections"]) and self._open(now):
            pass


def post(name, number, is_cold, seconds=120, rate=None, invocations=1, kind=fanout.Fanout, most=400):
    """Broadcast to so many ids; a dict of what it took, of its own counts, and how many connections it has kept.

    `most` posts may be under way at a time.
    """
    fanout.MAX_CONNECTIONS = most
    if is_cold:
        http_pool.connection_pool.cache_clear()
    cpu, started = time.process_time(), time.perf_counter()
    with kind(DATA, time.monotonic() + seconds, rate, invocations) as posts:
        posts.post([f"{name}-{n}" for n in range(number)])
    took = time.perf_counter() - started
    cpu_ms = (time.process_time() - cpu) * 1000 / number
    kept = len(http_pool.connection_pool(os.environ["APIGatewayEndpoint"]).idle)
    return dict(posts.counts) | {"error": posts.error, "seconds": took, "cpu_ms": cpu_ms, "kept": kept}


def boto3_client(**options):
    """The client that everybody else posts with."""
    config = Config(**options)
    url, trusted = os.environ["APIGatewayEndpoint"], os.environ["AWS_CA_BUNDLE"]
    return boto3.client("apigatewaymanagementapi", endpoint_url=url, verify=trusted, config=config)


def boto3_rate(number, threads):
    """Posts a second of boto3, one after another or in threads."""
    client = boto3_client(max_pool_connections=threads, retries={"mode": "standard", "total_max_attempts": 4})

    def deliver(n):
        client.post_to_connection(ConnectionId=f"boto3-{n}", Data=DATA)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(deliver, range(threads)))  # connections
        started = time.perf_counter()
        list(pool.map(deliver, range(number)))
    return number / (time.perf_counter() - started)


def boto3_adaptive(name, number, threads=16):
    """boto3's own answer to throttles, in threads: a dict as `post`'s, as far as boto3 tells."""
    client = boto3_client(max_pool_connections=threads, retries={"mode": "adaptive", "total_max_attempts": 4})
    started = time.perf_counter()

    def deliver(n):
        try:
            client.post_to_connection(ConnectionId=f"{name}-{n}", Data=DATA)
        except ClientError as error:
            return str(error)

    with ThreadPoolExecutor(threads) as pool:
        errors = [error for error in pool.map(deliver, range(number)) if error]
    seconds = time.perf_counter() - started
    return {"delivered": number - len(errors), "error": errors[-1] if errors else None, "seconds": seconds}


def polite(per_second, until):
    """A client that posts steadily and tries nothing again, until `until()`."""
    client, number = boto3_client(retries={"total_max_attempts": 1}), 0
    due = time.monotonic()
    while not until():
        time.sleep(max(0.0, due - time.monotonic()))
        due, number = due + 1 / per_second, number + 1
        try:
            client.post_to_connection(ConnectionId=f"polite-{number}", Data=DATA)
        except ClientError:
            continue  # the endpoint counts it


def _work(pipe):
    """Do what is asked for, until nothing is: (environment, when, function, arguments, named arguments)."""
    gc.freeze()  # as the function does
    pipe.send(None)  # begun: importing has taken a second of CPU
    while task := pipe.recv():
        environment, at_s, function, arguments, named = task
        os.environ |= environment
        time.sleep(max(0.0, at_s - time.time()))
        pipe.send(function(*arguments, **named))


@contextmanager
def invocations(number):
    """So many processes that do what they are asked for, as pipes."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for _ in range(number):
            ours, theirs = context.Pipe()
            processes.append(context.Process(target=_work, args=(theirs,), daemon=True))
            processes[-1].start()
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        yield pipes
    finally:
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join(10)
            process.kill()


def together(pipes, gateway, function, ids, *arguments, **named):
    """All of these at once, each with its part of the ids: what each has returned.

    `function` is called with a name, a number of ids, and the rest of the arguments.
    """
    begin = time.time() + 0.5
    for number, pipe in enumerate(pipes):
        part = ids // len(pipes) + (number < ids % len(pipes))
        pipe.send((ENVIRONMENT | at(gateway), begin, function, (f"s{number}", part, *arguments), named))
    return [pipe.recv() for pipe in pipes]
