"""What the broadcast does at the account's limit, and how fast it is below it: `python -m benchmarks.limit --check`.

The broadcast posts to an endpoint as AWS's looks (`benchmarks.api_gateway`): over TLS, with a delay, with a quota. Each
invocation is a process of its own, as on Lambda. What was delivered and refused is the endpoint's count, never the
sender's. Then the model has to foresee such broadcasts, and on the local cloud the deployed function has to come near
to what a bare client can do. Machines differ, so what is bounded is ratios of what one run measures.
"""

import argparse
import gc
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from benchmarks import api_gateway, broadcasts, forecasts, senders
from benchmarks.api_gateway import Settings
from benchmarks.bounds import Bounds, save
from chatlab.signals import exit_status

SIZES = (100, 1_000, 10_000)
FIXED = (8, 16, 32, 64, 128, 256, 400)
# Invocations for each quota. Forty of them have to share 2,000 a second at least: with fewer than 50 a second each, the
# first posts of all are a large part of everything.
CASES = {400: (1, 2, 4, 10), 2_000: (1, 2, 4, 10, 40)}
ADAPTIVE = (400, 4)  # the case in which boto3's adaptive mode is the bar
KNOWN_SHARE = 0.8  # of the quota, for all shards together
POLITE_PER_S = 20
FAULTS = {"silent": 0.01, "reset": 0.01, "gone": 0.05, "error": 0.02}
LOCAL_CONNECTIONS = 1_000


def speed(rounds):
    """One invocation with a delay and without, and boto3, in turn; rates in posts a second."""
    rows = []
    with api_gateway.run(Settings()) as delayed, api_gateway.run(Settings(delay_ms=0)) as instant:
        for _ in range(rounds):
            for name, gateway in (("delay", delayed), ("no delay", instant)):
                os.environ |= senders.at(gateway)
                for is_cold in (True, False):
                    done = senders.post(name, 10_000, is_cold)
                    rows.append(
                        {"what": name, "cold": is_cold, "rate": 10_000 / done["seconds"], "cpu_ms": done["cpu_ms"]}
                    )
            os.environ |= senders.at(delayed)
            rows.append({"what": "boto3", "cold": False, "rate": senders.boto3_rate(200, 1)})
            rows.append({"what": "boto3, 32 threads", "cold": False, "rate": senders.boto3_rate(1_500, 32)})
    return pd.DataFrame(rows)


def sizes(rounds):
    """Each size of room, cold and warm, against fixed numbers of connections; times in seconds."""
    rows = []
    kinds = {"by need": senders.fanout.Fanout}
    kinds |= {number: type("", (senders.FixedFanout,), {"number": number}) for number in FIXED}
    with api_gateway.run(Settings()) as gateway:
        os.environ |= senders.at(gateway)
        for size in SIZES:
            for name, kind in kinds.items():
                if isinstance(name, int) and name > 2 * size:
                    continue
                for _ in range(rounds):
                    for is_cold in (True, False, False):  # the first warm one completes what is open
                        seconds = senders.post("size", size, is_cold, kind=kind)["seconds"]
                    rows.append({"size": size, "connections": name, "cold": False, "seconds": seconds})
                    cold = senders.post("size", size, True, kind=kind)["seconds"]
                    rows.append({"size": size, "connections": name, "cold": True, "seconds": cold})
    return pd.DataFrame(rows)


def limit(quota, shards, who, pipes):
    """`shards` senders share 10 times the quota's ids; what the endpoint saw of it.

    `who` is "share known" or "nothing known", which are the broadcast, or "boto3 adaptive".
    """
    ids, is_known = 10 * quota, who == "share known"
    with api_gateway.run(Settings(quotas=((quota, quota / 2),))) as gateway, ThreadPoolExecutor(1) as beside:
        done = False
        os.environ |= senders.at(gateway)
        client = beside.submit(senders.polite, POLITE_PER_S, lambda: done)
        if who == "boto3 adaptive":
            outcomes = senders.together(pipes[:shards], gateway, senders.boto3_adaptive, ids)
        else:
            rate = KNOWN_SHARE * quota if is_known else None
            outcomes = senders.together(pipes[:shards], gateway, senders.post, ids, True, 60, rate, shards)
        report, done = gateway.report(), True
        client.result()
    polite_posts, polite_refused = report["posts_by_sender"]["polite"], report["refused_by_sender"].get("polite", 0)
    posts, refused = report["posts"] - polite_posts, report["refused"] - polite_refused
    others = polite_posts - polite_refused
    seconds = max(outcome["seconds"] for outcome in outcomes)
    available = KNOWN_SHARE * quota * seconds if is_known else quota * (seconds + 0.5) - others
    return {
        "quota": quota,
        "shards": shards,
        "who": who,
        "ids": ids,
        "lost": ids - (report["delivered"] - others),
        "said to be delivered": sum(outcome["delivered"] for outcome in outcomes),
        "twice": report["doubled"],
        "errors": "; ".join({outcome["error"] for outcome in outcomes if outcome["error"]}),
        "seconds": round(seconds, 2),
        "used": round(ids / available, 3),
        "refused": round(refused / posts, 4),
        "polite refused": round(polite_refused / polite_posts, 4),
    }


