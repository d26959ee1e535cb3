"""What the broadcast does at the account's limit, and how fast it is below it: `python -m benchmarks.limit --check`.

The broadcast posts to an endpoint as AWS's looks (`benchmarks.api_gateway`): over TLS, with a delay, with a quota. Each
invocation is a process of its own, as on Lambda. What was delivered and refused is the endpoint's count, never the
sender's. Machines differ, so what is bounded is ratios of what one run measures.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import boto3
import pandas as pd
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks import api_gateway
from benchmarks.api_gateway import Settings

sys.path.insert(0, str(Path(__file__).parent.parent / "lambdas"))
import fanout
import http_pool

DATA = b"." * 200
SIZES = (100, 1_000, 10_000)
FIXED = (8, 16, 32, 64, 128, 256, 400)
# Invocations for each quota. Forty of them have to share 2,000 a second at least: with fewer than 50 a second each, the
# first posts of all are a large part of everything.
CASES = {400: (1, 2, 4, 10), 2_000: (1, 2, 4, 10, 40)}
KNOWN_SHARE = 0.8  # of the quota, for all shards together
POLITE_PER_S = 20
FAULTS = {"silent": 0.01, "reset": 0.01, "gone": 0.05, "error": 0.02}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",  # AWS's own example; the endpoint checks no signature
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class FixedFanout(fanout.Fanout):
    """The same with a number of connections that is given in advance."""

    number = 0

    def _open_connections(self, now):
        self._under_way = self.number
        while len(self._connections) < min(self.number, self.counts["connections"]) and self._open(now):
            pass


def post(kind, name, number, is_cold, seconds=120, rate=None, invocations=1):
    """Broadcast to so many ids; a dict of what it took and of its own counts."""
    if is_cold:
        http_pool.connection_pool.cache_clear()
    cpu, started = time.process_time(), time.perf_counter()
    with kind(DATA, time.monotonic() + seconds, rate, invocations) as posts:
        posts.post([f"{name}-{n}" for n in range(number)])
    took = time.perf_counter() - started
    cpu_ms = (time.process_time() - cpu) * 1000 / number
    kept = len(http_pool.connection_pool(os.environ["APIGatewayEndpoint"]).idle)
    return dict(posts.counts) | {"error": posts.error, "seconds": took, "cpu_ms": cpu_ms, "kept": kept}


def at(gateway):
    """What a sender's environment says of the endpoint."""
    return {"APIGatewayEndpoint": gateway.url} | ({"AWS_CA_BUNDLE": str(gateway.ca_file)} if gateway.ca_file else {})


# --- speed -----------------------------------------------------------------------------------------------------------


def boto3_rate(gateway, number, threads):
    """Posts a second of boto3, one after another or in threads."""
    config = Config(max_pool_connections=threads, retries={"mode": "standard", "total_max_attempts": 4})
    options = {"verify": str(gateway.ca_file), "config": config, "region_name": "us-east-1"}
    client = boto3.client("apigatewaymanagementapi", endpoint_url=gateway.url, **options)

    def deliver(n):
        client.post_to_connection(ConnectionId=f"boto3-{n}", Data=DATA)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(deliver, range(threads)))  # connections
        started = time.perf_counter()
        list(pool.map(deliver, range(number)))
    return number / (time.perf_counter() - started)


def speed(rounds):
    """One invocation with a delay and without, and boto3, in turn; rates in posts a second."""
    rows = []
    with api_gateway.run(Settings()) as delayed, api_gateway.run(Settings(delay_ms=0)) as instant:
        for _ in range(rounds):
            for name, gateway in (("delay", delayed), ("no delay", instant)):
                os.environ |= at(gateway)
                for is_cold in (True, False):
                    done = post(fanout.Fanout, name, 10_000, is_cold)
                    rows.append(
                        {"what": name, "cold": is_cold, "rate": 10_000 / done["seconds"], "cpu_ms": done["cpu_ms"]}
                    )
            rows.append({"what": "boto3", "cold": False, "rate": boto3_rate(delayed, 200, 1)})
            rows.append({"what": "boto3, 32 threads", "cold": False, "rate": boto3_rate(delayed, 1_500, 32)})
    return pd.DataFrame(rows)


