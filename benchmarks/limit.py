"""What the broadcast does at the account's limit, and how fast it is below it: `python -m benchmarks.limit --check`.

The broadcast posts to an endpoint that behaves like AWS's (`benchmarks.endpoint`): over TLS, with a delay, with a
quota. Each invocation is a process of its own, as on Lambda. The endpoint counts what was delivered and refused, never
the sender. With `--all`, `chatlab.limits` has to foresee such broadcasts, and on the local cloud the deployed function
has to come near to what a bare client can do. Machines differ, so what is bounded is ratios of what one run measures.
"""

import argparse
import gc
import math
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import pandas as pd

from benchmarks import broadcasts, support
from benchmarks.endpoint import SLOT_S, Endpoint, Gateway, Settings, run_endpoint
from benchmarks.support import sending_to
from chatlab import limits
from chatlab.fanout import POOLS, ConnectionPool
from chatlab.signals import exit_status
from loadtest.calibration.bounds import Bounds, add_options, report

SIZES = (100, 1_000, 10_000)
FIXED = (32, 128, 400)  # connections
ALL_FIXED = (8, 16, 32, 64, 128, 256, 400)
SHARE = limits.DEFAULT.share  # of the quota, where it is known, for all invocations together
POLITE_PER_S = 20
FAULTS = Settings(silent=0.01, reset=0.01, gone=0.05, error=0.02)
LOCAL_CONNECTIONS = 1_000

# Quota and invocations: some cases of each bucket, and all. With a full bucket forty invocations have to share 2,000 a
# second at least: with fewer than 50 a second each, the first posts of all are a large part of everything.
ADAPTIVE = (400, 4)  # the case in which boto3's adaptive mode is the bar
EVERY = [*product((400, 1_000, 2_000), (1, 4, 10, 40))]
CASES = {
    "empty": [(400, 1), (400, 40), (1_000, 1), (1_000, 10), (2_000, 40)],
    "of one": [(1_000, 1)],
    "drained": [(1_000, 4)],
    "full": [ADAPTIVE],
}
ALL_CASES = {
    "empty": EVERY,
    "of one": [(1_000, 1), (1_000, 4), (1_000, 10)],
    "drained": EVERY,
    "full": [*product((400, 2_000), (1, 2, 4, 10)), (2_000, 40)],
}
DRAINED_S = (2.0, 4.0)
STORM = (0.95, 15.0)  # the share of all posts that is refused, and for how long

# Of the forecasts.
SIZES_QUOTAS = {1_000: 400, 10_000: 2_000, 100_000: 10_000}  # the quota in posts a second, by the number of ids
SHARDS = (1, 4, 10)  # under a quota; without one, several would be more than two cores can carry
OPENING, POSTING = 400, 2_000  # ids, for the calibration
SETTINGS = Settings()


def speed(bounds: Bounds, rounds: int, every: bool) -> pd.DataFrame:
    """One invocation with a delay and without, and boto3, in turn; rates in posts a second."""
    rows: list[dict[str, object]] = []
    with run_endpoint(Settings()) as delayed, run_endpoint(Settings(delay_ms=0)) as instant:
        for _ in range(rounds):
            for name, gateway in (("delay", delayed), ("no delay", instant)):
                with sending_to(gateway):
                    for is_cold in (True, False):
                        sent = support.post(name, 10_000, is_cold)
                        rate = 10_000 / sent.seconds
                        rows.append({"what": name, "cold": is_cold, "rate": rate, "cpu_ms": sent.cpu_ms})
            with sending_to(delayed):
                for name, number, threads in (("boto3", 200, 1), ("boto3, 32 threads", 1_500, 32)):
                    sent = support.boto3_posts(name, number, threads, "standard", warm_up=threads)
                    rows.append({"what": name, "cold": False, "rate": number / sent.seconds})
    table = pd.DataFrame(rows)
    rates, cpu_ms = (table.groupby(["what", "cold"])[name].median().to_dict() for name in ("rate", "cpu_ms"))
    for is_cold in (True, False):
        of, delayed_by, at_once = "cold" if is_cold else "warm", ("delay", is_cold), ("no delay", is_cold)
        bounds.at_least(f"rate with a delay / without, {of}", rates[delayed_by] / rates[at_once], 0.60)
        bounds.at_most(f"CPU a post with a delay / without, {of}", cpu_ms[delayed_by] / cpu_ms[at_once], 1.3)
    warm = rates["delay", False]
    bounds.at_least("rate / boto3's, one after another", warm / rates["boto3", False], 150)
    bounds.at_least("rate / boto3's, 32 threads", warm / rates["boto3, 32 threads", False], 18)
    return table


