"""What a chat costs: metered quantities times prices.

    cost.estimate(connections=1_000, broadcasts=20, payload_bytes=200, minutes=2).dollars

The quantities follow from what the lab's functions do; nothing is read from a bill. There is no other traffic than the
chat's own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
import pandas as pd

from chatlab.capacity.prices import PRICES, Prices
from chatlab.limits import default_requests_per_s

# The steps in which AWS bills, and what the lab's own code and settings use of each.
MESSAGE_BYTES = 32 * 1024  # a WebSocket message is metered in steps of so many bytes, in and out
READ_UNIT_BYTES = 4 * 1024  # of an eventually consistent read half a unit is charged
ITEM_BYTES = 110  # an item of the table: names and values of connection_id, connected_at and expires_at
MEMORY_GB = {"connect": 0.5, "default": 1769 / 1024, "disconnect": 0.25}  # as notebook 03 sets them
SHORT_CALL_S = 0.010  # $connect and $disconnect, each one request to DynamoDB
# Of one invocation: the part of the account's default quota that notebook 03 gives it. It could post over 20,000
# (docs/fanout.md), so the quota is what it waits for.
REQUESTS_PER_S, POSTS_SHARE = default_requests_per_s("us-east-1"), 0.8
POSTS_PER_SECOND = POSTS_SHARE * REQUESTS_PER_S
LOG_LINE_BYTES = 700  # the broadcast's line, and the three that Lambda writes itself
HAND_OVER_S = 18  # after which a broadcast's first invocation hands the rest to a second one: lambda_broadcast.py
TIMEOUT_S = 30  # of that second one: notebook 03
READ_AHEAD = 7_500  # items that an invocation has read and not posted to: lambdas/post_queue.py
METRICS = 10  # that CloudWatch makes of the broadcast's log line; each costs for the hours in which there is one
HOURS_A_MONTH = 730
FRAME_BYTES = 40  # around each message on its way out: WebSocket, TLS and TCP headers


@dataclass(frozen=True)
class Bill:
    """Quantities of what is metered, by the names of `PRICES`, and what they cost."""

    quantities: dict[str, float]
    prices: Prices

    @property
    def dollars(self) -> float:
        """The total, in US dollars."""
        return sum(quantity * self.prices[what] for what, quantity in self.quantities.items())

    @property
    def table(self) -> pd.DataFrame:
        """A DataFrame: `quantity`, `price` (for one) and `dollars` of what is metered; the last row is the total."""
        rows = pd.DataFrame({"quantity": self.quantities, "price": pd.Series(self.prices)}).loc[list(self.quantities)]
        rows["dollars"] = rows["quantity"] * rows["price"]
        rows.loc["in all", "dollars"] = rows["dollars"].sum()
        return rows

    @property
    def shown(self) -> pd.DataFrame:
        """The same as texts, to be read: no more digits than are known, and small prices by the million."""

        def price(dollars: float) -> str:
            return f"{dollars:.2f}" if dollars >= 0.01 else f"{1e6 * dollars:,.3g} a million"

        rows = [
            (what, _three_digits(quantity), price(self.prices[what]), _dollars(quantity * self.prices[what]))
            for what, quantity in self.quantities.items()
        ]
        rows.append(("in all", "", "", _dollars(self.dollars)))
        return pd.DataFrame(rows, columns=["", "quantity", "price in US dollars", "US dollars"]).set_index("")

    def __add__(self, other: "Bill") -> "Bill":
        """Both together, at this one's prices."""
        names = [*self.quantities, *(name for name in other.quantities if name not in self.quantities)]
        quantities = {name: self.quantities.get(name, 0) + other.quantities.get(name, 0) for name in names}
        return Bill(quantities, self.prices)


def estimate(
    connections: int,
    broadcasts: int,
    payload_bytes: int = 200,
    minutes: float = 0.0,
    shards: int = 1,
    posts_per_second: float = POSTS_PER_SECOND,
    prices: Prices = PRICES,
) -> Bill:
    """What a load test, or an hour of a room, uses.

    Args:
        connections: how many connect, stay, and receive every broadcast.
        broadcasts: how many messages are broadcast in all.
        payload_bytes: of each.
        minutes: for how long the connections are open.
        shards: into how many invocations each broadcast is split.
        posts_per_second: of one invocation. If shards wait for the account's quota, each one's part of it.
        prices: `PRICES`, or what `read_prices` returned.
    """
    deliveries = broadcasts * connections
    steps = max(1, math.ceil(payload_bytes / MESSAGE_BYTES))
    shard_s = connections / shards / posts_per_second
    reads = shards * math.ceil(max(1, connections / shards * ITEM_BYTES / READ_UNIT_BYTES)) / 2
    calls = 2 * connections + broadcasts * shards
    gb_seconds = (
        connections * SHORT_CALL_S * (MEMORY_GB["connect"] + MEMORY_GB["disconnect"])
        + broadcasts * shards * shard_s * MEMORY_GB["default"]
    )
    hours = max(1, math.ceil(minutes / 60)) if broadcasts else 0
    quantities = {
        "WebSocket messages": (deliveries + broadcasts) * steps,
        "connection minutes": connections * math.ceil(minutes),  # each connection's are rounded up
        "Lambda requests": calls,
        "Lambda GB-seconds": gb_seconds,
        "DynamoDB read units": broadcasts * reads,
        "DynamoDB write units": 2 * connections,  # the item is put, and deleted
        "log GB": calls * LOG_LINE_BYTES / 1e9,
        "metric months": METRICS * hours / HOURS_A_MONTH,
        "GB out": deliveries * (payload_bytes + FRAME_BYTES) / 1e9,
    }
    return Bill(quantities, prices)


