"""Compare ways to broadcast: `python -m benchmarks.broadcasts`.

On a local cloud of its own, the notebooks build the chat. Then its broadcast is replaced again and again: by boto3
posting to one connection after another, by the same in threads, and by `lambdas/fanout.py`. The load test measures each
at several numbers of connections. Beside them stands the local cloud's ceiling: what a bare client makes of the same
posts. They take turns, since a machine is not equally fast all the time. Bounded is how much of what the local cloud
can do is used. How much sooner the last delivery comes is told without one, since the local cloud's own
time for a post is most of it.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import uvloop
from matplotlib.figure import Figure
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from benchmarks.bounds import Bounds, save
from chatlab import Lab, LabError, local_cloud, packages, poll
from chatlab.paths import LAMBDAS, ROOT
from chatlab.settings import DEFAULT_NAME, Settings
from chatlab.signals import exit_status
from loadtest import live, plots, results

VARIANTS = LAMBDAS / "variants"
FILES = {
    "sequential": {"lambda_default.py": VARIANTS / "sequential.py"},
    "threads": {"lambda_default.py": VARIANTS / "threads.py", "sequential.py": VARIANTS / "sequential.py"},
    "fanout": {name: LAMBDAS / name for name in packages.BROADCAST},
    "ceiling": {"lambda_default.py": VARIANTS / "ceiling.py", "sigv4.py": LAMBDAS / "sigv4.py"},
}
"""What the broadcast's deployment package holds, for each variant."""

RATES = {"sequential": 0.33, "threads": 0.33, "fanout": 0.8}
"""Broadcasts a second, low enough for each to end before the next one begins."""
CEILING_SHARE = 0.85
"""How much of the posts a second that a bare client makes the fan-out has to make, at least."""
COLORS = {"sequential": plots.ORANGE, "threads": plots.GREY, "fanout": plots.BLUE}


def package(variant: str) -> bytes:
    """A variant's deployment package, for `update_function_code`: the bytes of a zip file."""
    return packages.build_zip(FILES[variant])


def deploy(lab: Lab, variant: str) -> None:
    """Make `variant` the chat's broadcast."""
    functions, function = lab.client("lambda"), lab.functions["default"]
    functions.update_function_code(FunctionName=function, ZipFile=package(variant))
    functions.get_waiter("function_updated_v2").wait(FunctionName=function)