def sizes(bounds: Bounds, rounds: int, every: bool) -> pd.DataFrame:
    """Each size of room, cold and warm, against fixed numbers of connections; times in seconds.

    Warm is a broadcast that has all the connections that pay: the first few of a room open them.
    """
    rows: list[dict[str, object]] = []
    with run_endpoint(Settings()) as gateway, sending_to(gateway):
        for size in SIZES:
            kinds: dict[str | int, Callable[[str], ConnectionPool]] = {"by need": ConnectionPool}
            fixed = [number for number in (ALL_FIXED if every else FIXED) if number <= 2 * size]
            kinds |= {number: partial(support.FixedConnections, number) for number in fixed}
            for _, (name, make_pool) in product(range(rounds), kinds.items()):
                post = partial(support.post, "size", size, make_pool=make_pool)
                sent, kept = post(True), 0
                rows.append({"size": size, "connections": name, "cold": True, "seconds": sent.seconds})
                while sent.kept > kept:
                    kept, sent = sent.kept, post(False)
                rows.append({"size": size, "connections": name, "cold": False, "seconds": sent.seconds})
    table = pd.DataFrame(rows)
    seconds = table.groupby(["size", "connections", "cold"])["seconds"].median().to_dict()
    for size, is_cold in product(SIZES, (False, True)):
        best = min(seconds[size, number, is_cold] for number in FIXED if (size, number, is_cold) in seconds)
        ratio = seconds[size, "by need", is_cold] / best
        bounds.at_most(f"{size} ids, {'cold' if is_cold else 'warm'}: time / the best fixed number's", ratio, 1.1)
    return table


# --- under a quota ---------------------------------------------------------------------------------------------------


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


def measure(case: Case, pipes: list[support.Invocation]) -> dict[str, object]:
    """Run a case, whose invocations share its ids: what the endpoint saw of it."""
    ids, quota, is_known = case.ids, case.quota, case.who == "share known"
    share, stop, sender = SHARE * quota, threading.Event(), support.boto3_posts
    if case.who != "boto3 adaptive":
        rate = share if is_known else None
        sender = partial(support.post, is_cold=True, seconds=60, rate=rate, invocations=case.invocations)
    with ExitStack() as stack:
        gateway = stack.enter_context(run_endpoint(case.endpoint))
        stack.enter_context(sending_to(gateway))
        if case.bucket == "full":
            beside = stack.enter_context(ThreadPoolExecutor(1))
            client = beside.submit(support.post_politely, POLITE_PER_S, stop)
            stack.callback(client.result)
            stack.callback(stop.set)
        sent = support.run_together(pipes[: case.invocations], gateway, sender, ids)
        seen = gateway.report()
    polite_posts, polite_refused = seen["posts_by_sender"].get("polite", 0), seen["refused_by_sender"].get("polite", 0)
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
        "refused": round((seen["refused"] - polite_refused) / (seen["posts"] - polite_posts), 4),
        "polite refused": round(polite_refused / polite_posts, 4) if polite_posts else 0.0,
    }
    if case.bucket == "drained":
        row["back after"] = back_after_s(seen["accepted_by_slot"], share if is_known else quota)
    return row


def back_after_s(accepted: list[int], rate: float, slots: int = 5) -> float:
    """Seconds from DRAINED_S's end until 0.9 of the rate is accepted over some slots; infinite if it never is."""
    begin = round(DRAINED_S[1] / SLOT_S)
    for slot in range(begin, len(accepted) - slots + 1):
        if sum(accepted[slot : slot + slots]) >= 0.9 * rate * slots * SLOT_S:
            return (slot - begin) * SLOT_S
    return math.inf


