"""The CPU time of a function's first invocation, and how long it takes by memory: `python -m benchmarks.cold`.

Lambda gives CPU by memory: a whole one at 1,769 MB, a seventh of it with 256. Each function begins in a process of its
own, which calls it again and again; DynamoDB and `@connections` are endpoints over TLS (`benchmarks.endpoint`). Only
CPU time is measured, since that is what memory buys; the waiting is AWS's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import certifi
import pandas as pd

from benchmarks.endpoint import Settings, run_endpoint
from benchmarks.support import sender_environment
from chatlab.cost import PRICES
from chatlab.paths import LAMBDAS

FUNCTIONS = ("connect", "default", "broadcast", "disconnect")
CALLS = 20
MEMORY_MB = (128, 256, 512, 1_024, 1_769)
WHOLE_CPU_MB = 1_769  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
WAIT_MS = 5.0  # for DynamoDB, or API Gateway: assumed, for the price of a call

INVOCATION = """
import importlib, json, sys, time

class Context:
    def get_remaining_time_in_millis(self): return 10_000

event = {"requestContext": {"connectionId": "one"}, "body": "hello", "isBase64Encoded": False}
marks = [time.process_time()]
handler = importlib.import_module(sys.argv[1]).handler
marks.append(time.process_time())
for _ in range(int(sys.argv[2])):
    assert handler(event, Context()) == {"statusCode": 200}
    marks.append(time.process_time())
print(json.dumps(marks))
"""


def measure(rounds: int) -> pd.DataFrame:
    """CPU of each function's life, in ms: `init` (its imports and clients), `first` call and `later` ones; medians."""
    rows = []
    table = Settings(delay_ms=1, spread_ms=0, body=json.dumps({"Items": [{"connection_id": {"S": "one"}}]}))
    with (
        tempfile.TemporaryDirectory() as folder,
        run_endpoint(table) as dynamodb,
        run_endpoint(Settings(delay_ms=1, spread_ms=0)) as gateway,
    ):
        trusted = Path(folder) / "trusted.pem"
        # With boto3's own list of certificates, since reading that is a good part of a first call.
        files = (gateway.ca_file, dynamodb.ca_file, Path(certifi.where()))
        trusted.write_text("\n".join(file.read_text() for file in files if file))
        variables = os.environ | sender_environment(gateway)
        variables |= {"PYTHONPATH": str(LAMBDAS), "TABLE": "chat"}
        variables |= {"AWS_ENDPOINT_URL_DYNAMODB": dynamodb.url, "AWS_CA_BUNDLE": str(trusted)}
        for _ in range(rounds):
            for name in FUNCTIONS:
                process = subprocess.run(
                    [sys.executable, "-c", INVOCATION, f"lambda_{name}", str(CALLS)],
                    env=variables, check=True, capture_output=True, text=True,
                )  # fmt: skip
                marks = json.loads(process.stdout.splitlines()[-1])
                init, first, *later = (1000 * (end - begin) for begin, end in pairwise(marks))
                rows.append({"function": name, "init": init, "first": first, "later": pd.Series(later).median()})
    return pd.DataFrame(rows).groupby("function").median()


def by_memory(measured: pd.DataFrame) -> pd.DataFrame:
    """What each size makes of it: ms until the first response and of later ones, and dollars for a million of these."""
    rows = measured.reset_index().merge(pd.DataFrame({"MB": MEMORY_MB}), how="cross").set_index(["function", "MB"])
    slower = WHOLE_CPU_MB / rows.index.get_level_values("MB")
    later_ms = rows["later"] * slower + WAIT_MS
    gb_seconds = later_ms / 1000 * rows.index.get_level_values("MB") / 1024
    return pd.DataFrame(
        {
            "init ms": rows["init"] * slower,
            "first ms": rows["first"] * slower + WAIT_MS,
            "later ms": later_ms,
            "dollars a million": 1e6 * gb_seconds * PRICES["Lambda GB-seconds"],
        }
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="Processes of each function (default: 7)")
    options = parser.parse_args(arguments)
    measured = measure(options.rounds)
    print(f"CPU, ms:\n{measured.round(1).to_string()}\n")
    print(f"With {WAIT_MS:g} ms of waiting in each call:\n{by_memory(measured).round(2).to_string()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