def sizes(rounds):
    """Each size of room, cold and warm, against fixed numbers of connections; times in seconds."""
    rows = []
    kinds = {"by need": fanout.Fanout} | {number: type("", (FixedFanout,), {"number": number}) for number in FIXED}
    with api_gateway.run(Settings()) as gateway:
        os.environ |= at(gateway)
        for size in SIZES:
            for name, kind in kinds.items():
                if isinstance(name, int) and name > 2 * size:
                    continue
                for _ in range(rounds):
                    for is_cold in (True, False, False):  # the first warm one completes what is open
                        seconds = post(kind, "size", size, is_cold)["seconds"]
                    rows.append({"size": size, "connections": name, "cold": False, "seconds": seconds})
                    cold = post(kind, "size", size, True)["seconds"]
                    rows.append({"size": size, "connections": name, "cold": True, "seconds": cold})
    return pd.DataFrame(rows)


# --- the account's limit ---------------------------------------------------------------------------------------------


def invocation(pipe):
    """A process that broadcasts whenever it is told to: (environment, when, arguments of `post`, most connections)."""
    while task := pipe.recv():
        environment, at_s, arguments, fanout.MAX_CONNECTIONS = task
        os.environ |= environment
        time.sleep(max(0.0, at_s - time.time()))
        pipe.send(post(fanout.Fanout, *arguments))


@contextmanager
def invocations(number):
    """So many of these processes, as pipes."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for _ in range(number):
            ours, theirs = context.Pipe()
            processes.append(context.Process(target=invocation, args=(theirs,), daemon=True))
            processes[-1].start()
            pipes.append(ours)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join(10)
            process.kill()


def polite(gateway, until):
    """A client that posts steadily and tries nothing again, until `until()`."""
    config = Config(retries={"total_max_attempts": 1})
    options = {"verify": str(gateway.ca_file), "config": config, "region_name": "us-east-1"}
    client, number = boto3.client("apigatewaymanagementapi", endpoint_url=gateway.url, **options), 0
    due = time.monotonic()
    while not until():
        time.sleep(max(0.0, due - time.monotonic()))
        due, number = due + 1 / POLITE_PER_S, number + 1
        try:
            client.post_to_connection(ConnectionId=f"polite-{number}", Data=DATA)
        except ClientError:
            continue  # the endpoint counts it


def limit(quota, shards, known, pipes):
    """`shards` invocations broadcast to 10 times the quota's ids; what the endpoint saw of it."""
    ids = 10 * quota
    with api_gateway.run(Settings(quotas=((quota, quota / 2),))) as gateway, ThreadPoolExecutor(1) as beside:
        rate = KNOWN_SHARE * quota if known else None
        begin, done = time.time() + 0.5, False
        for number, pipe in enumerate(pipes[:shards]):
            share = ids // shards + (number < ids % shards)
            pipe.send((at(gateway), begin, (f"s{number}", share, True, 60, rate, shards), fanout.MAX_CONNECTIONS))
        client = beside.submit(polite, gateway, lambda: done)
        outcomes = [pipe.recv() for pipe in pipes[:shards]]
        report, done = gateway.report(), True
        client.result()
    polite_posts, polite_refused = report["posts_by_sender"]["polite"], report["refused_by_sender"].get("polite", 0)
    posts, refused = report["posts"] - polite_posts, report["refused"] - polite_refused
    others = polite_posts - polite_refused
    seconds = max(outcome["seconds"] for outcome in outcomes)
    delivered = sum(outcome["delivered"] for outcome in outcomes)
    available = KNOWN_SHARE * quota * seconds if known else quota * (seconds + 0.5) - others
    return {
        "quota": quota,
        "shards": shards,
        "known": known,
        "ids": ids,
        "lost": ids - (report["delivered"] - others),
        "said to be delivered": delivered,
        "twice": report["doubled"],
        "errors": "; ".join({outcome["error"] for outcome in outcomes if outcome["error"]}),
        "seconds": round(seconds, 2),
        "used": round(ids / available, 3),
        "refused": round(refused / posts, 4),
        "polite refused": round(polite_refused / polite_posts, 4),
    }


def limits():
    """All of these, with the share known and not."""
    with invocations(max(map(max, CASES.values()))) as pipes:
        cases = [(quota, number) for quota, numbers in CASES.items() for number in numbers]
        return pd.DataFrame([limit(*case, known, pipes) for case in cases for known in (True, False)])


# --- faults ----------------------------------------------------------------------------------------------------------


def faults():
    """Peers that are silent, that break, that left, that fail: who else is reached, and when it is back."""
    rows = []
    for tls in (True, False):
        settings = Settings(tls=tls, **FAULTS)
        with api_gateway.run(settings) as gateway:
            os.environ |= at(gateway)
            seconds, number = 8, 5_000
            done = post(fanout.Fanout, "fault", number, True, seconds)
            endpoint = api_gateway.Endpoint(settings)
            here = sum(endpoint.kind(b"fault-%d" % n) == "here" for n in range(number))
            rows.append(
                {
                    "scheme": "https" if tls else "http",
                    "not reached": here - gateway.report()["delivered"],
                    "late_s": round(done["seconds"] - seconds, 2),
                    "accounted for": sum(done[k] for k in ("delivered", "gone", "failed", "unreached")) == number,
                }
            )
    return pd.DataFrame(rows)