def measure(lab: Lab, variant: str, steps: list[int], broadcasts: int, folder: Path) -> pd.DataFrame:
    """Deploy a variant and measure it with the load test: a row for each broadcast, without the warm-up's.

    Columns: `variant`, `connections`, `last_ms` (from due to the last delivery) and `posts_per_s`, between the first
    delivery and the last.

    Raises:
        LoadTestError: in one sentence, if the load test fails.
        LabError: in one sentence, if a delivery is missing.
    """
    deploy(lab, variant)
    command = [
        *[sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless"],
        *["--host", lab.websocket_url(lab.require_api()), "--shape", "steps", "--steps", ",".join(map(str, steps))],
        *["--spawn-rate", "200", "--speakers", "3", "--warm-up", "1", "--broadcasts", f"{broadcasts}"],
        *["--broadcast-rate", f"{RATES[variant]}", "--payload-bytes", "200", "--results", f"{folder}"],
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    live.watch(process, folder)
    everyone_has_left(lab)
    rows = results.load(folder).broadcasts.query("not warm_up")
    spread_s = (rows["last_ms"] - rows["first_ms"]) / 1000
    return pd.DataFrame(
        {
            "variant": variant,
            "connections": rows["expected"],
            "last_ms": rows["last_ms"],
            "posts_per_s": (rows["expected"] - 1) / spread_s,
        }
    )


def everyone_has_left(lab: Lab) -> None:
    """Wait until the table is empty: an item without a connection would cost the next broadcast a post."""
    scan = lab.client("dynamodb").scan
    poll(lambda: not scan(TableName=lab.table, Limit=1, ConsistentRead=True)["Items"], "the table to be empty")


def posts_per_second(lab: Lab, variant: str, invocations: int) -> list[float]:
    """Deploy a variant, and let it say how fast it posts to the connections that there are; after one to warm up.

    Raises:
        LabError: if it did not reach all of them.
    """
    deploy(lab, variant)
    event = {"requestContext": {"connectionId": "benchmark"}, "body": "." * 200, "isBase64Encoded": False}
    rates = []
    for _ in range(invocations + 1):
        answer = lab.client("lambda").invoke(
            FunctionName=lab.functions["default"], Payload=json.dumps(event), LogType="Tail"
        )
        tail = base64.b64decode(answer.get("LogResult", "")).decode().splitlines()
        said = json.loads(next((line for line in reversed(tail) if line.startswith("{")), "{}"))
        if not said.get("delivered") or said["delivered"] != said["connections"]:
            raise LabError(f"The broadcast {variant!r} did not reach everyone: {said or answer['Payload'].read()}")
        rates.append(said["delivered"] / said["post_ms"] * 1000)
    return rates[1:]


@contextlib.contextmanager
def a_chat(name: str = DEFAULT_NAME) -> Iterator[Lab]:
    """A chat of this name, built by the notebooks on a local cloud of its own, which is stopped at the end."""
    from chatlab.notebooks import BUILD, execute  # a second and more, which notebook 07 need not wait for

    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHATLAB_HOME"] = folder
        os.environ.pop("CHATLAB_RUN", None)
        try:
            for notebook in BUILD[:-1]:  # all but the page
                outcome = execute(notebook, Path(folder) / f"{notebook}.ipynb", Settings(name=name).parameters)
                if not outcome.ok:
                    raise LabError(f"{notebook}, {outcome.reason}")
            yield Lab.load()
        finally:
            local_cloud.stop()


@contextlib.contextmanager
def held(url: str, connections: int) -> Iterator[None]:
    """So many open sockets, whose messages a process of its own reads and drops.

    Raises:
        LabError: in one sentence, if not all of them can be opened, or if one closes before the end.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(url, connections, theirs), daemon=True)
    process.start()
    theirs.close()

    def heed(timeout_s):
        if problem := ours.recv() if ours.poll(timeout_s) else "there is no answer":
            raise LabError(f"{connections} connections can't be held open: {problem}.")

    try:
        heed(30 + connections / 20)
        yield
        ours.send("leave")
        heed(5)
    finally:
        ours.close()
        process.join(5)
        process.kill()


def _hold(url, connections, pipe):
    """Says None when all are open, and again when told to leave; or in words what is wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process at the other end of the pipe
    with contextlib.suppress(BrokenPipeError):  # that process is gone
        try:
            uvloop.run(_listen(url, connections, pipe))
        except (OSError, WebSocketException) as error:
            pipe.send(f"{error}".rstrip("."))


async def _listen(url, connections, pipe):
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), told.set)  # also if the process at the other end is gone
    tasks = [asyncio.create_task(told.wait())]
    for _ in range(connections):
        tasks.append(asyncio.create_task(_drop_messages(await connect(url, compression=None, ping_interval=None))))
    pipe.send(None)
    for task in (await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))[0]:
        await task
    pipe.send(None)


async def _drop_messages(websocket):
    while True:  # until it is closed, which is raised
        await websocket.recv()


def last_delivery_ratio(broadcasts: pd.DataFrame) -> float:
    """The fan-out's median time to last delivery over the sequential broadcast's, at the most connections."""
    most = broadcasts[broadcasts["connections"] == broadcasts["connections"].max()]
    median = most.groupby("variant")["last_ms"].median()
    return median["fanout"] / median["sequential"]


def ceiling_ratio(posts: pd.DataFrame) -> float:
    """The fan-out's posts a second over the ceiling's: the median of the rounds, in which they followed closely."""
    by_round = posts.pivot_table(index="round", columns="variant", values="posts_per_s", aggfunc="median")
    return (by_round["fanout"] / by_round["ceiling"]).median()


