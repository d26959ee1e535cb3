"""What the broadcast does at the account's limit, and how fast it is below it: `python -m benchmarks.limit --check`.

The broadcast posts to an endpoint as AWS's looks (`benchmarks.api_gateway`): over TLS, with a delay, with a quota. Each
invocation is a process of its own, as on Lambda. What was delivered and refused is the endpoint's count, never the
sender's. Then the model has to foresee such broadcasts, and on the local cloud the deployed function has to come near
to what a bare client can do. Machines differ, so what is bounded is ratios of what one run measures.
"""

import argparse
import gc
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product

import pandas as pd

from benchmarks import api_gateway, broadcasts, forecasts, senders
from benchmarks.bounds import Bounds, add_options, report
from benchmarks.endpoint import Endpoint, Settings
from benchmarks.environment import environment
from benchmarks.functions import ConnectionSet
from benchmarks.senders import FixedConnections, sender_environment
from chatlab.signals import exit_status

SIZES = (100, 1_000, 10_000)
FIXED = (8, 16, 32, 64, 128, 256, 400)  # connections
# Invocations for each quota. Forty of them have to share 2,000 a second at least: with fewer than 50 a second each, the
# first posts of all are a large part of everything.
CASES = {400: (1, 2, 4, 10), 2_000: (1, 2, 4, 10, 40)}
ADAPTIVE = (400, 4)  # the case in which boto3's adaptive mode is the bar
KNOWN_SHARE = 0.8  # of the quota, for all shards together
POLITE_PER_S = 20
FAULTS = Settings(silent=0.01, reset=0.01, gone=0.05, error=0.02)
LOCAL_CONNECTIONS = 1_000


def speed(rounds: int) -> pd.DataFrame:
    """One invocation with a delay and without, and boto3, in turn; rates in posts a second."""
    rows: list[dict[str, object]] = []
    with api_gateway.run(Settings()) as delayed, api_gateway.run(Settings(delay_ms=0)) as instant:
        for _ in range(rounds):
            for name, gateway in (("delay", delayed), ("no delay", instant)):
                with environment(sender_environment(gateway)):
                    for is_cold in (True, False):
                        sent = senders.post(name, 10_000, is_cold)
                        rate = 10_000 / sent.seconds
                        rows.append({"what": name, "cold": is_cold, "rate": rate, "cpu_ms": sent.cpu_ms})
            with environment(sender_environment(delayed)):
                for name, number, threads in (("boto3", 200, 1), ("boto3, 32 threads", 1_500, 32)):
                    rows.append({"what": name, "cold": False, "rate": senders.boto3_rate(number, threads)})
    return pd.DataFrame(rows)


def sizes(rounds: int) -> pd.DataFrame:
    """Each size of room, cold and warm, against fixed numbers of connections; times in seconds.

    Warm is a broadcast that has all the connections that pay: the first few of a room open them.
    """
    rows: list[dict[str, object]] = []
    with api_gateway.run(Settings()) as gateway, environment(sender_environment(gateway)):
        for size in SIZES:
            kinds: dict[str | int, senders.MakeConnectionSet] = {"by need": ConnectionSet}
            kinds |= {number: partial(FixedConnections, number) for number in FIXED if number <= 2 * size}
            for _, (name, connection_set) in product(range(rounds), kinds.items()):
                post = partial(senders.post, "size", size, connection_set=connection_set)
                sent, kept = post(True), 0
                rows.append({"size": size, "connections": name, "cold": True, "seconds": sent.seconds})
                while sent.kept > kept:
                    kept, sent = sent.kept, post(False)
                rows.append({"size": size, "connections": name, "cold": False, "seconds": sent.seconds})
    return pd.DataFrame(rows)


