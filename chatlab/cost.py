"""What a chat costs: the prices of what AWS meters, times the quantities that the lab's functions use.

    cost.estimate(connections=1_000, broadcasts=20, payload_bytes=200, minutes=2).dollars

The quantities follow from what the functions do; nothing is read from a bill. The chat's own traffic is the only one.
Prices are a dated table, or the live ones of a Region, both without the free tier. What the notebooks are going to
create, and what the same room costs with other services, is here, too.
"""

import json
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pandas as pd
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chatlab import limits
from chatlab.aws import Core, trust
from chatlab.errors import LabError
from chatlab.lab import Lab
from chatlab.limits import default_requests_per_s
from chatlab.paths import write_atomically

# The steps in which AWS bills, and what the lab's own code and settings use of each.
MESSAGE_BYTES = 32 * 1024  # a WebSocket message is metered in steps of this size, in and out
EVENT_BYTES = 5 * 1024  # the same of an event of AppSync Events
READ_UNIT_BYTES = 4 * 1024  # of an eventually consistent read half a unit is charged
ITEM_BYTES = 110  # an item of the table: names and values of connection_id, connected_at and expires_at
MEMORY_GB = {"connect": 0.5, "default": 1769 / 1024, "disconnect": 0.25}  # as notebook 03 sets them
SHORT_CALL_S = 0.010  # $connect and $disconnect, each one request to DynamoDB
# The part of the account's default quota that notebook 07 gives a broadcast. One invocation can make over 20,000 posts
# a second (docs/fanout.md), so it waits for the quota.
REQUESTS_PER_S, POSTS_SHARE = default_requests_per_s("us-east-1"), 0.8
POSTS_PER_SECOND = POSTS_SHARE * REQUESTS_PER_S
LOG_LINE_BYTES = 700  # the broadcast's line, and the three that Lambda writes itself
HAND_OVER_S = 18  # after which a broadcast's first invocation hands the rest to a second one: lambda_broadcast.py
TIMEOUT_S = 30  # of that second one: notebook 07
READ_AHEAD = 7_500  # items read and not posted to: MAX_READY of fanout/posting.py and one page of lambda_broadcast.py
METRICS = 10  # that CloudWatch makes of the broadcast's log line; each costs for the hours in which there is one
HOURS_A_MONTH = 730
FRAME_BYTES = 40  # around each message on its way out: WebSocket, TLS and TCP headers
# What S3 takes of a bucket like the page's, and more if that lasts:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
S3_REQUESTS_PER_S = 5_500


# --- prices -----------------------------------------------------------------------------------------------------------


class Prices(dict[str, float]):
    """The price in US dollars of one of each thing that is metered, by its name."""

    def __init__(self, dollars: Mapping[str, float], source: str) -> None:
        super().__init__(dollars)
        self.source = source
        """With its date, such as "AWS's price list of us-east-1, 2026-11-20"."""

    def __str__(self) -> str:
        return self.source


TABLE = Path(__file__).with_name("prices.json")
PRICES = Prices(**json.loads(TABLE.read_text()))
"""arm64, on demand, the first tier; `make prices` renews them. S3's storage and uploads are left out: a page of some
kilobytes costs less than any digit shown here."""

# Of the Price List API: for each service its usages, and their names here. Data out is not among them, because its
# tiers depend on the month's other traffic.
_PRODUCTS = {
    "AmazonApiGateway": {"ApiGatewayMessage": "WebSocket messages", "ApiGatewayMinute": "connection minutes"},
    "AWSLambda": {"Request-ARM": "Lambda requests", "Lambda-GB-Second-ARM": "Lambda GB-seconds"},
    "AmazonDynamoDB": {"ReadRequestUnits": "DynamoDB read units", "WriteRequestUnits": "DynamoDB write units"},
    "AmazonCloudWatch": {"DataProcessing-Bytes": "log GB", "CW:MetricMonitorUsage": "metric months"},
    "AmazonS3": {"Requests-Tier2": "S3 requests"},  # GET and HEAD
    "AWSAppSync": {
        "EventAPI-Operation": "AppSync operations",
        "EventAPI-ConnectionDuration": "AppSync connection minutes",
    },
    "AmazonECS": {"Fargate-vCPU-Hours:perCPU": "Fargate vCPU-hours", "Fargate-GB-Hours": "Fargate GB-hours"},
    "AmazonVPC": {"PublicIPv4:InUseAddress": "public IPv4 hours"},
}
# A usage type is "ReadRequestUnits", or "USE2-ReadRequestUnits" with the Region's short code before it, which most of
# us-east-1's lack. "USE2-IA-ReadRequestUnits" is another class of table, "USE1-BOS1-..." a Local Zone. The oldest code
# is eu-west-1's, and shorter than the others.
_REGION_CODE = re.compile(r"^(?:[A-Z]{3}\d|EU)-")
_PRICE_LIST_REGION = "us-east-1"  # there are few with the Price List API, and each of them knows all Regions' prices
# The public lists, of which one file has a service's prices in a Region, in a form of its own:
# https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html
PUBLIC_LISTS = "https://pricing.us-east-1.amazonaws.com"
_LISTED = _PRODUCTS | {"AWSDataTransfer": {"DataTransfer-Out-Bytes": "GB out"}}
LIST_TIMEOUT_S = 120  # for all of them: some megabytes