def limits():
    """All of these, with the share known and not, and boto3's adaptive mode in one of them."""
    with senders.invocations(max(map(max, CASES.values()))) as pipes:
        cases = [(quota, number) for quota, numbers in CASES.items() for number in numbers]
        rows = [limit(*case, who, pipes) for case in cases for who in ("share known", "nothing known")]
        return pd.DataFrame([*rows, limit(*ADAPTIVE, "boto3 adaptive", pipes)])


def faults():
    """Peers that are silent, that break, that left, that fail: who else is reached, and when it is back."""
    rows = []
    for tls in (True, False):
        settings = Settings(tls=tls, **FAULTS)
        with api_gateway.run(settings) as gateway:
            os.environ |= senders.at(gateway)
            seconds, number = 8, 5_000
            done = senders.post("fault", number, True, seconds)
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


def local(rounds):
    """The deployed function on the local cloud: posts a second beside a bare client's, and time to the last delivery
    beside that of boto3 one by one, in ms; a row for each round."""
    heard, posts = broadcasts.compare(rounds, 4, [LOCAL_CONNECTIONS], ["sequential", "fanout"])
    heard = heard.pivot_table(index="round", columns="variant", values="last_ms", aggfunc="median")
    posts = posts.pivot_table(index="round", columns="variant", values="posts_per_s", aggfunc="median")
    return posts.join(heard.rename(columns=lambda variant: f"{variant} last_ms")).reset_index()


# --- bounds ----------------------------------------------------------------------------------------------------------


def bound_speed(bounds, table):
    median = table.groupby(["what", "cold"])[["rate", "cpu_ms"]].median()
    for is_cold in (True, False):
        name = "cold" if is_cold else "warm"
        delayed, instant = median.loc[("delay", is_cold)], median.loc[("no delay", is_cold)]
        bounds.at_least(f"rate with a delay / without, {name}", delayed["rate"] / instant["rate"], 0.60)
        bounds.at_most(f"CPU a post with a delay / without, {name}", delayed["cpu_ms"] / instant["cpu_ms"], 1.3)
    rate = median.loc[("delay", False), "rate"]
    bounds.at_least("rate / boto3's, one after another", rate / median.loc[("boto3", False), "rate"], 150)
    bounds.at_least("rate / boto3's, 32 threads", rate / median.loc[("boto3, 32 threads", False), "rate"], 18)


def bound_sizes(bounds, table):
    median = table.groupby(["size", "cold", "connections"])["seconds"].median()
    for (size, is_cold), times in median.groupby(level=[0, 1]):
        times = times.droplevel([0, 1])
        ratio = times["by need"] / times.drop("by need").min()
        bounds.at_most(f"{size} ids, {'cold' if is_cold else 'warm'}: time / the best fixed number's", ratio, 1.1)


def bound_limits(bounds, table):
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


def bound_faults(bounds, table):
    bounds.at_most("not reached because of others' faults", table["not reached"].max(), 0)
    bounds.at_most("seconds after the deadline", table["late_s"].max(), 0.5)
    bounds.at_least("counts that add up, share", table["accounted for"].mean(), 1)


def bound_forecasts(bounds, table):
    bounds.at_most("time foreseen / measured, the largest error", table["error"].abs().max(), 0.20)
    apart = (table["lost"] - table["foreseen_lost"]).abs() / table["ids"]
    bounds.at_most("lost, foreseen or measured: the largest difference, of all", apart.max(), 0.01)


def bound_local(bounds, table):
    bounds.at_least(
        "local cloud: posts a second / a bare client's",
        (table["fanout"] / table["ceiling"]).median(),
        broadcasts.CEILING_SHARE,
    )
    # What the emulator takes for each post is in both: without a bound of its own, it is told beside that floor.
    floor_ms = 1000 * LOCAL_CONNECTIONS / table["ceiling"]
    sequential = table["sequential last_ms"]
    print(
        f"\nLocal cloud: time to last delivery {(table['fanout last_ms'] / sequential).median():.2f} of boto3's, one "
        f"by one; a bare client's posts alone {(floor_ms / sequential).median():.2f} of it."
    )


PARTS = {
    "speed": (speed, bound_speed),
    "sizes": (sizes, bound_sizes),
    "limits": (lambda rounds: limits(), bound_limits),
    "faults": (lambda rounds: faults(), bound_faults),
    "forecasts": (forecasts.forecasts, bound_forecasts),
    "local": (local, bound_local),
}
"""What is measured, and what must hold of it."""


def main(arguments=None):
    """Measure; 0, or 1 if `--check` finds a bound that does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="Exit with 1 if a bound does not hold")
    parser.add_argument("--json", type=Path, metavar="PATH", help="Write everything to this file")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="Repetitions of each time (default: 5)")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS, metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args(arguments)
    os.environ |= senders.ENVIRONMENT
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
    held = bounds.table
    print(f"\n{held.to_string(index=False)}")
    if options.json:
        save(options.json, bounds, **measured)
    return int(options.check and not held["holds"].all())


if __name__ == "__main__":
    sys.exit(exit_status(main))
