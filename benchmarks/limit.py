"""What the broadcast does at the account's limit, and how fast it is below it: `python -m benchmarks.limit --check`.

The broadcast posts to an endpoint as AWS's looks (`benchmarks.api_gateway`): over TLS, with a delay, with a quota. Each
invocation is a process of its own, as on Lambda. What was delivered and refused is the endpoint's count, never the
sender's. With `--all` the model has to foresee such broadcasts, too, and on the local cloud the deployed function has
to come near to what a bare client can do. Machines differ, so what is bounded is ratios of what one run measures.
"""

import argparse
import gc
import math
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import pandas as pd

from benchmarks import api_gateway, broadcasts, forecasts, senders
from benchmarks.bounds import Bounds, add_options, report
from benchmarks.endpoint import SLOT_S, Endpoint, Settings
from benchmarks.environment import environment
from benchmarks.functions import ConnectionPool
from benchmarks.senders import sender_environment
from chatlab.signals import exit_status

SIZES = (100, 1_000, 10_000)
FIXED = (32, 128, 400)  # connections
ALL_FIXED = (8, 16, 32, 64, 128, 256, 400)
KNOWN_SHARE = 0.8  # of the quota, for all shards together
POLITE_PER_S = 20
FAULTS = Settings(silent=0.01, reset=0.01, gone=0.05, error=0.02)
LOCAL_CONNECTIONS = 1_000

# Quota and invocations: some cases of each bucket, and all. With a full bucket forty invocations have to share 2,000 a
# second at least: with fewer than 50 a second each, the first posts of all are a large part of everything.
ADAPTIVE = (400, 4)  # the case in which boto3's adaptive mode is the bar
EVERY = [*product((400, 1_000, 2_000), (1, 4, 10, 40))]
CASES = {
    "empty": ([(400, 1), (400, 40), (1_000, 1), (1_000, 10), (2_000, 40)], EVERY),
    "of one": ([(1_000, 1)], [(1_000, 1), (1_000, 4), (1_000, 10)]),
    "drained": ([(1_000, 4)], EVERY),
    "full": ([ADAPTIVE], [*product((400, 2_000), (1, 2, 4, 10)), (2_000, 40)]),
}
DRAINED_S = (2.0, 4.0)
STORM = (0.95, 15.0)  # the share of all posts that is refused, and for how long


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


def sizes(rounds: int, fixed: Iterable[int] = FIXED) -> pd.DataFrame:
    """Each size of room, cold and warm, against fixed numbers of connections; times in seconds.

    Warm is a broadcast that has all the connections that pay: the first few of a room open them.
    """
    rows: list[dict[str, object]] = []
    with api_gateway.run(Settings()) as gateway, environment(sender_environment(gateway)):
        for size in SIZES:
            kinds: dict[str | int, Callable[[str], ConnectionPool]] = {"by need": ConnectionPool}
            kinds |= {number: partial(senders.FixedConnections, number) for number in fixed if number <= 2 * size}
            for _, (name, make_pool) in product(range(rounds), kinds.items()):
                post = partial(senders.post, "size", size, make_pool=make_pool)
                sent, kept = post(True), 0
                rows.append({"size": size, "connections": name, "cold": True, "seconds": sent.seconds})
                while sent.kept > kept:
                    kept, sent = sent.kept, post(False)
                rows.append({"size": size, "connections": name, "cold": False, "seconds": sent.seconds})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Case:
    """A broadcast that meets a quota."""

    bucket: str
    """"full": half a second of the quota, beside a polite client. "empty": the same, but the first post finds nothing
    in it. "drained": that, and others take everything within DRAINED_S. "of one": it never holds more than one post."""
    quota: int
    """Posts a second."""
    invocations: int
    who: str
    """"share known" or "nothing known", which are the broadcast, or "boto3 adaptive"."""

    @property
    def ids(self) -> int:
        """How many are posted to."""
        return self.quota * {"full": 10, "empty": 5, "drained": 8, "of one": 3}[self.bucket]

    @property
    def endpoint(self) -> Settings:
        """That endpoint."""
        drained = {"full": None, "drained": DRAINED_S}.get(self.bucket, (0.0, 0.0))
        burst = 1 if self.bucket == "of one" else self.quota / 2
        return Settings(quotas=((self.quota, burst),), drained=drained)