def read_prices(lab: Lab) -> Prices:
    """The prices of a lab's Region: the live ones on `aws`, if you may ask for them; else `PRICES`.

    China and other partitions have price lists of their own, in other currencies: there, too, it is `PRICES`.
    """
    if lab.target != "aws" or lab.partition != "aws":
        return PRICES
    patience = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, read_timeout=20)
    return fetch_prices(lab.client("pricing", region_name=_PRICE_LIST_REGION, config=patience), lab.region)


def fetch_prices(pricing: Any, region: str) -> Prices:
    """The prices of a Region, from the Price List API; what it does not have stays as in `PRICES`.

    Args:
        pricing: a boto3 client of `pricing`.
        region: such as "eu-west-1".
    """
    found: dict[str, tuple[float, str]] = {}
    filters = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}]
    with suppress(LabError, ClientError, BotoCoreError):  # you may not ask, or there is no answer: `PRICES` stays
        for service, usages in _PRODUCTS.items():
            pages = pricing.get_paginator("get_products").paginate(ServiceCode=service, Filters=filters)
            _pick(found, usages, (json.loads(text) for page in pages for text in page["PriceList"]))
    if not found:
        return PRICES
    others = ", ".join(name for name in PRICES if name not in found)
    return _dated(found, f"{region} ({others}: {PRICES})")


def _pick(found: dict[str, tuple[float, str]], usages: Mapping[str, str], products: Iterable[dict[str, Any]]) -> None:
    """Put the price in US dollars of each of these usages, and the day of its publication, into `found`, by its name.

    It is that of the first tier that costs anything. A product is a dict as `get_products` has it.
    """
    for product in products:
        tiers = [
            (float(tier["beginRange"]), float(tier["pricePerUnit"].get("USD", 0)))
            for term in product["terms"].get("OnDemand", {}).values()
            for tier in term["priceDimensions"].values()
        ]
        paid = sorted(tier for tier in tiers if tier[1] > 0)
        usage = _REGION_CODE.sub("", product["product"]["attributes"].get("usagetype", ""))
        if usage in usages and paid:
            found.setdefault(usages[usage], (paid[0][1], product.get("publicationDate", "")[:10]))


def _dated(found: Mapping[str, tuple[float, str]], where: str) -> Prices:
    dollars = {name: price for name, (price, _) in found.items()}
    return Prices(PRICES | dollars, f"AWS's price list of {where}, {max(date for _, date in found.values())}")


def renew(arguments: Sequence[str], url: str = PUBLIC_LISTS, table: Path = TABLE) -> None:
    """Print what AWS's public price lists say and what the table has, and write the table anew.

    This asks AWS alone, without an account; no other command or notebook calls it. Raises LabError, and leaves the
    table as it is, if the lists can't be read within `LIST_TIMEOUT_S` or lack one of its prices.
    """
    deadline = time.monotonic() + LIST_TIMEOUT_S
    found: dict[str, tuple[float, str]] = {}
    trust(Core())
    for service, usages in _LISTED.items():
        try:
            listed = _download(f"{url}/offers/v1.0/aws/{service}/current/{_PRICE_LIST_REGION}/index.json", deadline)
            terms, date = listed["terms"]["OnDemand"], listed["publicationDate"]
            products = [
                {"product": product, "terms": {"OnDemand": terms.get(sku, {})}, "publicationDate": date}
                for sku, product in listed["products"].items()
            ]
            _pick(found, usages, products)
        except (OSError, HTTPException, ValueError, KeyError) as error:
            raise LabError(
                f"AWS's price list of {service} can't be read ({type(error).__name__}: {error}): is there a network? "
                "The table stays as it was."
            ) from None
    if missing := ", ".join(name for name in PRICES if name not in found):
        raise LabError(f"AWS's price lists have no {missing}, so the table stays as it was: look at {url}.")
    for name, before in PRICES.items():
        price, date = found[name]
        said = "as in the table" if price == before else f"the table had {_price(before)}"
        print(f"{name:<21} {_price(price):<19} {said} (published {date})")
    renewed = _dated(found, _PRICE_LIST_REGION)
    write_atomically(table, json.dumps({"source": renewed.source, "dollars": renewed}, indent=2) + "\n")
    print(f"The table says: {renewed}. If a price has changed, tests name the pages that say otherwise.")