# --- bounds ----------------------------------------------------------------------------------------------------------


def bounds(measured):
    """What must hold, as rows of (what, measured, bound, whether it holds)."""
    rows = []

    def at_most(what, value, most):
        rows.append((what, round(float(value), 4), f"<= {most}", bool(value <= most)))

    def at_least(what, value, least):
        rows.append((what, round(float(value), 4), f">= {least}", bool(value >= least)))

    if (table := measured.get("speed")) is not None:
        median = table.groupby(["what", "cold"])[["rate", "cpu_ms"]].median()
        for is_cold in (True, False):
            name = "cold" if is_cold else "warm"
            delayed, instant = median.loc[("delay", is_cold)], median.loc[("no delay", is_cold)]
            at_least(f"rate with a delay / without, {name}", delayed["rate"] / instant["rate"], 0.60)
            at_most(f"CPU a post with a delay / without, {name}", delayed["cpu_ms"] / instant["cpu_ms"], 1.3)
        rate = median.loc[("delay", False), "rate"]
        at_least("rate / boto3's, one after another", rate / median.loc[("boto3", False), "rate"], 150)
        at_least("rate / boto3's, 32 threads", rate / median.loc[("boto3, 32 threads", False), "rate"], 18)
    if (table := measured.get("sizes")) is not None:
        median = table.groupby(["size", "cold", "connections"])["seconds"].median()
        for (size, is_cold), times in median.groupby(level=[0, 1]):
            times = times.droplevel([0, 1])
            best = times.drop("by need").min()
            at_most(
                f"{size} ids, {'cold' if is_cold else 'warm'}: time / the best fixed number's",
                times["by need"] / best,
                1.1,
            )
    if (table := measured.get("limits")) is not None:
        at_most("lost", table["lost"].sum(), 0)
        at_most("heard twice", table["twice"].sum(), 0)
        for known, rows_of in table.groupby("known"):
            name = "share known" if known else "nothing known"
            at_least(f"used, {name}", rows_of["used"].min(), 0.95 if known else 0.90)
            few, many = rows_of[rows_of["shards"] < 40], rows_of[rows_of["shards"] >= 40]
            at_most(f"refused, {name}", few["refused"].max(), 0.02 if known else 0.07)
            if len(many):
                at_most(f"refused, {name}, 40 shards", many["refused"].max(), 0.02 if known else 0.10)
            if known:
                at_most("refused of the polite client's", rows_of["polite refused"].max(), 0.02)
    if (table := measured.get("faults")) is not None:
        at_most("not reached because of others' faults", table["not reached"].max(), 0)
        at_most("seconds after the deadline", table["late_s"].max(), 0.5)
        at_least("counts that add up, share", table["accounted for"].mean(), 1)
    return pd.DataFrame(rows, columns=["what", "measured", "bound", "holds"])


def main(arguments=None):
    """Measure; 0, or 1 if `--check` finds a bound that does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="Exit with 1 if a bound does not hold")
    parser.add_argument("--json", type=Path, metavar="PATH", help="Write everything to this file")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="Repetitions of each time (default: 5)")
    parser.add_argument("--only", nargs="*", default=["speed", "sizes", "limits", "faults"], metavar="PART")
    options = parser.parse_args(arguments)
    os.environ |= ENVIRONMENT
    parts = {
        "speed": lambda: speed(options.rounds),
        "sizes": lambda: sizes(options.rounds),
        "limits": limits,
        "faults": faults,
    }
    measured = {}
    for name in options.only:
        measured[name] = parts[name]()
        shown = measured[name]
        if name in ("speed", "sizes"):
            keys = [key for key in ("size", "what", "connections", "cold") if key in shown]
            shown = shown.groupby(keys, sort=False).median()
        print(f"\n{shown.round(4).to_string()}", flush=True)
    held = bounds(measured)
    print(f"\n{held.to_string(index=False)}")
    if options.json:
        told = {name: table.to_dict("records") for name, table in measured.items()}
        options.json.write_text(json.dumps(told | {"bounds": held.to_dict("records")}, indent=2) + "\n")
    return int(options.check and not held["holds"].all())


if __name__ == "__main__":
    sys.exit(main())
