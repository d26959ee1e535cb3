"""The model against the real broadcast: what `chatlab.capacity.model` foresees of `benchmarks.api_gateway`.

The CPU that a post and a connection take of this machine, on both sides, is measured first; how long anything takes is
not. All else that the model knows is the endpoint's settings. Where many invocations without a quota would be more
than the machine can carry, answers take longer and fewer posts may be in flight: the ratio is the same.
"""

import math
import time
from dataclasses import dataclass, fields, replace
from functools import partial

import pandas as pd

from benchmarks import api_gateway, senders
from benchmarks.api_gateway import Gateway
from benchmarks.endpoint import Endpoint, Settings
from benchmarks.environment import environment
from benchmarks.functions import ConnectionPool, HttpConnection
from chatlab.capacity import model, simulation

# Invocations, the delay in ms, and posts in flight at most.
SCALES = {1: (8.0, 400), 4: (80.0, 200), 10: (100.0, 100)}
QUOTAS = {1_000: 400, 10_000: 2_000, 100_000: 10_000}  # posts a second, for so many ids
VARIATION, LONG_TAIL = 0.25, 0.5
ERRORS = 0.02
TIMEOUT_S = 3.0
SEEDS = range(1, 6)
OPENED, POSTED = 200, 10_000  # for the calibration


@dataclass(frozen=True)
class Case:
    """What distinguishes a case from the broadcast over kept connections to an endpoint without a quota."""

    quota: int = 0
    """Posts a second; 0: none."""
    cold: bool = False
    """Over new connections."""
    errors: float = 0.0
    """The share of ids that are always answered 500."""
    long_tail: bool = False
    """Of the time until a response."""
    seconds: float = 120.0
    """The broadcast's time-out."""

    def __str__(self) -> str:
        differing = {
            field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default
        }
        words = (name if value is True else f"{name} {value:g}" for name, value in differing.items())
        return ", ".join(words) or "kept connections"


def calibrated() -> model.Parameters:
    """What the model is to know of this machine: the work for a post and for a connection, and the endpoint's for that.

    The endpoint's for a post is measured with each case: one process of it takes half as much again as another one.
    """
    rows = []
    with api_gateway.run(Settings()) as gateway, environment(senders.sender_environment(gateway)):
        for number in range(7):
            endpoint_s, own_s = gateway.cpu_s(), time.process_time()
            connections = opened(gateway, OPENED)
            opening_s, accept_s = time.process_time() - own_s, gateway.cpu_s() - endpoint_s
            for _ in range(2):  # the first time, there are TLS's session tickets to read
                own_s = time.process_time()
                assert not any(connection.is_dropped() for connection in connections)
            check_s = time.process_time() - own_s
            cpu_ms = senders.post("calibration", POSTED, False).cpu_ms
            for connection in connections:
                connection.socket.close()
            seconds = {"opening_ms": opening_s, "accept_ms": accept_s, "check_ms": check_s}
            if number > 1:  # the first ones open connections
                rows.append({name: 1000 * value / OPENED for name, value in seconds.items()} | {"cpu_ms": cpu_ms})
    found = pd.DataFrame(rows).median()
    return replace(
        model.DEFAULT, opening_ms=found["opening_ms"], accept_ms=found["accept_ms"], check_ms=found["check_ms"],
        cpu_ms=found["cpu_ms"], opening_wait_ms=0.5, timeout_s=120.0, hand_over_s=0.0, reserve_s=0.0,
        first_page=10**9, arrive_ms=0.0, page_ms=0.0, item_ms=0.0, invoke_ms=0.0, begin_ms=0.0, cold_ms=0.0,
    )  # fmt: skip


def opened(gateway: Gateway, number: int) -> list[HttpConnection]:
    """So many connections, opened at once."""
    pool = ConnectionPool(gateway.url)
    pool.begin(invocations=1, timeout_s=1)
    connections = [pool.open(math.inf) for _ in range(number)]
    while pool.selector.get_map():
        for key, _ in pool.selector.select():
            key.data.advance()
            if key.data.is_open:  # what comes now, TLS's session tickets, is none of this
                pool.selector.unregister(key.data.fd)
            else:
                pool.watch(key.data)
    return connections