def _download(url: str, deadline: float) -> Any:
    """The JSON at a URL. Raises OSError after the deadline, a time of `time.monotonic`, or without an answer."""
    with urlopen(url, timeout=20) as answer:
        parts = []
        while part := answer.read1():
            parts.append(part)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not read within {LIST_TIMEOUT_S} s")
    return json.loads(b"".join(parts))


# --- bills ------------------------------------------------------------------------------------------------------------


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
    def shown(self) -> pd.DataFrame:
        """A DataFrame of texts, to be read: no more digits than are known, and small prices by the million."""
        rows = [
            (what, _three_digits(quantity), _price(self.prices[what]), _dollars(quantity * self.prices[what]))
            for what, quantity in self.quantities.items()
            if quantity
        ]
        rows.append(("in all", "", "", _dollars(self.dollars)))
        return pd.DataFrame(rows, columns=["", "quantity", "price in US dollars", "US dollars"]).set_index("")

    def __add__(self, other: "Bill") -> "Bill":
        """Both together, at this one's prices."""
        both = self.quantities | other.quantities
        return Bill({name: self.quantities.get(name, 0) + other.quantities.get(name, 0) for name in both}, self.prices)


def estimate(
    connections: int,
    broadcasts: int,
    payload_bytes: int = 200,
    minutes: float = 0.0,
    posts_per_second: float = POSTS_PER_SECOND,
    prices: Prices = PRICES,
    metrics: int = METRICS,
) -> Bill:
    """What a load test, or an hour of a room, uses.

    Args:
        connections: how many connect, stay, and receive every broadcast.
        broadcasts: how many messages are broadcast in all.
        payload_bytes: of each.
        minutes: for how long the connections are open.
        posts_per_second: of a broadcast.
        prices: `PRICES`, or what `read_prices` returned.
        metrics: how many CloudWatch makes of the broadcast's log line.
    """
    deliveries = broadcasts * connections
    steps = max(1, math.ceil(payload_bytes / MESSAGE_BYTES))
    calls = 2 * connections + broadcasts
    gb_seconds = (
        connections * SHORT_CALL_S * (MEMORY_GB["connect"] + MEMORY_GB["disconnect"])
        + broadcasts * connections / posts_per_second * MEMORY_GB["default"]
    )
    hours = max(1, math.ceil(minutes / 60)) if broadcasts else 0
    quantities = {
        "WebSocket messages": (deliveries + broadcasts) * steps,
        "connection minutes": connections * math.ceil(minutes),  # each connection's are rounded up
        "Lambda requests": calls,
        "Lambda GB-seconds": gb_seconds,
        "DynamoDB read units": broadcasts * math.ceil(max(1, connections * ITEM_BYTES / READ_UNIT_BYTES)) / 2,
        "DynamoDB write units": 2 * connections,  # the item is put, and deleted
        "log GB": calls * LOG_LINE_BYTES / 1e9,
        "metric months": metrics * hours / HOURS_A_MONTH,
        "GB out": deliveries * (payload_bytes + FRAME_BYTES) / 1e9,
    }
    return Bill(quantities, prices)


def estimate_events(
    connections: int, broadcasts: int, payload_bytes: int = 200, minutes: float = 0.0, prices: Prices = PRICES
) -> Bill:
    """What the same uses with AppSync Events, where an event in, a delivery, a connect and a subscribe are operations.

    https://aws.amazon.com/appsync/pricing/; the arguments are those of `estimate`.
    """
    deliveries = broadcasts * connections
    steps = max(1, math.ceil(payload_bytes / EVENT_BYTES))
    quantities = {
        "AppSync operations": (deliveries + broadcasts) * steps + 2 * connections,
        "AppSync connection minutes": connections * math.ceil(minutes),
        "GB out": deliveries * (payload_bytes + FRAME_BYTES) / 1e9,
    }
    return Bill(quantities, prices)