def under_quota(bucket: str, bounds: Bounds, rounds: int, every: bool) -> pd.DataFrame:
    """Each case of a bucket, with the share known and with nothing known: a row for each, in each round."""
    whos = ("share known", "nothing known")
    cases = [Case(bucket, *each, who) for each in (ALL_CASES if every else CASES)[bucket] for who in whos]
    if bucket == "full":
        cases.append(Case(bucket, *ADAPTIVE, "boto3 adaptive"))
    if every and bucket in ("full", "drained"):
        rounds = 1
    with support.invocations(max(case.invocations for case in cases)) as pipes:
        table = pd.DataFrame([measure(case, pipes) for _ in range(rounds) for case in cases])
    bounds.at_most(f"bucket {bucket}: lost", table["lost"].sum(), 0)
    bounds.at_most(f"bucket {bucket}: heard twice", table["twice"].sum(), 0)
    medians = table.groupby(["quota", "invocations", "who"]).median(numeric_only=True).reset_index()
    BUCKETS[bucket](bounds, medians)
    return table


def bound_full(bounds: Bounds, medians: pd.DataFrame) -> None:
    """What must hold where the bucket is full."""
    (bar,) = medians[medians["who"] == "boto3 adaptive"]["used"]
    for who, rows in medians[medians["who"] != "boto3 adaptive"].groupby("who"):
        is_known = who == "share known"
        bounds.at_least(f"bucket full, {who}: used", rows["used"].min(), 0.95 if is_known else 0.90)
        few, many = rows[rows["invocations"] < 40], rows[rows["invocations"] >= 40]
        bounds.at_most(f"bucket full, {who}: refused", few["refused"].max(), 0.02 if is_known else 0.07)
        if len(many):
            bounds.at_most(f"bucket full, {who}: refused, 40", many["refused"].max(), 0.02 if is_known else 0.10)
        if is_known:
            bounds.at_most("bucket full: refused of the polite client's", rows["polite refused"].max(), 0.02)
        (same,) = rows[(rows["quota"] == ADAPTIVE[0]) & (rows["invocations"] == ADAPTIVE[1])]["used"]
        bounds.at_least(f"bucket full, {who}: used / boto3 adaptive's", same / bar, 1)


def bound_empty(bounds: Bounds, medians: pd.DataFrame) -> None:
    """What must hold where the first post finds nothing in the bucket."""
    known, unknown = (medians[medians["who"] == who] for who in ("share known", "nothing known"))
    bounds.at_most("bucket empty, share known: time / (ids / share)", known["of ids / share"].max(), 1.3)
    few, many = unknown[unknown["invocations"] < 40], unknown[unknown["invocations"] >= 40]
    bounds.at_least("bucket empty, nothing known: used", few["used"].min(), 0.85)
    bounds.at_least("bucket empty, nothing known: used, 40", many["used"].min(), 0.75)
    is_least = (medians["invocations"] >= 40) & (medians["quota"] <= 400)
    bounds.at_most("bucket empty: refused", medians[~is_least]["refused"].max(), 0.10)
    bounds.at_most("bucket empty: refused, 40 under 400", medians[is_least]["refused"].max(), 0.20)


def bound_drained(bounds: Bounds, medians: pd.DataFrame) -> None:
    """What must hold where others empty the bucket in the middle."""
    bounds.at_most("bucket drained: seconds until 0.9 of the rate", medians["back after"].max(), 1)


def bound_of_one(bounds: Bounds, medians: pd.DataFrame) -> None:
    """What must hold where the bucket never holds more than one post."""
    alone = medians[medians["invocations"] == 1]["of ids / share"]
    bounds.at_most("bucket of one: time / (ids / share)", alone.max(), 2.5)


BUCKETS = {"full": bound_full, "empty": bound_empty, "drained": bound_drained, "of one": bound_of_one}


# --- on a bad day ----------------------------------------------------------------------------------------------------