def limit(quota: int, shards: int, who: str, pipes: list[senders.Invocation]) -> dict[str, object]:
    """`shards` senders share 10 times the quota's ids; what the endpoint saw of it.

    `who` is "share known" or "nothing known", which are the broadcast, or "boto3 adaptive".
    """
    ids, is_known = 10 * quota, who == "share known"
    stop = threading.Event()
    with (
        api_gateway.run(Settings(quotas=((quota, quota / 2),))) as gateway,
        environment(sender_environment(gateway)),
        ThreadPoolExecutor(1) as beside,
    ):
        client = beside.submit(senders.polite, POLITE_PER_S, stop)
        try:
            if who == "boto3 adaptive":
                sent = senders.run_together(pipes[:shards], gateway, senders.boto3_adaptive, ids)
            else:
                rate = KNOWN_SHARE * quota if is_known else None
                sender = partial(senders.post, is_cold=True, seconds=60, rate=rate, invocations=shards)
                sent = senders.run_together(pipes[:shards], gateway, sender, ids)
            seen = gateway.report()
        finally:
            stop.set()
        client.result()
    polite_posts, polite_refused = seen["posts_by_sender"]["polite"], seen["refused_by_sender"].get("polite", 0)
    posts, refused = seen["posts"] - polite_posts, seen["refused"] - polite_refused
    others = polite_posts - polite_refused
    seconds = max(each.seconds for each in sent)
    available = KNOWN_SHARE * quota * seconds if is_known else quota * (seconds + 0.5) - others
    return {
        "quota": quota,
        "shards": shards,
        "who": who,
        "ids": ids,
        "lost": ids - (seen["delivered"] - others),
        "said to be delivered": sum(each.delivered for each in sent),
        "twice": seen["doubled"],
        "errors": "; ".join({each.error for each in sent if each.error}),
        "seconds": round(seconds, 2),
        "used": round(ids / available, 3),
        "refused": round(refused / posts, 4),
        "polite refused": round(polite_refused / polite_posts, 4),
    }


def limits() -> pd.DataFrame:
    """All of these, with the share known and not, and boto3's adaptive mode in one of them."""
    with senders.invocations(max(map(max, CASES.values()))) as pipes:
        cases = [(quota, number) for quota, numbers in CASES.items() for number in numbers]
        rows = [limit(*case, who, pipes) for case in cases for who in ("share known", "nothing known")]
        return pd.DataFrame([*rows, limit(*ADAPTIVE, "boto3 adaptive", pipes)])


def faults() -> pd.DataFrame:
    """Peers that are silent, that break, that left, that fail: who else is reached, and when it is back."""
    rows = []
    for tls in (True, False):
        settings = replace(FAULTS, tls=tls)
        with api_gateway.run(settings) as gateway, environment(sender_environment(gateway)):
            seconds, number = 8, 5_000
            sent = senders.post("fault", number, True, seconds)
            endpoint = Endpoint(settings)
            here = sum(endpoint.kind(b"fault-%d" % n) == "here" for n in range(number))
            outcomes = sum(sent.counts[name] for name in ("delivered", "gone", "failed", "unreached"))
            rows.append(
                {
                    "scheme": "https" if tls else "http",
                    "not reached": here - gateway.report()["delivered"],
                    "late_s": round(sent.seconds - seconds, 2),
                    "accounted for": outcomes == number,
                }
            )
    return pd.DataFrame(rows)


def local(rounds: int) -> pd.DataFrame:
    """The deployed function on the local cloud: posts a second beside a bare client's, and time to the last delivery
    beside that of boto3 one by one, in ms; a row for each round."""
    heard, posts = broadcasts.compare(rounds, 4, [LOCAL_CONNECTIONS], ["sequential", "fanout"])
    heard = heard.pivot_table(index="round", columns="variant", values="last_ms", aggfunc="median")
    posts = posts.pivot_table(index="round", columns="variant", values="posts_per_s", aggfunc="median")
    return posts.join(heard.rename(columns=lambda variant: f"{variant} last_ms")).reset_index()


# --- bounds ----------------------------------------------------------------------------------------------------------


def bound_speed(bounds: Bounds, table: pd.DataFrame) -> None:
    medians = table.groupby(["what", "cold"])
    rate, cpu_ms = medians["rate"].median().to_dict(), medians["cpu_ms"].median().to_dict()
    for is_cold in (True, False):
        name, delayed, instant = "cold" if is_cold else "warm", ("delay", is_cold), ("no delay", is_cold)
        bounds.at_least(f"rate with a delay / without, {name}", rate[delayed] / rate[instant], 0.60)
        bounds.at_most(f"CPU a post with a delay / without, {name}", cpu_ms[delayed] / cpu_ms[instant], 1.3)
    warm = rate["delay", False]
    bounds.at_least("rate / boto3's, one after another", warm / rate["boto3", False], 150)
    bounds.at_least("rate / boto3's, 32 threads", warm / rate["boto3, 32 threads", False], 18)


