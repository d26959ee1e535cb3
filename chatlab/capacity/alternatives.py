"""What an hour of the same room costs with other services, or with servers of your own."""

import math
from dataclasses import dataclass

import pandas as pd

from chatlab.capacity.cost import POSTS_PER_SECOND, REQUESTS_PER_S, estimate
from chatlab.capacity.prices import PRICES, Prices


@dataclass(frozen=True)
class Alternative:
    """Another way to hold the connections and deliver to them: its list prices, and how much it delivers at once."""

    message_dollars: float
    """One message in or out."""
    step_bytes: int
    """A message is metered in steps of so many bytes."""
    minute_dollars: float
    """One connection minute."""
    deliveries_per_s: int
    """The account's default quota of deliveries a second."""


ALTERNATIVES = {
    "IoT Core": Alternative(1.00e-6, 5 * 1024, 0.08e-6, 20_000),
    "AppSync Events": Alternative(1.00e-6, 5 * 1024, 0.08e-6, 1_000_000),
}
"""List prices of us-east-1, November 2026. IoT Core's quota is in AWS's General Reference ("Outbound publish requests
per second per account"). AppSync's is not from a page of AWS: before you rely on it, ask Service Quotas."""

SERVER_HOUR_DOLLARS = 0.145  # c7g.xlarge on demand, us-east-1: four vCPU, 8 GB. A load balancer would be extra
# Of one server: 200 bytes over wss://, its connections spread over a process for each vCPU. Measured on two cores of an
# Intel Xeon by `python -m benchmarks.server`, 25 November 2026: 15 to 17 µs of CPU a delivery with 5,000 connections,
# which is 240,000 to 260,000 a second of four cores; 290 KB a connection, of which 21,700 fit into 6 GB. Rounded down.
# The figures are that machine's and not AWS's: measure yours.
SERVER_CONNECTIONS, SERVER_DELIVERIES_PER_S = 20_000, 200_000
MIN_SERVERS = 2  # one may fail


def compare(
    connections: int,
    broadcasts_per_s: float,
    payload_bytes: int = 200,
    shards: int = 1,
    posts_per_second: float = POSTS_PER_SECOND,
    prices: Prices = PRICES,
    requests_per_s: float = REQUESTS_PER_S,
) -> pd.DataFrame:
    """What an hour of a room costs elsewhere: a DataFrame with `dollars_per_hour` and `deliveries_per_s`, by design.

    The arguments are those of `cost.estimate`, and the first row is its sum; `requests_per_s` is the account's quota of
    API Gateway, which this chat's deliveries count against. Bytes out are in all rows, at the same price; the
    functions, their metrics and the table in the first row only, since the others need none. What else the others cost
    is us-east-1's, whatever `prices` are.
    """
    count = round(broadcasts_per_s * 3600)
    deliveries = count * connections
    bill = estimate(connections, count, payload_bytes, 60, shards, posts_per_second, prices)
    out = bill.quantities["GB out"] * prices["GB out"]
    rows: dict[str, tuple[float, float]] = {"API Gateway (this chat)": (bill.dollars, requests_per_s)}
    for name, other in ALTERNATIVES.items():
        steps = max(1, math.ceil(payload_bytes / other.step_bytes))
        messages = (deliveries + count) * steps * other.message_dollars
        rows[name] = messages + connections * 60 * other.minute_dollars + out, other.deliveries_per_s
    servers = max(
        MIN_SERVERS,
        math.ceil(connections / SERVER_CONNECTIONS),
        math.ceil(connections * broadcasts_per_s / SERVER_DELIVERIES_PER_S),
    )
    rows["servers of your own"] = servers * SERVER_HOUR_DOLLARS + out, servers * SERVER_DELIVERIES_PER_S
    return pd.DataFrame.from_dict(rows, orient="index", columns=["dollars_per_hour", "deliveries_per_s"])