def storm(bounds: Bounds, rounds: int, every: bool) -> pd.DataFrame:
    """The endpoint refuses most posts for a while, to any id."""
    number = 4_000
    with run_endpoint(Settings(refused=STORM)) as gateway, sending_to(gateway):
        sent = support.post("storm", number, True, seconds=60)
        lost = number - gateway.report()["delivered"]
    bounds.at_most("storm: lost, or given up", lost + sent.counts["failed"], 0)
    return pd.DataFrame([{"seconds": sent.seconds, "lost": lost} | sent.counts])


def faults(bounds: Bounds, rounds: int, every: bool) -> pd.DataFrame:
    """Some peers are silent, break the connection, left or fail: who else is reached, and is it back in time?"""
    rows, seconds, number = [], 8, 5_000
    for tls in (True, False):
        settings = replace(FAULTS, tls=tls)
        with run_endpoint(settings) as gateway, sending_to(gateway):
            sent = support.post("fault", number, True, seconds)
            delivered = gateway.report()["delivered"]
        here = sum(Endpoint(settings).kind(b"fault-%d" % n) == "here" for n in range(number))
        outcomes = sum(sent.counts[name] for name in ("delivered", "gone", "failed", "unreached"))
        row = {"scheme": "https" if tls else "http", "not reached": here - delivered}
        rows.append(row | {"late_s": round(sent.seconds - seconds, 2), "accounted for": outcomes == number})
    table = pd.DataFrame(rows)
    bounds.at_most("not reached because of others' faults", table["not reached"].max(), 0)
    bounds.at_most("seconds after the deadline", table["late_s"].max(), 0.5)
    bounds.at_least("counts that add up, share", table["accounted for"].mean(), 1)
    return table


# --- the forecast ----------------------------------------------------------------------------------------------------


def calibrated(gateway: Gateway) -> limits.Parameters:
    """What the forecast is to know of this machine now: the CPU of a post, of a new connection and of a kept one.

    The sender and the endpoint work at the same time, so the larger one counts.
    """

    def cpu_ms(ids: int, is_cold: bool) -> "pd.Series[float]":
        """Of a post, by both sides."""
        before_s = gateway.cpu_s()
        own_ms = support.post("calibration", ids, is_cold).cpu_ms
        return pd.Series([own_ms, 1000 * (gateway.cpu_s() - before_s) / ids])

    with sending_to(gateway):
        gateway.clear()
        first_ms = cpu_ms(OPENING, is_cold=True)
        opened = gateway.report()["opened"]
        later = pd.DataFrame([cpu_ms(POSTING, is_cold=False) for _ in range(6)])
        later_ms = later[3:].median()  # the first ones open more connections
        (pool,) = POOLS.values()
        before_s = time.process_time()
        for connection in pool.idle:
            connection.is_dropped()
        check_ms = 1000 * (time.process_time() - before_s) / len(pool.idle)
    return replace(
        limits.DEFAULT, opening_ms=max(first_ms - later_ms) * OPENING / opened, cpu_ms=max(later_ms), check_ms=check_ms,
        post_ms=SETTINGS.delay_ms, opening_wait_ms=0.5, timeout_s=900.0, first_page=10**9,
        arrive_ms=0.0, page_ms=0.0, item_ms=0.0, invoke_ms=0.0, begin_ms=0.0, cold_ms=0.0,
    )  # fmt: skip