def bound_sizes(bounds: Bounds, table: pd.DataFrame) -> None:
    seconds = table.groupby(["size", "cold", "connections"])["seconds"].median().to_dict()
    for size in SIZES:
        for is_cold in (False, True):
            best = min(seconds[size, is_cold, number] for number in FIXED if (size, is_cold, number) in seconds)
            ratio = seconds[size, is_cold, "by need"] / best
            bounds.at_most(f"{size} ids, {'cold' if is_cold else 'warm'}: time / the best fixed number's", ratio, 1.1)


def bound_limits(bounds: Bounds, table: pd.DataFrame) -> None:
    (bar,), table = table[table["who"] == "boto3 adaptive"].to_dict("records"), table[table["who"] != "boto3 adaptive"]
    bounds.at_most("lost", table["lost"].sum(), 0)
    bounds.at_most("heard twice", table["twice"].sum(), 0)
    for who, rows in table.groupby("who"):
        is_known = who == "share known"
        bounds.at_least(f"used, {who}", rows["used"].min(), 0.95 if is_known else 0.90)
        few, many = rows[rows["shards"] < 40], rows[rows["shards"] >= 40]
        bounds.at_most(f"refused, {who}", few["refused"].max(), 0.02 if is_known else 0.07)
        bounds.at_most(f"refused, {who}, 40 shards", many["refused"].max(), 0.02 if is_known else 0.10)
        if is_known:
            bounds.at_most("refused of the polite client's", rows["polite refused"].max(), 0.02)
        (same,) = rows[(rows["quota"] == bar["quota"]) & (rows["shards"] == bar["shards"])].to_dict("records")
        bounds.at_least(f"used, {who} / boto3 adaptive's", same["used"] / bar["used"], 1)


def bound_faults(bounds: Bounds, table: pd.DataFrame) -> None:
    bounds.at_most("not reached because of others' faults", table["not reached"].max(), 0)
    bounds.at_most("seconds after the deadline", table["late_s"].max(), 0.5)
    bounds.at_least("counts that add up, share", table["accounted for"].mean(), 1)


def bound_forecasts(bounds: Bounds, table: pd.DataFrame) -> None:
    bounds.at_most("time foreseen / measured, the largest error", table["error"].abs().max(), 0.20)
    apart = (table["lost"] - table["foreseen_lost"]).abs() / table["ids"]
    bounds.at_most("lost, foreseen or measured: the largest difference, of all", apart.max(), 0.01)


def bound_local(bounds: Bounds, table: pd.DataFrame) -> None:
    bounds.at_least(
        "local cloud: posts a second / a bare client's",
        (table["fanout"] / table["ceiling"]).median(),
        broadcasts.CEILING_SHARE,
    )
    # What the emulator takes for each post is in both: without a bound of its own, it is printed beside that floor.
    floor_ms = 1000 * LOCAL_CONNECTIONS / table["ceiling"]
    sequential = table["sequential last_ms"]
    print(
        f"\nLocal cloud: time to last delivery {(table['fanout last_ms'] / sequential).median():.2f} of boto3's, one "
        f"by one; a bare client's posts alone {(floor_ms / sequential).median():.2f} of it."
    )


PARTS: dict[str, tuple[Callable[[int], pd.DataFrame], Callable[[Bounds, pd.DataFrame], None]]] = {
    "speed": (speed, bound_speed),
    "sizes": (sizes, bound_sizes),
    "limits": (lambda rounds: limits(), bound_limits),
    "faults": (lambda rounds: faults(), bound_faults),
    "forecasts": (forecasts.forecasts, bound_forecasts),
    "local": (local, bound_local),
}
"""What is measured, and what must hold of it."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the tables and the bounds.

    Raises:
        LabError: with `--check`, if a bound does not hold.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="Repetitions of each time (default: 5)")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS, metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args(arguments)
    gc.freeze()  # as the function does
    measured, bounds = {}, Bounds()
    for name in options.only:
        measure, bound = PARTS[name]
        shown = measured[name] = measure(options.rounds)
        if name in ("speed", "sizes"):
            keys = [key for key in ("size", "what", "connections", "cold") if key in shown]
            shown = shown.groupby(keys, sort=False).median()
        print(f"\n{shown.round(4).to_string()}", flush=True)
        bound(bounds, measured[name])
    report(bounds, options.json, options.check, **measured)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
