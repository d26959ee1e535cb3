"""The model against the real broadcast: what `chatlab.capacity.model` foresees of `benchmarks.api_gateway`.

The CPU that a post and a connection take of this machine, on both sides, is measured first; how long anything takes is
not. All else that the model is told is the endpoint's settings. Where many invocations without a quota would be more
than the machine can carry, answers take longer and fewer posts may be under way: the ratio is the same.
"""

import os
import time
from dataclasses import replace
from selectors import DefaultSelector

import pandas as pd

from benchmarks import api_gateway, senders
from benchmarks.api_gateway import Settings
from benchmarks.senders import http_pool
from chatlab.capacity import model, simulation

# Invocations, the delay in ms, and posts under way at most.
SCALES = {1: (8.0, 400), 4: (80.0, 200), 10: (100.0, 100)}
QUOTAS = {1_000: 400, 10_000: 2_000, 100_000: 10_000}  # posts a second, for so many ids
VARIATION, LONG_TAIL = 0.25, 0.5
ERRORS = 0.02
TIMEOUT_S = 3.0
SEEDS = range(1, 6)
OPENED, POSTED = 200, 10_000  # for the calibration


def calibrated() -> model.Parameters:
    """What the model is to know of this machine: the work for a post and for a connection, and the endpoint's for that.

    The endpoint's for a post is measured with each case: one process of it takes half as much again as another one.
    """
    rows = []
    with api_gateway.run(Settings()) as gateway:
        os.environ |= senders.at(gateway)
        for number in range(7):
            at_first, own = gateway.cpu_s(), time.process_time()
            connections = opened(gateway, OPENED)
            opening_s, accept_s = time.process_time() - own, gateway.cpu_s() - at_first
            for _ in range(2):  # the first time, there are TLS's session tickets to read
                own = time.process_time()
                assert not any(connection.is_dropped() for connection in connections)
            check_s = time.process_time() - own
            cpu_ms = senders.post("calibration", POSTED, False)["cpu_ms"]
            for connection in connections:
                connection.close()
            seconds = {"opening_ms": opening_s, "accept_ms": accept_s, "check_ms": check_s}
            times = {name: 1000 * value / OPENED for name, value in seconds.items()}
            if number > 1:  # the first ones open connections
                rows.append(times | {"cpu_ms": cpu_ms})
    found = pd.DataFrame(rows).median().to_dict()
    nothing = dict.fromkeys(("arrive_ms", "page_ms", "item_ms", "invoke_ms", "begin_ms", "cold_ms"), 0.0)
    times = {"opening_wait_ms": 0.5, "timeout_s": 120.0, "hand_over_s": 0.0, "reserve_s": 0.0}
    return replace(model.DEFAULT, **nothing, **found, **times, first_page=10**9)


def opened(gateway, number) -> list:
    """So many connections, opened at once."""
    pool, selector = http_pool.ConnectionPool(gateway.url), DefaultSelector()
    pool.resolve(1)
    connections = [pool.open() for _ in range(number)]
    for connection in connections:
        selector.register(connection.fd, connection.interest, connection)
    while selector.get_map():
        for key, _ in selector.select():
            connection = key.data
            connection.advance()
            if connection.is_open:
                selector.unregister(connection.fd)
            else:
                selector.modify(connection.fd, connection.interest, connection)
    return connections


def measured(gateway, pipes, ids, is_cold, seconds, rate, most) -> dict:
    """One broadcast by all of these: its seconds, its losses, and how many connections each has kept."""
    how = (is_cold, seconds, rate, len(pipes))
    if len(pipes) == 1:  # in this process: where all is over in 30 ms, waking another one up is a good part of it
        os.environ |= senders.at(gateway)
        outcomes = [senders.post("s0", ids, *how, most=most)]
    else:
        outcomes = senders.together(pipes, gateway, senders.post, ids, *how, most=most)
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
    variation = LONG_TAIL if case.get("long_tail") else VARIATION
    settings = Settings(
        delay_ms=delay, spread_ms=variation * delay, long_tail=bool(case.get("long_tail")), error=errors,
        quotas=((quota, quota / 2),) if quota else (),
    )  # fmt: skip
    rate, seconds = known.share * quota if quota else None, case.get("seconds", 120.0)
    with api_gateway.run(settings) as gateway:
        how = (gateway, pipes[:shards], ids, is_cold, seconds, rate, most)
        # Some broadcasts until no more connections are opened; where the quota is the limit, that is no matter.
        before = 0 if is_cold else 1 if quota or ids > 10_000 else 5
        kept = ([0] + [measured(*how)["kept"] for _ in range(before)])[-1]
        gateway.clear()
        before_s = gateway.cpu_s()
        rows = [measured(*how) for _ in range(rounds)]
        cpu_s, report = gateway.cpu_s() - before_s, gateway.report()
    serve_ms = max(0.0, 1000 * cpu_s - report["opened"] * known.accept_ms) / report["posts"]
    found = pd.DataFrame(rows).median()
    if errors:  # which ids fail is drawn by the endpoint
        kinds = api_gateway.Endpoint(settings)
        errors = sum(kinds.kind(f"s0-{n}".encode()) == "error" for n in range(ids)) / ids
    parameters = replace(
        known, post_ms=delay, post_variation=variation, in_flight=most, kept=kept, errors=errors,
        requests_per_s=quota or 1e9, timeout_s=seconds, serve_ms=serve_ms,
    )  # fmt: skip
    foreseen = pd.DataFrame(vars(simulation.simulate(parameters, ids, shards, seed)) for seed in SEEDS).median()
    return {
        "shards": shards,
        "ids": ids,
        "case": ", ".join(
            f"{name} {value:g}" if not isinstance(value, bool) else name for name, value in case.items() if value
        )
        or "kept connections",
        "seconds": found["seconds"],
        "foreseen_s": foreseen["done_s"],
        "lost": int(found["lost"]),
        "foreseen_lost": ids - int(foreseen["delivered"]),
    }


def forecasts(rounds: int = 3) -> pd.DataFrame:
    """All cases: a row for each, as `compare` makes it; `error` is the foreseen time over the measured one, less 1."""
    known = calibrated()
    names = ("cpu_ms", "opening_ms", "accept_ms", "check_ms")
    print("Calibrated:", ", ".join(f"{name} {getattr(known, name):.4f}" for name in names), flush=True)
    rows = []
    with senders.invocations(max(SCALES)) as pipes:

        def case(shards, ids, rounds, **options):
            rows.append(compare(known, pipes, shards, ids, rounds, **options))
            print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)

        for ids in QUOTAS:  # at once after the calibration: a machine is not equally fast all the time
            for is_cold in (True, False):
                case(1, ids, rounds, cold=is_cold)
        case(1, 10_000, 3 * rounds, long_tail=True)
        case(1, 10_000, rounds, errors=ERRORS)
        for ids, quota in QUOTAS.items():
            for shards in SCALES:
                if shards > 1:
                    case(shards, ids, 1)
                case(shards, ids, 1, quota=quota)
        case(4, 10_000, 1, quota=2_000, seconds=TIMEOUT_S)
    return pd.DataFrame(rows).assign(error=lambda row: row["foreseen_s"] / row["seconds"] - 1)