def estimate_tasks(tasks: int, vcpus: float, gb: float, minutes: float, prices: Prices = PRICES) -> Bill:
    """What so many tasks on Fargate use, x86, each with a public address: by the second, and at least a minute.

    https://aws.amazon.com/fargate/pricing/ and https://aws.amazon.com/vpc/pricing/
    """
    hours = tasks * max(1.0, minutes) / 60
    quantities = {"Fargate vCPU-hours": hours * vcpus, "Fargate GB-hours": hours * gb, "public IPv4 hours": hours}
    return Bill(quantities, prices)


def _three_digits(value: float) -> str:
    """A number with three significant digits, whole from 100 on, never as a power of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    return np.format_float_positional(float(f"{value:.3g}"), trim="-")


def _price(dollars: float) -> str:
    if dollars < 0.001:
        return f"{1e6 * dollars:,.3g} a million"
    return f"{dollars:.2f}" if dollars == round(dollars, 2) else _three_digits(dollars)


def _dollars(value: float) -> str:
    return f"{value:.4f}" if value >= 0.00005 or not value else "under 0.0001"


OBVIOUS: dict[str, Any] = {"posts_per_second": 1000 / limits.DEFAULT.post_ms, "metrics": 0}
"""Of the obvious broadcast: one post after another, and no metrics. Arguments of `estimate`."""
LOAD_TEST: dict[str, Any] = {"connections": 100, "broadcasts": 22, "payload_bytes": 200, "minutes": 1} | OBVIOUS
"""Notebook 06 as it stands, its warm-up included: arguments of `estimate`."""
FASTER: dict[str, Any] = {"connections": 300, "broadcasts": 9, "payload_bytes": 200, "minutes": 1} | OBVIOUS
"""The same of notebook 07: the load tests of its three steps."""
GROWTH_STEPS = [62, 125, 250, 500, 1_000]
"""Notebook 08 as it stands, on an account with AWS's default quotas: its numbers of connections."""
GROWTH_BROADCASTS_PER_S = 3
"""The same: its broadcasts a second."""
BUILD_AND_TRY: dict[str, Any] = {"connections": 20, "broadcasts": 50, "minutes": 10}
"""Of notebooks 01 to 05, whose checks are some connections and messages, and of a person in a browser."""


def estimate_growth(
    steps: Sequence[int], broadcasts_per_s: float, broadcasts_each: int = 9, prices: Prices = PRICES
) -> Bill:
    """What notebook 08's run uses, as if everybody connected anew for each step, which is a little too much.

    Args:
        steps: its numbers of connections, as `GROWTH_STEPS`.
        broadcasts_per_s: as `GROWTH_BROADCASTS_PER_S`.
        broadcasts_each: how many in each step, the warm-up included.
    """
    minutes = broadcasts_each * len(steps) / broadcasts_per_s / 60
    return estimate(sum(steps), broadcasts_each, minutes=minutes, prices=prices)


def estimate_whole_lab(prices: Prices = PRICES) -> Bill:
    """Notebooks 00 to 08, run once within an hour, at AWS's default quotas."""
    parts = [estimate(**part, prices=prices) for part in (BUILD_AND_TRY, LOAD_TEST, FASTER)]
    together = sum(parts, estimate_growth(GROWTH_STEPS, GROWTH_BROADCASTS_PER_S, prices=prices))
    return Bill(together.quantities | {"metric months": METRICS / HOURS_A_MONTH}, prices)