def compare(pipes: list[support.Invocation], shards: int, ids: int, rounds: int, case: str) -> dict[str, object]:
    """Foresee and measure a case: the medians of both times in seconds, and of their ratio less 1, over the rounds."""
    is_cold, quota, rows = case == "cold", SIZES_QUOTAS[ids] if case == "quota" else 0, []
    settings = replace(SETTINGS, quotas=((quota, quota / 2),) if quota else ())
    rate = SHARE * quota if quota else None
    sender = partial(support.post, is_cold=is_cold, rate=rate, invocations=shards)

    def broadcast(gateway: Gateway) -> list[support.Sent]:
        if shards > 1:
            return support.run_together(pipes[:shards], gateway, sender, ids)
        with sending_to(gateway):  # in this process: to wake another one takes time
            return [sender("s0", ids)]

    with ExitStack() as stack:
        gateway, reference = (stack.enter_context(run_endpoint(each)) for each in (settings, SETTINGS))
        for _ in range(rounds):
            known, kept = calibrated(reference), 0
            for _ in range(0 if is_cold else 1 if quota or ids > 10_000 else 5):  # until no more connections are opened
                kept = broadcast(gateway)[0].kept
            measured_s = max(sent.seconds for sent in broadcast(gateway))
            known = replace(known, kept=kept, requests_per_s=quota or 1e15)
            foreseen_s = limits.forecast(known, ids, shards).last_s
            error = foreseen_s / measured_s - 1
            rows.append({"seconds": measured_s, "foreseen_s": foreseen_s, "error": error})
        lost = ids - gateway.report()["delivered"]
    return {"shards": shards, "ids": ids, "case": case} | dict(pd.DataFrame(rows).median()) | {"lost": lost}


def forecasts(bounds: Bounds, rounds: int, every: bool) -> pd.DataFrame:
    """`chatlab.limits` against the real broadcast: a row for each case, as `compare` makes it."""
    rows = []
    with support.invocations(max(SHARDS)) as pipes:
        for ids in SIZES_QUOTAS:
            for case, shards in [("cold", 1), ("kept", 1), *(("quota", shards) for shards in SHARDS)]:
                rows.append(compare(pipes, shards, ids, 1 if case == "quota" else rounds, case))
                print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False, header=len(rows) == 1), flush=True)
    table = pd.DataFrame(rows)
    error, is_quota = table["error"].abs(), table["case"] == "quota"
    bounds.at_most("time foreseen / measured under a quota, the largest error", error[is_quota].max(), 0.20)
    # Where no quota binds, this machine's CPU does, which others may take a part of: so this is the usual error.
    bounds.at_most("time foreseen / measured without, the median error", error[~is_quota].median(), 0.20)
    bounds.at_most("lost", table["lost"].sum(), 0)
    return table


def local(bounds: Bounds, rounds: int, every: bool) -> pd.DataFrame:
    """The deployed function on the local cloud: posts a second beside a bare client's, a row for each invocation."""
    heard, posts = broadcasts.compare(rounds, [LOCAL_CONNECTIONS])
    ratio = broadcasts.ceiling_ratio(posts)
    bounds.at_least("local cloud: posts a second / a bare client's", ratio, broadcasts.CEILING_SHARE)
    # What the emulator takes for each post is in both times: so this has no bound, and is printed beside that floor.
    floor_ms = 1000 * LOCAL_CONNECTIONS / posts[posts["variant"] == "ceiling"]["posts_per_s"].median()
    sequential_ms = heard[heard["variant"] == "sequential"]["last_ms"].median()
    print(
        f"\nLocal cloud: time to last delivery {broadcasts.last_delivery_ratio(heard):.2f} of boto3's, one by one; a "
        f"bare client's posts alone {floor_ms / sequential_ms:.2f} of it."
    )
    return posts


PARTS: dict[str, Callable[[Bounds, int, bool], pd.DataFrame]] = {
    "speed": speed,
    "sizes": sizes,
    "empty": partial(under_quota, "empty"),
    "of one": partial(under_quota, "of one"),
    "drained": partial(under_quota, "drained"),
    "storm": storm,
    "full": partial(under_quota, "full"),
    "faults": faults,
    "forecasts": forecasts,
    "local": local,
}
"""Each measures in some rounds, all cases or a few, and adds what must hold to the bounds."""
ONLY_IN_ALL = ("forecasts", "local")


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the tables and the bounds.

    Raises:
        LoadTestError: with `--check`, if a bound does not hold.
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
        shown = measured[name] = PARTS[name](bounds, options.rounds, options.all)
        if name in ("speed", "sizes"):
            keys = [key for key in ("size", "what", "connections", "cold") if key in shown]
            shown = shown.groupby(keys, sort=False).median().reset_index()
        print(f"\n{shown.round(4).to_string(index=False)}", flush=True)
    report(bounds, options.json, options.check, **measured)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