def limit(case: Case, pipes: list[senders.Invocation]) -> dict[str, object]:
    """All invocations of a case share its ids; what the endpoint saw of it."""
    ids, quota, is_known = case.ids, case.quota, case.who == "share known"
    share = KNOWN_SHARE * quota
    stop = threading.Event()
    with (
        api_gateway.run(case.endpoint) as gateway,
        environment(sender_environment(gateway)),
        ThreadPoolExecutor(1) as beside,
    ):
        client = beside.submit(senders.polite, POLITE_PER_S, stop) if case.bucket == "full" else None
        try:
            if case.who == "boto3 adaptive":
                sent = senders.run_together(pipes[: case.invocations], gateway, senders.boto3_adaptive, ids)
            else:
                sender = partial(
                    senders.post, is_cold=True, seconds=60, rate=share if is_known else None,
                    invocations=case.invocations,
                )  # fmt: skip
                sent = senders.run_together(pipes[: case.invocations], gateway, sender, ids)
            seen = gateway.report()
        finally:
            stop.set()
        if client:
            client.result()
    polite_posts, polite_refused = seen["posts_by_sender"].get("polite", 0), seen["refused_by_sender"].get("polite", 0)
    posts, refused = seen["posts"] - polite_posts, seen["refused"] - polite_refused
    others = polite_posts - polite_refused
    seconds = max(each.seconds for each in sent)
    saved = quota / 2 if case.bucket == "full" else 0
    available = share * seconds if is_known else quota * seconds + saved - others
    row = vars(case) | {
        "ids": ids,
        "lost": ids - (seen["delivered"] - others),
        "said to be delivered": sum(each.delivered for each in sent),
        "twice": seen["doubled"],
        "errors": "; ".join({each.error for each in sent if each.error}),
        "seconds": round(seconds, 2),
        "of ids / share": round(seconds / (ids / share), 3),
        "used": round(ids / available, 3),
        "refused": round(refused / posts, 4),
        "polite refused": round(polite_refused / polite_posts, 4) if polite_posts else 0.0,
    }
    if case.bucket == "drained":
        row["back after"] = back_after_s(seen["accepted_by_slot"], share if is_known else quota)
    return row


def back_after_s(accepted: list[int], rate: float, slots: int = 5) -> float:
    """Seconds from DRAINED_S's end until 0.9 of the rate is accepted, over so many slots; infinite if that never is."""
    begin = round(DRAINED_S[1] / SLOT_S)
    for slot in range(begin, len(accepted) - slots + 1):
        if sum(accepted[slot : slot + slots]) >= 0.9 * rate * slots * SLOT_S:
            return (slot - begin) * SLOT_S
    return math.inf


def limits(bucket: str, rounds: int, every: bool) -> pd.DataFrame:
    """Each case of a bucket so often, with the share known and with nothing known: a row for each."""
    whos = ("share known", "nothing known")
    cases = [Case(bucket, *each, who) for each in CASES[bucket][every] for who in whos]
    if bucket == "full":
        cases.append(Case(bucket, *ADAPTIVE, "boto3 adaptive"))
    if every and bucket in ("full", "drained"):
        rounds = 1
    with senders.invocations(max(case.invocations for case in cases)) as pipes:
        return pd.DataFrame([limit(case, pipes) for _ in range(rounds) for case in cases])


def storm() -> pd.DataFrame:
    """Most posts are refused for a while, whoever they are for."""
    number = 4_000
    with api_gateway.run(Settings(refused=STORM)) as gateway, environment(sender_environment(gateway)):
        sent = senders.post("storm", number, True, seconds=60)
        lost = number - gateway.report()["delivered"]
    return pd.DataFrame([{"seconds": sent.seconds, "lost": lost} | sent.counts])


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


def by_case(bounds: Bounds, table: pd.DataFrame) -> pd.DataFrame:
    """The median of each case's rounds. Nobody may be lost in any of them, nor hear it twice."""
    (bucket,) = table["bucket"].unique()
    bounds.at_most(f"bucket {bucket}: lost", table["lost"].sum(), 0)
    bounds.at_most(f"bucket {bucket}: heard twice", table["twice"].sum(), 0)
    return table.groupby(["quota", "invocations", "who"]).median(numeric_only=True).reset_index()


def bound_full(bounds: Bounds, table: pd.DataFrame) -> None:
    table = by_case(bounds, table)
    (bar,), table = table[table["who"] == "boto3 adaptive"].to_dict("records"), table[table["who"] != "boto3 adaptive"]
    for who, rows in table.groupby("who"):
        is_known = who == "share known"
        bounds.at_least(f"bucket full, {who}: used", rows["used"].min(), 0.95 if is_known else 0.90)
        few, many = rows[rows["invocations"] < 40], rows[rows["invocations"] >= 40]
        bounds.at_most(f"bucket full, {who}: refused", few["refused"].max(), 0.02 if is_known else 0.07)
        if len(many):
            bounds.at_most(f"bucket full, {who}: refused, 40", many["refused"].max(), 0.02 if is_known else 0.10)
        if is_known:
            bounds.at_most("bucket full: refused of the polite client's", rows["polite refused"].max(), 0.02)
        of_bar = (rows["quota"] == bar["quota"]) & (rows["invocations"] == bar["invocations"])
        (same,) = rows[of_bar].to_dict("records")
        bounds.at_least(f"bucket full, {who}: used / boto3 adaptive's", same["used"] / bar["used"], 1)