def estimate_abuse(
    connections: int,
    messages_per_s: float,
    connects_per_s: float,
    payload_bytes: int = 200,
    requests_per_s: float = REQUESTS_PER_S,
    concurrency: float = 1_000,
    prices: Prices = PRICES,
) -> Bill:
    """The most that a stranger who has found the chat's URL can cost in an hour.

    The stranger holds some connections open and sends as many messages as the stage takes, each to everybody. With
    other connections, the stranger connects and leaves as fast as the stage takes it. Some connections never read: if
    most do not, that looks like a quota that is used up, and each broadcast tries until its time-out. Three bounds,
    each taken at its worst: what the stage takes; the account's quota, which counts all messages, in and out; and
    Lambda's concurrency, because you pay for a broadcast that waits for the quota until its time-out.

    This assumes that a refused request costs nothing, and that each client's network is fast enough. API Gateway's
    throttling is a target, and can be overrun:
    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html

    Args:
        connections: how many receive each message, the stranger's own and everybody else's.
        messages_per_s: what the stage takes on `$default`.
        connects_per_s: what it takes on `$connect`.
        payload_bytes: of each message; API Gateway takes up to 128 KB, in frames of 32.
        requests_per_s: the account's quota, as `chatlab.limits` reads it.
        concurrency: the account's quota of Lambda.
    """
    posts_per_s = min(messages_per_s * connections, requests_per_s)
    metered_per_s = min(messages_per_s + posts_per_s, requests_per_s)
    steps = max(1, math.ceil(payload_bytes / MESSAGE_BYTES))
    # A broadcast alone takes its share of the quota's time; beside others it has what they do not use.
    unused = 1 - messages_per_s * connections / requests_per_s
    longest_s = HAND_OVER_S + TIMEOUT_S
    each_s = min(longest_s, connections / (POSTS_SHARE * requests_per_s) / unused) if unused > 0 else longest_s
    invocations = min(concurrency, messages_per_s * max(each_s, TIMEOUT_S))
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


def estimate_reading(gbit_per_s: float = 1.0, prices: Prices = PRICES) -> Bill:
    """What it costs in an hour if strangers read the page, at so many Gbit/s in all and with all the requests S3 takes.

    No setting of S3 bounds the bytes; the strangers' lines do. What S3 refuses with 403 is free: all that is not a file
    of the page, whether it exists or not, since strangers may not list the bucket.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ErrorCodeBilling.html
    """
    return Bill({"S3 requests": 3600 * S3_REQUESTS_PER_S, "GB out": 3600 * gbit_per_s / 8}, prices)


# --- other services, and servers of your own --------------------------------------------------------------------------


# IoT Core: list prices of us-east-1, November 2026, of a message in or out, which is metered in steps, and of a
# connection minute. The quota is in AWS's General Reference ("Outbound publish requests per second per account").
IOT_MESSAGE_DOLLARS, IOT_MINUTE_DOLLARS = 1.00e-6, 0.08e-6
IOT_STEP_BYTES, IOT_DELIVERIES_PER_S = 5 * 1024, 20_000
EVENT_DELIVERIES_PER_S = 1_000_000
"""What an API of AppSync Events delivers, by default: https://docs.aws.amazon.com/general/latest/gr/appsync.html"""

SERVER_HOUR_DOLLARS = 0.145  # c7g.xlarge on demand, us-east-1: four vCPU, 8 GB. A load balancer would be extra
# Of one server: 200 bytes over wss://, its connections spread over a process for each vCPU. Measured on two cores of an
# Intel Xeon by `python -m benchmarks.server`, 25 November 2026: 15 to 17 µs of CPU a delivery with 5,000 connections,
# which is 240,000 to 260,000 a second of four cores; 290 KB a connection: 6 GB hold 21,700. Rounded down.
# The figures are that machine's and not AWS's: measure yours.
SERVER_CONNECTIONS, SERVER_DELIVERIES_PER_S = 20_000, 200_000
MIN_SERVERS = 2  # one may fail


def compare_alternatives(
    connections: int,
    broadcasts_per_s: float,
    payload_bytes: int = 200,
    posts_per_second: float = POSTS_PER_SECOND,
    prices: Prices = PRICES,
    requests_per_s: float = REQUESTS_PER_S,
) -> pd.DataFrame:
    """What an hour of a room costs here and elsewhere: a DataFrame with `dollars_per_hour` and `deliveries_per_s`.

    The first row is this chat, as `estimate` has it, whose arguments these are. `requests_per_s` is the account's quota
    of API Gateway, which counts this chat's deliveries. All rows include the bytes out, at the same price. Only the
    first one includes functions, metrics and a table, since the others need none. IoT Core's and the servers' own
    prices are us-east-1's, whatever `prices` are.
    """
    count = round(broadcasts_per_s * 3600)
    deliveries = count * connections
    bill = estimate(connections, count, payload_bytes, 60, posts_per_second, prices)
    out = bill.quantities["GB out"] * prices["GB out"]
    rows: dict[str, tuple[float, float]] = {"API Gateway (this chat)": (bill.dollars, requests_per_s)}
    steps = max(1, math.ceil(payload_bytes / IOT_STEP_BYTES))
    messages = (deliveries + count) * steps * IOT_MESSAGE_DOLLARS
    rows["IoT Core"] = messages + connections * 60 * IOT_MINUTE_DOLLARS + out, IOT_DELIVERIES_PER_S
    events = estimate_events(connections, count, payload_bytes, 60, prices)
    rows["AppSync Events"] = events.dollars, EVENT_DELIVERIES_PER_S
    servers = max(
        MIN_SERVERS,
        math.ceil(connections / SERVER_CONNECTIONS),
        math.ceil(connections * broadcasts_per_s / SERVER_DELIVERIES_PER_S),
    )
    rows["servers of your own"] = servers * SERVER_HOUR_DOLLARS + out, servers * SERVER_DELIVERIES_PER_S
    return pd.DataFrame.from_dict(rows, orient="index", columns=["dollars_per_hour", "deliveries_per_s"])