def summary(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Median and spread of a column, by connections and variant."""
    groups = rows.groupby([name for name in ("connections", "variant") if name in rows], sort=False)[value]
    table = groups.quantile([0.1, 0.5, 0.9]).unstack().set_axis(["p10", "median", "p90"], axis=1)
    return table.assign(n=groups.size())[["median", "p10", "p90", "n"]]


def picture(broadcasts: pd.DataFrame) -> Figure:
    """Time to last delivery over connections, a line through the medians for each variant."""
    median = broadcasts.groupby(["variant", "connections"])["last_ms"].median()
    most = median["sequential"].index.max()  # the fan-out may have been measured with more
    times = median["sequential"][most] / median["fanout"][most]
    figure, axes = plots.picture(
        f"{most:,} connections: everyone has heard it {times:.1f} times sooner",
        "Connections",
        "Time to last delivery (ms)",
    )
    for variant, rows in broadcasts.groupby("variant", sort=False):
        axes.plot(rows["connections"], rows["last_ms"], "o", ms=4, alpha=0.25, color=COLORS[variant])
        axes.plot(median[variant].index, median[variant], "o-", ms=5, lw=2, color=COLORS[variant], label=variant)
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.legend(frameon=False, loc="upper left")
    return figure


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def compare(
    rounds: int, broadcasts: int, connections: list[int], variants: list[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the variants in turn, so often: the rows of `measure`, and for the most connections the posts a second.

    The second table has a row for each invocation of the fan-out and of the ceiling: `variant`, `round` and
    `posts_per_s`. Beside each other, they are asked three times as often.
    """
    heard, posts = [], []
    with a_chat() as lab:
        for number in range(rounds):
            for variant in variants or RATES:
                print(f"Round {number + 1}: {variant} …", flush=True)
                with tempfile.TemporaryDirectory() as folder:
                    rows = measure(lab, variant, connections, broadcasts, Path(folder))
                heard.append(rows.assign(round=number))
        with held(lab.websocket_url(lab.require_api()), connections[-1]):
            for number in range(3 * rounds):
                for variant in ("ceiling", "fanout"):
                    rates = posts_per_second(lab, variant, 3)
                    posts.append(pd.DataFrame({"variant": variant, "round": number, "posts_per_s": rates}))
    return pd.concat(heard, ignore_index=True), pd.concat(posts, ignore_index=True)


def main(arguments: list[str] | None = None) -> int:
    """Measure all variants in turn; 0, or 1 if `--check` finds a bound that does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.broadcasts", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="PATH", help="Write everything to this file")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="Save the plot, a PNG file")
    parser.add_argument("--check", action="store_true", help="Exit with 1 if a bound does not hold")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="Turns of each variant (default: 3)")
    parser.add_argument("--broadcasts", type=int, default=4, metavar="N", help="Broadcasts in each turn (default: 4)")
    parser.add_argument(
        "--connections", type=numbers, default="100,500,1000", metavar="N,N", help="Default: 100,500,1000"
    )
    options = parser.parse_args(arguments)
    most = options.connections[-1]
    broadcasts, posts = compare(options.rounds, options.broadcasts, options.connections)
    bounds = Bounds()
    bounds.at_least("fanout's posts a second / the ceiling's", ceiling_ratio(posts), CEILING_SHARE)
    held = bounds.table

    print(f"\nTime to last delivery, ms:\n{summary(broadcasts, 'last_ms').round(1).to_string()}")
    print(f"\nPosts a second, to {most:,} connections:\n{summary(posts, 'posts_per_s').round().to_string()}")
    print("\n" + held.to_string(index=False))
    if options.plot:
        picture(broadcasts).savefig(options.plot, dpi=120)
    if options.json:
        save(options.json, bounds, broadcasts=broadcasts, posts=posts)
    print(
        f"\nAt {most:,} connections fanout takes {last_delivery_ratio(broadcasts):.2f} of the sequential "
        f"broadcast's time to last delivery, and posts {ceiling_ratio(posts):.2f} of what a bare client can."
    )
    return int(options.check and not held["holds"].all())


if __name__ == "__main__":
    sys.exit(exit_status(main))