def _three_digits(value: float) -> str:
    """A number with three significant digits, whole from 100 on, never as a power of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    return np.format_float_positional(float(f"{value:.3g}"), trim="-")


def _dollars(value: float) -> str:
    return f"{value:.4f}" if value >= 0.00005 or not value else "under 0.0001"


class Load(TypedDict):
    """A load, as arguments of `estimate`."""

    connections: int
    broadcasts: int
    payload_bytes: NotRequired[int]
    minutes: float


LOAD_TEST: Load = {"connections": 200, "broadcasts": 22, "payload_bytes": 200, "minutes": 1}
"""Notebook 06 as it stands, its warm-up included."""
COMPARISON_STEPS = {"fanout": [62, 125, 250, 500, 1_000], "sequential": [62, 125, 250]}
"""Notebook 07 as it stands, on an account with AWS's default quotas: for each run its numbers of connections."""
COMPARISON_BROADCASTS_PER_S = {"fanout": 3, "sequential": 0.25}
"""The same: for each run its broadcasts a second."""
BUILD_AND_TRY: Load = {"connections": 20, "broadcasts": 50, "minutes": 10}
"""Of notebooks 01 to 05, whose checks are some connections and messages, and of a person in a browser."""


def estimate_comparison(
    steps: Mapping[str, Sequence[int]],
    broadcasts_per_s: Mapping[str, float],
    broadcasts_each: int = 9,
    payload_bytes: int = 200,
    prices: Prices = PRICES,
) -> Bill:
    """What notebook 07's runs use, as if everybody connected anew for each step, which is a little too much.

    Args:
        steps: for each run its numbers of connections, as `COMPARISON_STEPS`.
        broadcasts_per_s: for each run, as `COMPARISON_BROADCASTS_PER_S`.
        broadcasts_each: how many in each step, the warm-up included.
    """
    minutes = sum(broadcasts_each * len(steps[run]) / broadcasts_per_s[run] for run in steps) / 60
    return estimate(sum(map(sum, steps.values())), broadcasts_each, payload_bytes, minutes, prices=prices)


def estimate_whole_lab(prices: Prices = PRICES) -> Bill:
    """All notebooks, run once within an hour, at AWS's default quotas."""
    parts = estimate(**BUILD_AND_TRY, prices=prices) + estimate(**LOAD_TEST, prices=prices)
    together = parts + estimate_comparison(COMPARISON_STEPS, COMPARISON_BROADCASTS_PER_S, prices=prices)
    return Bill(together.quantities | {"metric months": METRICS / HOURS_A_MONTH}, prices)


def estimate_abuse(
    connections: int,
    messages_per_s: float,
    connects_per_s: float,
    payload_bytes: int = 200,
    requests_per_s: float = REQUESTS_PER_S,
    concurrency: float = 1_000,
    timeout_s: float = TIMEOUT_S,
    prices: Prices = PRICES,
) -> Bill:
    """The most that a stranger who has found the chat's URL can cost in an hour.

    Strangers hold some connections open and send all the time as many messages as the stage lets them, each of which
    goes to everybody; and with others they connect and leave as fast as the stage lets them. Bounds, each taken at its
    worst: what the stage takes; the account's quota, which all messages count against, in and out; and the concurrency,
    because a broadcast that has to wait for the quota is paid for until its time-out. Some connections never read: if
    they are the majority, that looks like a quota that is used up, and each broadcast tries until its time-out.
    Assumed: a refused request costs nothing, and each client's network is fast enough.
    API Gateway's throttling is a target, and can be overrun:
    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html

    Args:
        connections: how many receive each message, the strangers' own and everybody else's.
        messages_per_s: what the stage takes on `$default`.
        connects_per_s: what it takes on `$connect`.
        payload_bytes: of each message; API Gateway takes up to 128 KB, in frames of 32.
        requests_per_s: the account's quota, as `chatlab.quotas` has it.
        concurrency: the account's quota of Lambda.
        timeout_s: of the broadcast's function.
    """
    posts_per_s = min(messages_per_s * connections, requests_per_s)
    metered_per_s = min(messages_per_s + posts_per_s, requests_per_s)
    steps = max(1, math.ceil(payload_bytes / MESSAGE_BYTES))
    # A broadcast alone takes its share of the quota's time; beside others it has what they do not use.
    unused = 1 - messages_per_s * connections / requests_per_s
    longest_s = HAND_OVER_S + timeout_s
    each_s = min(longest_s, connections / (POSTS_SHARE * requests_per_s) / unused) if unused > 0 else longest_s
    invocations = min(concurrency, messages_per_s * max(each_s, timeout_s))
    items_per_s = min(messages_per_s * connections, posts_per_s + messages_per_s * READ_AHEAD)
    calls_per_s = messages_per_s * (2 if each_s > HAND_OVER_S else 1)
    per_s = {
        "WebSocket messages": metered_per_s * steps,
        "connection minutes": connections / 60,
        "Lambda requests": calls_per_s,
        "Lambda GB-seconds": invocations * MEMORY_GB["default"],
        "DynamoDB read units": items_per_s * ITEM_BYTES / READ_UNIT_BYTES / 2 + calls_per_s,  # a begun page, each
        "log GB": calls_per_s * LOG_LINE_BYTES / 1e9,
        "metric months": METRICS / HOURS_A_MONTH / 3600,
        "GB out": posts_per_s * (payload_bytes + FRAME_BYTES) / 1e9,
    }
    messages = Bill({what: 3600 * quantity for what, quantity in per_s.items()}, prices)
    return messages + estimate(connections=round(3600 * connects_per_s), broadcasts=0, minutes=1, prices=prices)
