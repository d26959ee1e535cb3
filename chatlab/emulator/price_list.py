"""AWS's Price List API, which MiniStack does not have: prices of the services that the lab uses, in any Region.

The prices of us-east-1 are those of AWS's pricing pages. All others are a fifth higher, which is invented: so you see
that they were read.
"""

import json
from typing import Any

from chatlab.emulator.calls import ApiCall, Forward, Play, Response, json_response

PRICES_USD = {
    "AmazonApiGateway": {
        "ApiGatewayRequest": 3.50e-6,
        "ApiGatewayMessage": 1.00e-6,
        "ApiGatewayMinute": 0.25e-6,
    },
    "AWSLambda": {
        "Lambda-Provisioned-GB-Second-ARM": 0.0000097222,
        "Request": 0.20e-6,
        "Request-ARM": 0.20e-6,
        "Lambda-GB-Second": 0.0000166667,
        "Lambda-GB-Second-ARM": 0.0000133334,
    },
    "AmazonDynamoDB": {  # tables of the class Infrequent Access, and global ones, first
        "IA-ReadRequestUnits": 0.155e-6,
        "IA-WriteRequestUnits": 0.78e-6,
        "ReplWriteRequestUnits": 0.625e-6,
        "ReadRequestUnits": 0.125e-6,
        "WriteRequestUnits": 0.625e-6,
    },
    "AmazonCloudWatch": {
        "DataProcessingIA-Bytes": 0.25,
        "DataProcessing-Bytes": 0.50,
        "CW:MetricMonitorUsage": 0.30,
    },
}
"""By service and usage type, of one unit, in us-east-1."""
PRICE_FACTOR_ELSEWHERE = 1.2
PAGE_SIZE = 2  # products a response. AWS's have up to 100; these have a next page, too
PUBLISHED = "2026-11-01T00:00:00Z"


def price_list() -> Play:
    """The Price List API answers.

    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/price-changes.html
    """

    async def play(call: ApiCall, forward: Forward) -> Response:
        if call.service != "pricing" or call.operation != "GetProducts":
            return await forward()
        return json_response(200, _products(json.loads(call.body)), "application/x-amz-json-1.1")

    return play


def _products(request: dict[str, Any]) -> dict[str, Any]:
    """GetProducts' response to a request: products as JSON texts in a list, and `NextToken` if there are more."""
    wanted = {each["Field"]: each["Value"] for each in request.get("Filters", [])}
    region, start = wanted.get("regionCode", "us-east-1"), int(request.get("NextToken", 0))
    products = [
        _product(request["ServiceCode"], usage, region, price_usd)
        for usage, price_usd in PRICES_USD.get(request["ServiceCode"], {}).items()
    ]
    more = {"NextToken": str(start + PAGE_SIZE)} if start + PAGE_SIZE < len(products) else {}
    return {"FormatVersion": "aws_v1", "PriceList": products[start : start + PAGE_SIZE], **more}


def _product(service: str, usage: str, region: str, price_usd: float) -> str:
    """What the lab reads of one, with a free first tier where the usage has one."""
    code = "" if region == "us-east-1" and service != "AmazonApiGateway" else f"{_short_code(region)}-"
    price_usd = price_usd if region == "us-east-1" else price_usd * PRICE_FACTOR_ELSEWHERE
    tiers = [("0", "5", 0.0), ("5", "Inf", price_usd)] if usage == "DataProcessing-Bytes" else [("0", "Inf", price_usd)]
    dimensions = {
        f"tier{number}": {"beginRange": begin, "endRange": end, "pricePerUnit": {"USD": f"{tier_usd:.10f}"}}
        for number, (begin, end, tier_usd) in enumerate(tiers)
    }
    product = {
        "product": {"attributes": {"servicecode": service, "regionCode": region, "usagetype": f"{code}{usage}"}},
        "terms": {"OnDemand": {"term": {"priceDimensions": dimensions}}},
        "publicationDate": PUBLISHED,
    }
    return json.dumps(product)


def _short_code(region: str) -> str:
    """As AWS abbreviates a Region: USE1, EUC1, APS1; and EU, for the first one in Europe."""
    if region == "eu-west-1":
        return "EU"
    area, side, number = region.split("-")[-3:]
    sides = {"northeast": "N", "southeast": "S", "south": "S", "north": "N", "central": "C", "east": "E", "west": "W"}
    return f"{area}{sides[side]}{number}".upper()
