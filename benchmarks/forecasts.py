"""The model against the real broadcast: what `chatlab.model` foresees of `benchmarks.api_gateway`.

Two figures of this machine are measured first, at an endpoint without delay: what a post computes, and what opening a
connection does. All else that the model is told is the endpoint's settings. Where many invocations without a quota
would be more than the machine can carry, answers take longer and fewer posts may be under way: the ratio is the same.
"""

import os
import time
from dataclasses import replace
from selectors import DefaultSelector

import pandas as pd

from benchmarks import api_gateway, senders
from benchmarks.api_gateway import Settings
from benchmarks.senders import http_pool
from chatlab import model

# Invocations, the delay in ms, and posts under way at most.
SCALES = {1: (8.0, 400), 4: (80.0, 200), 10: (100.0, 100)}
QUOTAS = {1_000: 400, 10_000: 2_000, 100_000: 10_000}  # posts a second, for so many ids
VARIATION = 0.25
ERRORS = 0.02
TIMEOUT_S = 3.0


def calibrated() -> model.Parameters:
    """What the model is to know of this machine: its own work for a post and for a connection, endpoint's included."""
    with api_gateway.run(Settings(delay_ms=0)) as gateway:
        os.environ |= senders.at(gateway)
        for _ in range(2):  # the second completes what is open
            senders.post("calibration", 10_000, False)
        took = [senders.post("calibration", 10_000, False)["seconds"] for _ in range(5)]
        cpu_ms = sorted(took)[2] * 1000 / 10_000
        opening_ms, accept_ms = 1000 * pd.DataFrame([opening(gateway, 100) for _ in range(5)]).median()
    nothing = dict.fromkeys(("arrive_ms", "page_ms", "item_ms", "invoke_ms", "begin_ms", "cold_ms"), 0.0)
    known = {"cpu_ms": cpu_ms, "opening_ms": opening_ms, "opening_wait_ms": 0.5, "accept_ms": accept_ms}
    return replace(model.DEFAULT, **nothing, **known, first_page=10**9, timeout_s=120.0, hand_over_s=0.0, reserve_s=0.0)


def opening(gateway, number) -> tuple[float, float]:
    """Seconds for each of so many connections that are opened at once: of this process's CPU, and of the time."""
    pool, selector = http_pool.ConnectionPool(gateway.url), DefaultSelector()
    pool.resolve(1)
    started, cpu = time.perf_counter(), time.process_time()
    left = {pool.open() for _ in range(number)}
    for connection in left:
        selector.register(connection.fd, connection.interest, connection)
    while left:
        for key, _ in selector.select():
            connection = key.data
            connection.advance()
            if connection.is_open:
                left.discard(connection)
                selector.unregister(connection.fd)
                connection.close()
            else:
                selector.modify(connection.fd, connection.interest, connection)
    return (time.process_time() - cpu) / number, (time.perf_counter() - started) / number


def measured(gateway, pipes, ids, is_cold, seconds, rate, most) -> dict:
    """One broadcast by all of these: its seconds, its losses, and how many connections each has kept."""
    outcomes = senders.together(pipes, gateway, senders.post, ids, is_cold, seconds, rate, len(pipes), most=most)
    return {
        "seconds": max(outcome["seconds"] for outcome in outcomes),
        "lost": ids - sum(outcome["delivered"] for outcome in outcomes),
        "kept": round(sum(outcome["kept"] for outcome in outcomes) / len(pipes)),
    }


def compare(known: model.Parameters, pipes, shards: int, ids: int, rounds: int, **case) -> dict:
    """A case, measured so often and foreseen: a row with both times in seconds, and both numbers of who was lost.

    `case`: `quota` in posts a second, `cold`, `errors` (a share), `long_tail`, `seconds` (the time-out).
    """
    quota, is_cold, errors = case.get("quota"), case.get("cold", False), case.get("errors", 0.0)
    delay, most = (8.0, 400) if quota else SCALES[shards]
    variation = 1.0 if case.get("long_tail") else VARIATION
    settings = Settings(
        delay_ms=delay, spread_ms=variation * delay, long_tail=bool(case.get("long_tail")), error=errors,
        quotas=((quota, quota / 2),) if quota else (),
    )  # fmt: skip
    rate, seconds = known.share * quota if quota else None, case.get("seconds", 120.0)
    with api_gateway.run(settings) as gateway:
        how = (gateway, pipes[:shards], ids, is_cold, seconds, rate, most)
        kept = 0 if is_cold else [measured(*how) for _ in range(2)][-1]["kept"]
        rows = [measured(*how) for _ in range(rounds)]
    found = pd.DataFrame(rows).median()
    if errors:  # which ids fail is drawn by the endpoint
        kinds = api_gateway.Endpoint(settings)
        errors = sum(kinds.kind(f"s0-{n}".encode()) == "error" for n in range(ids)) / ids
    parameters = replace(
        known, post_ms=delay, post_variation=variation, in_flight=most, kept=kept, errors=errors,
        requests_per_s=quota or 1e9, timeout_s=seconds,
    )  # fmt: skip
    outcome = model.broadcast(parameters, ids, shards)
    return {
        "shards": shards,
        "ids": ids,
        "case": ", ".join(
            f"{name} {value:g}" if not isinstance(value, bool) else name for name, value in case.items() if value
        )
        or "kept connections",
        "seconds": found["seconds"],
        "foreseen_s": outcome.done_s,
        "lost": int(found["lost"]),
        "foreseen_lost": ids - outcome.delivered,
    }


def forecasts(rounds: int = 3) -> pd.DataFrame:
    """All cases: a row for each, as `compare` makes it; `error` is the foreseen time over the measured one, less 1."""
    known = calibrated()
    names = ("cpu_ms", "opening_ms", "accept_ms")
    print("Calibrated:", ", ".join(f"{name} {getattr(known, name):.3f}" for name in names), flush=True)
    rows = []
    with senders.invocations(max(SCALES)) as pipes:

        def case(shards, ids, rounds, **options):
            rows.append(compare(known, pipes, shards, ids, rounds, **options))
            print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)

        for ids in QUOTAS:  # at once after the calibration: a machine is not equally fast all the time
            for is_cold in (True, False):
                case(1, ids, rounds, cold=is_cold)
        case(1, 10_000, rounds, long_tail=True)
        case(1, 10_000, rounds, errors=ERRORS)
        for ids, quota in QUOTAS.items():
            for shards in SCALES:
                if shards > 1:
                    case(shards, ids, 1)
                case(shards, ids, 1, quota=quota)
        case(4, 10_000, 1, quota=2_000, seconds=TIMEOUT_S)
    return pd.DataFrame(rows).assign(error=lambda row: row["foreseen_s"] / row["seconds"] - 1)
