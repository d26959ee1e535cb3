"""The forecast of `chatlab.limits` against the real broadcast at `benchmarks.api_gateway`.

The CPU that a post and a new connection take, on both sides, is measured right before each broadcast: the slower side
counts. How long anything takes is not measured beforehand. All else that the forecast knows is the endpoint's settings.
"""

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pandas as pd

from benchmarks import api_gateway, senders
from benchmarks.api_gateway import Gateway
from benchmarks.endpoint import Settings
from benchmarks.environment import environment
from chatlab import limits
from chatlab.fanout import http_connections

SIZES_QUOTAS = {1_000: 400, 10_000: 2_000, 100_000: 10_000}  # posts a second, for so many ids
SHARDS = (1, 4, 10)  # under a quota; without one, several would be more than two cores can carry
OPENING, POSTING = 400, 2_000  # ids, for the calibration
SETTINGS = Settings()


def calibrated(gateway: Gateway) -> limits.Parameters:
    """What the forecast is to know of this machine now: the CPU of a post, of a new connection and of a kept one.

    The sender and the endpoint work at the same time, so the larger one counts.
    """

    def cpu_ms(ids: int, is_cold: bool) -> "pd.Series[float]":
        """Of a post, by both sides."""
        before_s = gateway.cpu_s()
        own_ms = senders.post("calibration", ids, is_cold).cpu_ms
        return pd.Series([own_ms, 1000 * (gateway.cpu_s() - before_s) / ids])

    with environment(senders.sender_environment(gateway)):
        gateway.clear()
        first_ms = cpu_ms(OPENING, is_cold=True)
        opened = gateway.report()["opened"]
        later = pd.DataFrame([cpu_ms(POSTING, is_cold=False) for _ in range(6)])
        later_ms = later[3:].median()  # the first ones open more connections
        (pool,) = http_connections.POOLS.values()
        before_s = time.process_time()
        for connection in pool.idle:
            connection.is_dropped()
        check_ms = 1000 * (time.process_time() - before_s) / len(pool.idle)
    return replace(
        limits.DEFAULT, opening_ms=max(first_ms - later_ms) * OPENING / opened, cpu_ms=max(later_ms), check_ms=check_ms,
        post_ms=SETTINGS.delay_ms, opening_wait_ms=0.5, timeout_s=900.0, first_page=10**9,
        arrive_ms=0.0, page_ms=0.0, item_ms=0.0, invoke_ms=0.0, begin_ms=0.0, cold_ms=0.0,
    )  # fmt: skip


def compare(pipes: list[senders.Invocation], shards: int, ids: int, rounds: int, case: str) -> dict[str, object]:
    """A case, foreseen and measured so often: the medians of both times in seconds, and of their ratio less 1."""
    is_cold, quota, rows = case == "cold", SIZES_QUOTAS[ids] if case == "quota" else 0, []
    settings = replace(SETTINGS, quotas=((quota, quota / 2),) if quota else ())
    rate = limits.DEFAULT.share * quota if quota else None
    sender = partial(senders.post, is_cold=is_cold, rate=rate, invocations=shards)

    def broadcast(gateway: Gateway) -> list[senders.Sent]:
        if shards > 1:
            return senders.run_together(pipes[:shards], gateway, sender, ids)
        with environment(senders.sender_environment(gateway)):  # in this process: to wake another one takes time
            return [sender("s0", ids)]

    with ExitStack() as stack:
        gateway, reference = (stack.enter_context(api_gateway.run(each)) for each in (settings, SETTINGS))
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


def forecasts(rounds: int = 3) -> pd.DataFrame:
    """All cases: a row for each, as `compare` makes it; `error` is the foreseen time over the measured one, less 1."""
    rows = []
    with senders.invocations(max(SHARDS)) as pipes:
        for ids in SIZES_QUOTAS:
            for case, shards in [("cold", 1), ("kept", 1), *(("quota", shards) for shards in SHARDS)]:
                rows.append(compare(pipes, shards, ids, 1 if case == "quota" else rounds, case))
                print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False, header=len(rows) == 1), flush=True)
    return pd.DataFrame(rows)