# --- what the notebooks are going to create ---------------------------------------------------------------------------


def planned_resources(lab: Lab, with_alarm: bool = False) -> list[dict[str, str]]:
    """A dict for each kind of resource, for `lab.show`: its name, its price in US dollars, how it is removed.

    `with_alarm` adds the budget that notebook 00 creates if EMAIL is set. How long each takes is what AWS's users
    report, rounded up; none of it was measured on AWS.
    """
    prices = read_prices(lab)

    def a_million(what: str) -> str:
        return f"{prices[what] * 1e6:.3g} a million"

    nothing = "nothing"
    rows = [
        ("01", "table", lab.table, nothing, f"{a_million('DynamoDB write units')} writes", "10 s", "delete_table"),
        ("02", "role with its policies", lab.role, nothing, nothing, "15 s until Lambda may use it", "delete_role"),
        (
            "03", "three functions", ", ".join(lab.functions.values()), nothing,
            f"{a_million('Lambda requests')} calls, {a_million('Lambda GB-seconds')} GB-seconds", "10 s",
            "delete_function",
        ),
        (
            "03", "three log groups", ", ".join(lab.log_groups.values()), nothing,
            f"{prices['log GB']:.3g} a GB, kept for a day; {METRICS} metrics at {prices['metric months']:.3g} a "
            "month, for the hours of use", "1 s", "delete_log_group",
        ),
        (
            "04", "WebSocket API with its stage", lab.api, nothing,
            f"{a_million('WebSocket messages')} messages, {a_million('connection minutes')} connection minutes", "10 s",
            "delete_api",
        ),
        (
            "05", "bucket with the page", lab.bucket, "less than a cent a month",
            f"0.005 a thousand uploads, {prices['GB out']:.3g} a GB that anybody reads", "10 s, and the page's build",
            "delete_bucket",
        ),
        (
            "09", "index of the table, while you work on it", f"{lab.table}/index/room", nothing,
            f"{a_million('DynamoDB write units')} writes", "minutes", "delete_table; 09 itself by update_table",
        ),
        (
            "10", "cluster, task definition, security group and a private bucket, if you run it",
            f"{lab.load_test}, {lab.load_test_bucket}", "less than a cent a month",
            f"{prices['Fargate vCPU-hours']:.3g} a vCPU-hour, {prices['Fargate GB-hours']:.3g} a GB-hour and "
            f"{prices['public IPv4 hours']:.3g} an hour for the address of each task", "90 s until a task runs",
            "stop_task, delete_cluster, delete_task_definitions, delete_security_group, delete_bucket",
        ),
        (
            "11", "Event API of AppSync, if you make it", lab.event_api, nothing,
            f"{a_million('AppSync operations')} operations, {a_million('AppSync connection minutes')} connection "
            "minutes", "5 s", "delete_api",
        ),
    ]  # fmt: skip
    if hours := lab.options.hours:
        switch = f"{lab.switch}, {lab.switch_role}"
        what = f"schedules that close chat and page after {hours:g} hours, and their role"
        rows.append(("04", what, switch, nothing, nothing, "15 s", "delete_schedule_group, delete_role"))
    if with_alarm:
        rows.insert(0, ("00", "budget with an alarm by e-mail", lab.alarm, nothing, nothing, "1 s", "delete_budget"))
    tag = " ".join(f"{key}={value}" for key, value in lab.tags.items())
    keys = ("notebook", "what", "name", "while nobody talks", "in use", "takes about", "99 removes it by")
    return [dict(zip(keys, row, strict=True)) | {"tags": tag} for row in rows]
