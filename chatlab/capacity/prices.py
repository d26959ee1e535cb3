"""Prices of what AWS meters: a dated table, or the live ones of a Region. There is no free tier in either."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chatlab.errors import LabError
from chatlab.lab import Lab


class Prices(dict[str, float]):
    """US dollars for one of each thing that is metered, by its name. As a text it is where they come from."""

    def __init__(self, dollars: Mapping[str, float], source: str, date: str) -> None:
        super().__init__(dollars)
        self.source = source
        """Such as "AWS's price list of eu-central-1"."""
        self.date = date
        """Of the source, such as "November 2026"."""

    def __str__(self) -> str:
        return f"{self.source}, {self.date}"


PRICES = Prices(
    {
        "WebSocket messages": 1.00e-6,
        "connection minutes": 0.25e-6,
        "Lambda requests": 0.20e-6,
        "Lambda GB-seconds": 0.0000133334,
        "DynamoDB read units": 0.125e-6,
        "DynamoDB write units": 0.625e-6,
        "log GB": 0.50,
        "metric months": 0.30,
        "GB out": 0.09,
    },
    source="AWS's pricing pages, us-east-1",
    date="November 2026",
)
"""arm64, on demand, the first tier. S3 is left out: a page of some kilobytes costs less than any digit shown here."""

# Of the Price List API: for each service its usages, and their names here. Data out is not among them, because its
# tiers depend on the month's other traffic.
_PRODUCTS = {
    "AmazonApiGateway": {"ApiGatewayMessage": "WebSocket messages", "ApiGatewayMinute": "connection minutes"},
    "AWSLambda": {"Request-ARM": "Lambda requests", "Lambda-GB-Second-ARM": "Lambda GB-seconds"},
    "AmazonDynamoDB": {"ReadRequestUnits": "DynamoDB read units", "WriteRequestUnits": "DynamoDB write units"},
    "AmazonCloudWatch": {"DataProcessing-Bytes": "log GB", "CW:MetricMonitorUsage": "metric months"},
}
# A usage type is "ReadRequestUnits", or "USE2-ReadRequestUnits" with the Region's short code before it, which most of
# us-east-1's lack. "USE2-IA-ReadRequestUnits" is another class of table, "USE1-BOS1-..." a Local Zone. The oldest code
# is eu-west-1's, and shorter than the others.
_REGION_CODE = re.compile(r"^(?:[A-Z]{3}\d|EU)-")
_PRICE_LIST_REGION = "us-east-1"  # there are few with the Price List API, and each of them knows all Regions' prices


def read_prices(lab: Lab) -> Prices:
    """The prices of a lab's Region: on `aws` the live ones, and else, or if you may not ask, `PRICES`.

    China and other partitions have price lists of their own, in other currencies: for these it is `PRICES`, too.
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
    found: dict[str, float] = {}
    published: list[str] = []
    with suppress(LabError, ClientError, BotoCoreError):  # you may not ask, or there is no answer: `PRICES` stays
        for service, usages in _PRODUCTS.items():
            for usage, dollars, date in _products(pricing, service, region):
                if usage in usages and dollars is not None:
                    found.setdefault(usages[usage], dollars)
                    published.append(date)
    if not found:
        return PRICES
    others = ", ".join(name for name in PRICES if name not in found)
    source = f"AWS's price list of {region} ({others}: {PRICES})"
    return Prices(PRICES | found, source, max(published))


def _products(pricing: Any, service: str, region: str) -> Iterator[tuple[str, float | None, str]]:
    """All products of a service in a Region: each one's usage, the price in US dollars of its first tier that costs
    anything (None without one), and the day of its publication."""
    filters = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}]
    pages = pricing.get_paginator("get_products").paginate(ServiceCode=service, Filters=filters)
    for product in (json.loads(text) for page in pages for text in page["PriceList"]):
        tiers = [
            (float(tier["beginRange"]), float(tier["pricePerUnit"].get("USD", 0)))
            for term in product["terms"].get("OnDemand", {}).values()
            for tier in term["priceDimensions"].values()
        ]
        paid = sorted(tier for tier in tiers if tier[1] > 0)
        usage = _REGION_CODE.sub("", product["product"]["attributes"].get("usagetype", ""))
        yield usage, paid[0][1] if paid else None, product.get("publicationDate", "")[:10]