@dataclass(frozen=True)
class Measured:
    """One broadcast by all invocations."""

    seconds: float
    lost: int
    kept: int
    """How many connections each invocation has kept, on average."""


def measured(
    gateway: Gateway, pipes: list[senders.Invocation], ids: int, case: Case, rate: float | None, max_in_flight: int
) -> Measured:
    """Broadcast once to so many ids, by all of these invocations."""
    sender = partial(
        senders.post, is_cold=case.cold, seconds=case.seconds, rate=rate, invocations=len(pipes),
        make_pool=partial(senders.LimitedConnections, max_in_flight),
    )  # fmt: skip
    if len(pipes) == 1:  # in this process: where all is over in 30 ms, waking another one up is a good part of it
        with environment(senders.sender_environment(gateway)):
            sent = [sender("s0", ids)]
    else:
        sent = senders.run_together(pipes, gateway, sender, ids)
    return Measured(
        seconds=max(each.seconds for each in sent),
        lost=ids - sum(each.delivered for each in sent),
        kept=round(sum(each.kept for each in sent) / len(pipes)),
    )


def compare(
    known: model.Parameters, pipes: list[senders.Invocation], shards: int, ids: int, rounds: int, case: Case
) -> dict[str, object]:
    """A case, measured so often and foreseen: a row with both times in seconds, and both numbers of who was lost."""
    delay_ms, max_in_flight = (8.0, 400) if case.quota else SCALES[shards]
    variation = LONG_TAIL if case.long_tail else VARIATION
    settings = Settings(
        delay_ms=delay_ms, spread_ms=variation * delay_ms, long_tail=case.long_tail, error=case.errors,
        quotas=((case.quota, case.quota / 2),) if case.quota else (),
    )  # fmt: skip
    rate = known.share * case.quota if case.quota else None
    with api_gateway.run(settings) as gateway:
        measure = partial(measured, gateway, pipes[:shards], ids, case, rate, max_in_flight)
        # Some broadcasts until no more connections are opened; where the quota is the limit, that is no matter.
        before = 0 if case.cold else 1 if case.quota or ids > 10_000 else 5
        kept = ([0] + [measure().kept for _ in range(before)])[-1]
        gateway.clear()
        before_s = gateway.cpu_s()
        found = pd.DataFrame([vars(measure()) for _ in range(rounds)]).median()
        cpu_s, report = gateway.cpu_s() - before_s, gateway.report()
    serve_ms = max(0.0, 1000 * cpu_s - report["opened"] * known.accept_ms) / report["posts"]
    errors = 0.0
    if case.errors:  # the share as it was drawn
        endpoint = Endpoint(settings)
        errors = sum(endpoint.kind(f"s0-{n}".encode()) == "error" for n in range(ids)) / ids
    parameters = replace(
        known, post_ms=delay_ms, post_variation=variation, in_flight=max_in_flight, kept=kept, errors=errors,
        requests_per_s=case.quota or 1e9, timeout_s=case.seconds, serve_ms=serve_ms,
    )  # fmt: skip
    foreseen = pd.DataFrame(vars(simulation.simulate(parameters, ids, shards, seed)) for seed in SEEDS).median()
    return {
        "shards": shards,
        "ids": ids,
        "case": str(case),
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

        def add(shards: int, ids: int, rounds: int, case: Case) -> None:
            rows.append(compare(known, pipes, shards, ids, rounds, case))
            print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)

        for ids in QUOTAS:  # at once after the calibration: a machine is not equally fast all the time
            for is_cold in (True, False):
                add(1, ids, rounds, Case(cold=is_cold))
        add(1, 10_000, 3 * rounds, Case(long_tail=True))
        add(1, 10_000, rounds, Case(errors=ERRORS))
        for ids, quota in QUOTAS.items():
            for shards in SCALES:
                if shards > 1:
                    add(shards, ids, 1, Case())
                add(shards, ids, 1, Case(quota=quota))
        add(4, 10_000, 1, Case(quota=2_000, seconds=TIMEOUT_S))
    return pd.DataFrame(rows).assign(error=lambda row: row["foreseen_s"] / row["seconds"] - 1)
