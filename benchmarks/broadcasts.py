"""Compare ways to broadcast: `python -m benchmarks.broadcasts`.

On a local cloud of its own, the notebooks build the chat. Then its broadcast is replaced again and again: by boto3
posting to one connection after another, by the same in threads, and by `lambdas/fanout.py`. The load test measures each
at several numbers of connections. Beside them stands the local cloud's ceiling: what a bare client makes of the same
posts. They take turns, since a machine is not equally fast all the time. Bounded is how much of what the local cloud
can do is used. How much sooner the last delivery comes is printed without one, since the local cloud's own
time for a post is most of it.
"""

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.bounds import Bounds, add_options, report
from benchmarks.deployed_chat import deployed_chat
from benchmarks.open_connections import open_connections
from benchmarks.variants import deploy
from chatlab import Lab, LabError, poll
from chatlab.paths import ROOT
from chatlab.signals import exit_status
from loadtest import live, plots, results

RATES = {"sequential": 0.33, "threads": 0.33, "fanout": 0.8}
"""Broadcasts a second, low enough for each to end before the next one begins."""
CEILING_SHARE = 0.85
"""How much of the posts a second that a bare client makes the fan-out has to make, at least."""
COLORS = {"sequential": plots.ORANGE, "threads": plots.GREY, "fanout": plots.BLUE}


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
    wait_for_empty_table(lab)
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


def wait_for_empty_table(lab: Lab) -> None:
    """Wait until everybody has left: an item without a connection would cost the next broadcast a post."""
    scan = lab.client("dynamodb").scan
    poll(lambda: not scan(TableName=lab.table, Limit=1, ConsistentRead=True)["Items"], "the table to be empty")


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


def plot(broadcasts: pd.DataFrame) -> plots.NotebookFigure:
    """Time to last delivery over connections, a line through the medians for each variant."""
    median = broadcasts.groupby(["variant", "connections"])["last_ms"].median()
    largest = median["sequential"].index.max()  # the fan-out may have been measured with more
    times = median["sequential"][largest] / median["fanout"][largest]
    figure, axes = plots.new_figure(
        f"{largest:,} connections: everyone has heard it {times:.1f} times sooner",
        "Connections",
        "Time to last delivery (ms)",
    )
    for variant in broadcasts["variant"].unique():
        rows, color = broadcasts[broadcasts["variant"] == variant], COLORS[variant]
        axes.plot(rows["connections"], rows["last_ms"], "o", ms=4, alpha=0.25, color=color)
        axes.plot(median[variant].index, median[variant], "o-", ms=5, lw=2, color=color, label=variant)
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.legend(frameon=False, loc="upper left")
    lines = (
        f"{variant} {rows.iloc[0]:,.0f} ms with {rows.index[0]:,} and {rows.iloc[-1]:,.0f} ms with {rows.index[-1]:,}"
        for variant, rows in ((variant, median[variant]) for variant in broadcasts["variant"].unique())
    )
    figure.alt = f"Lines of the median time to last delivery over the connections: {'; '.join(lines)}."
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
    with deployed_chat() as lab:
        for number in range(rounds):
            for variant in variants or RATES:
                print(f"Round {number + 1}: {variant} …", flush=True)
                with tempfile.TemporaryDirectory() as folder:
                    rows = measure(lab, variant, connections, broadcasts, Path(folder))
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
        LabError: with `--check`, if a bound does not hold.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.broadcasts", description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--plot", type=Path, metavar="PATH", help="Save the plot, a PNG file")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="Turns of each variant (default: 3)")
    parser.add_argument("--broadcasts", type=int, default=4, metavar="N", help="Broadcasts in each turn (default: 4)")
    parser.add_argument(
        "--connections", type=numbers, default="100,500,1000", metavar="N,N", help="Default: 100,500,1000"
    )
    options = parser.parse_args(arguments)
    largest = options.connections[-1]
    broadcasts, posts = compare(options.rounds, options.broadcasts, options.connections)
    bounds = Bounds()
    bounds.at_least("fanout's posts a second / the ceiling's", ceiling_ratio(posts), CEILING_SHARE)

    print(f"\nTime to last delivery, ms:\n{summary(broadcasts, 'last_ms').round(1).to_string()}")
    print(f"\nPosts a second, to {largest:,} connections:\n{summary(posts, 'posts_per_s').round().to_string()}")
    print(
        f"\nAt {largest:,} connections fanout takes {last_delivery_ratio(broadcasts):.2f} of the sequential "
        f"broadcast's time to last delivery, and posts {ceiling_ratio(posts):.2f} of what a bare client can."
    )
    if options.plot:
        plot(broadcasts).savefig(options.plot, dpi=120)
    report(bounds, options.json, options.check, broadcasts=broadcasts, posts=posts)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