def bound_empty(bounds: Bounds, table: pd.DataFrame) -> None:
    table = by_case(bounds, table)
    known, unknown = (table[table["who"] == who] for who in ("share known", "nothing known"))
    bounds.at_most("bucket empty, share known: time / (ids / share)", known["of ids / share"].max(), 1.3)
    few, many = unknown[unknown["invocations"] < 40], unknown[unknown["invocations"] >= 40]
    bounds.at_least("bucket empty, nothing known: used", few["used"].min(), 0.85)
    bounds.at_least("bucket empty, nothing known: used, 40", many["used"].min(), 0.75)
    is_least = (table["invocations"] >= 40) & (table["quota"] <= 400)
    bounds.at_most("bucket empty: refused", table[~is_least]["refused"].max(), 0.10)
    bounds.at_most("bucket empty: refused, 40 under 400", table[is_least]["refused"].max(), 0.20)


def bound_of_one(bounds: Bounds, table: pd.DataFrame) -> None:
    alone = by_case(bounds, table).query("invocations == 1")
    bounds.at_most("bucket of one: time / (ids / share)", alone["of ids / share"].max(), 2.5)


def bound_drained(bounds: Bounds, table: pd.DataFrame) -> None:
    bounds.at_most("bucket drained: seconds until 0.9 of the rate", by_case(bounds, table)["back after"].max(), 1)


def bound_storm(bounds: Bounds, table: pd.DataFrame) -> None:
    bounds.at_most("storm: lost, or given up", (table["lost"] + table["failed"]).sum(), 0)


def bound_faults(bounds: Bounds, table: pd.DataFrame) -> None:
    bounds.at_most("not reached because of others' faults", table["not reached"].max(), 0)
    bounds.at_most("seconds after the deadline", table["late_s"].max(), 0.5)
    bounds.at_least("counts that add up, share", table["accounted for"].mean(), 1)


def bound_forecasts(bounds: Bounds, table: pd.DataFrame) -> None:
    is_quota = table["case"] == "quota"
    bounds.at_most(
        "time foreseen / measured under a quota, the largest error", table[is_quota]["error"].abs().max(), 0.20
    )
    # Where no quota binds, this machine's CPU does, which others may take a part of: so this is the usual error.
    bounds.at_most("time foreseen / measured without, the median error", table[~is_quota]["error"].abs().median(), 0.20)
    bounds.at_most("lost", table["lost"].sum(), 0)


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


PARTS: dict[str, tuple[Callable[[int, bool], pd.DataFrame], Callable[[Bounds, pd.DataFrame], None]]] = {
    "speed": (lambda rounds, every: speed(rounds), bound_speed),
    "sizes": (lambda rounds, every: sizes(rounds, ALL_FIXED if every else FIXED), bound_sizes),
    "empty": (partial(limits, "empty"), bound_empty),
    "of one": (partial(limits, "of one"), bound_of_one),
    "drained": (partial(limits, "drained"), bound_drained),
    "storm": (lambda rounds, every: storm(), bound_storm),
    "full": (partial(limits, "full"), bound_full),
    "faults": (lambda rounds, every: faults(), bound_faults),
    "forecasts": (lambda rounds, every: forecasts.forecasts(rounds), bound_forecasts),
    "local": (lambda rounds, every: local(rounds), bound_local),
}
"""What is measured, in so many rounds, every case or some; and what must hold of it."""
ONLY_IN_ALL = ("forecasts", "local")


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the tables and the bounds.

    Raises:
        LabError: with `--check`, if a bound does not hold.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="Repetitions of each time (default: 3)")
    parser.add_argument("--all", action="store_true", help="Every case, in three quarters of an hour")
    parser.add_argument("--only", nargs="*", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args(arguments)
    gc.freeze()  # as the function does
    measured, bounds = {}, Bounds()
    for name in options.only or [part for part in PARTS if options.all or part not in ONLY_IN_ALL]:
        measure, bound = PARTS[name]
        shown = measured[name] = measure(options.rounds, options.all)
        if name in ("speed", "sizes"):
            keys = [key for key in ("size", "what", "connections", "cold") if key in shown]
            shown = shown.groupby(keys, sort=False).median()
        print(f"\n{shown.round(4).to_string()}", flush=True)
        bound(bounds, measured[name])
    report(bounds, options.json, options.check, **measured)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
