"""Compare ways to broadcast: `python -m benchmarks.broadcasts`.

On a local cloud of its own, the notebooks build the chat. Then its broadcast is replaced again and again: by boto3
posting to one connection after another, and by the chat's own (notebook 07 measures what is between the two). The load
test measures each at several numbers of connections. Beside them stands the local cloud's ceiling: how fast a bare
client makes the same posts. They take turns, since a machine is not equally fast all the time. The chat's broadcast has
to come near to the ceiling. How much sooner its last delivery comes has no bound, since the local cloud's own time for
a post is most of it.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pandas as pd
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.endpoint import child
from benchmarks.support import deployed_chat
from chatlab import Lab, LabError, packages, poll
from chatlab.signals import exit_status
from loadtest import live, results
from loadtest.calibration.bounds import Bounds, add_options, report

HANDLERS = {
    "sequential": packages.HANDLERS["default"],
    "fanout": packages.FAST,
    "ceiling": "lambda_ceiling.handler",
}
"""The broadcasts that are compared. The first two are the chat's own, in one deployment package."""

RATES = {"sequential": 0.33, "fanout": 0.8}
"""Broadcasts a second, low enough for each to end before the next one begins."""
BROADCASTS = 4
"""Of each variant in a round, to each number of connections."""
CEILING_SHARE = 0.85
"""How much of the posts a second that a bare client makes the fan-out has to make, at least."""


def deploy(lab: Lab, variant: str) -> None:
    """Make `variant` the chat's broadcast."""
    files = packages.read_files(*packages.PARTS["default"])
    if variant == "ceiling":
        name = "lambda_ceiling.py"
        files[name] = (Path(__file__).parent / "lambdas" / name).read_bytes()
    packages.deploy(lab, "default", packages.build_zip(files), HANDLERS[variant])


def measure(lab: Lab, variant: str, steps: list[int], folder: Path) -> pd.DataFrame:
    """Deploy a variant and measure it with the load test: a row for each broadcast, without the warm-up's.

    Columns: `variant`, `connections`, and `last_ms`, from due to the last delivery.

    Raises:
        LoadTestError: in one sentence, if the load test fails, or if a delivery is missing.
    """
    deploy(lab, variant)
    process = live.begin(
        lab.websocket_url(lab.require_api()), folder,
        shape="steps", steps=",".join(map(str, steps)), spawn_rate=200, speakers=3, warm_up=1,
        broadcasts=BROADCASTS, broadcast_rate=RATES[variant], payload_bytes=200, drain_time=60,  # late is not missing
    )  # fmt: skip
    live.watch(process, folder)
    wait_for_empty_table(lab)
    rows = results.load(folder).broadcasts.query("not warm_up")
    return pd.DataFrame({"variant": variant, "connections": rows["expected"], "last_ms": rows["last_ms"]})


def wait_for_empty_table(lab: Lab) -> None:
    """Wait until everybody has left: an item without a connection would cost the next broadcast a post."""
    scan = lab.client("dynamodb").scan
    poll(lambda: not scan(TableName=lab.table, Limit=1, ConsistentRead=True)["Items"], "the table to be empty")


@contextlib.contextmanager
def open_connections(url: str, number: int) -> Iterator[None]:
    """Hold `number` connections open in a process of its own, which reads their messages and drops them.

    Raises:
        LabError: in one sentence, if not all of them can be opened, or if one closes before the end.
    """

    def check(timeout_s: float) -> None:
        if problem := pipe.recv() if pipe.poll(timeout_s) else "there is no answer":
            raise LabError(f"{number} connections can't be held open: {problem}.")

    with child(_hold_open, url, number) as pipe:
        check(30 + number / 20)
        yield
        pipe.send("close")
        check(5)


def _hold_open(pipe: "Connection[str | None, str]", url: str, number: int) -> None:
    """Sends None when all are open, and again when they were until the other end sent something; or what is wrong."""
    with contextlib.suppress(BrokenPipeError):  # that process has ended
        try:
            uvloop.run(_receive(url, number, pipe))
        except (OSError, WebSocketException) as error:
            pipe.send(f"{error}".rstrip("."))


async def _receive(url: str, number: int, pipe: "Connection[str | None, str]") -> None:
    close = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), close.set)  # also if the process at the other end has ended
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(close.wait())]
    for _ in range(number):
        tasks.append(asyncio.create_task(_drop_messages(await connect(url, compression=None, ping_interval=None))))
    pipe.send(None)
    for task in (await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))[0]:
        await task
    pipe.send(None)


async def _drop_messages(websocket: ClientConnection) -> None:
    while True:  # until it is closed, which is raised
        await websocket.recv()


def posts_per_second(lab: Lab, variant: str, invocations: int) -> list[float]:
    """Deploy a variant, and read in its log how fast it posts to the connections that there are, once warmed up.

    Raises:
        LabError: if it did not reach all of them.
    """
    deploy(lab, variant)
    event = {"requestContext": {"connectionId": "benchmark"}, "body": "." * 200, "isBase64Encoded": False}
    rates = []
    for _ in range(invocations + 1):
        response = lab.client("lambda").invoke(
            FunctionName=lab.functions["default"], Payload=json.dumps(event), LogType="Tail"
        )
        tail = base64.b64decode(response.get("LogResult", "")).decode().splitlines()
        log = json.loads(next((line for line in reversed(tail) if line.startswith("{")), "{}"))
        if not log.get("delivered") or log["delivered"] != log["connections"]:
            raise LabError(f"The broadcast {variant!r} did not reach everyone: {log or response['Payload'].read()}")
        rates.append(log["delivered"] / log["post_ms"] * 1000)
    return rates[1:]


def last_delivery_ratio(broadcasts: pd.DataFrame) -> float:
    """The fan-out's median time to last delivery over the sequential broadcast's, at the most connections."""
    largest = broadcasts[broadcasts["connections"] == broadcasts["connections"].max()]
    median = largest.groupby("variant")["last_ms"].median()
    return float(median["fanout"] / median["sequential"])


def ceiling_ratio(posts: pd.DataFrame) -> float:
    """The fan-out's posts a second over the ceiling's: the median of the rounds, in which they followed closely."""
    by_round = posts.pivot_table(index="round", columns="variant", values="posts_per_s", aggfunc="median")
    return float((by_round["fanout"] / by_round["ceiling"]).median())


def summary(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Median and spread of a column, by connections and variant."""
    groups = rows.groupby([name for name in ("connections", "variant") if name in rows], sort=False)[value]
    table = pd.DataFrame({"median": groups.median(), "p10": groups.quantile(0.1), "p90": groups.quantile(0.9)})
    return table.assign(n=groups.size())


def compare(rounds: int, connections: list[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure all of `RATES` in turn, round after round: the rows of `measure`, and posts a second to the largest room.

    The second table has a row for each invocation of the fan-out and of the ceiling: `variant`, `round` and
    `posts_per_s`. These two take turns three times as often, right after each other.
    """
    heard, posts = [], []
    with deployed_chat() as lab:
        for number in range(rounds):
            for variant in RATES:
                print(f"Round {number + 1}: {variant} …", flush=True)
                with tempfile.TemporaryDirectory() as folder:
                    rows = measure(lab, variant, connections, Path(folder))
                heard.append(rows.assign(round=number))
        with open_connections(lab.websocket_url(lab.require_api()), connections[-1]):
            for number in range(3 * rounds):
                for variant in ("ceiling", "fanout"):
                    rates = posts_per_second(lab, variant, 3)
                    posts.append(pd.DataFrame({"variant": variant, "round": number, "posts_per_s": rates}))
    return pd.concat(heard, ignore_index=True), pd.concat(posts, ignore_index=True)


def main(arguments: list[str] | None = None) -> int:
    """Measure all variants in turn.

    Raises:
        LoadTestError: with `--check`, if a bound does not hold.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.broadcasts", description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="Turns of each variant (default: 3)")
    parser.add_argument("--connections", type=int, nargs="+", default=[100, 500, 1_000], metavar="N")
    options = parser.parse_args(arguments)
    largest = options.connections[-1]
    broadcasts, posts = compare(options.rounds, options.connections)
    bounds = Bounds()
    bounds.at_least("fanout's posts a second / the ceiling's", ceiling_ratio(posts), CEILING_SHARE)

    print(f"\nTime to last delivery, ms:\n{summary(broadcasts, 'last_ms').round(1).to_string()}")
    print(f"\nPosts a second, to {largest:,} connections:\n{summary(posts, 'posts_per_s').round().to_string()}")
    print(
        f"\nAt {largest:,} connections fanout takes {last_delivery_ratio(broadcasts):.2f} of the sequential "
        f"broadcast's time to last delivery, and posts {ceiling_ratio(posts):.2f} of what a bare client can."
    )
    report(bounds, options.json, options.check, broadcasts=broadcasts, posts=posts)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
