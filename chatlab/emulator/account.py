"""What AWS answers and MiniStack does not: an account's quotas, its block of public buckets, and the price list.

https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html and Lambda's page of quotas have the values.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from chatlab.emulator.calls import (
    ApiCall,
    App,
    Forward,
    Receive,
    Response,
    Scope,
    Send,
    error_response,
    json_response,
    parse_call,
    read_body,
)

REQUESTS_PER_S = float(os.environ.get("CHATLAB_REQUESTS_PER_S", "10000"))
"""The account's quota of requests to API Gateway, in the Region that is played."""
CONCURRENCY = 1_000
VCPUS = 64.0
"""Of all tasks on Fargate that run at a time: what an account has that has run some. In a new one it is often 6."""
QUOTAS = {
    ("apigateway", "L-8A5B8E43"): 10_000,  # requests a second: the same in all Regions, also where it is less
    ("apigateway", "L-9ED1E49A"): 500,  # new WebSocket connections a second
}
"""Default values, by service and code, as Service Quotas has them, of those that are the same for all."""
GET_SERVICE_QUOTA = b"ServiceQuotasV20190624.GetServiceQuota"
ACCOUNT, ACCOUNT_SETTINGS = "/account", "/2016-08-19/account-settings"
PUBLIC_ACCESS_BLOCK = "/v20180820/configuration/publicAccessBlock"


def with_account(app: App, concurrency: int, vcpus: float) -> App:
    """The application, which also answers questions about the account.

    `concurrency`: invocations at the same time; `vcpus`: those of tasks on Fargate at the same time.
    """
    quotas = QUOTAS | {("lambda", "L-B99A9384"): concurrency, ("fargate", "L-3032A538"): vcpus}

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        response = await _answer(scope, receive, concurrency, quotas) if scope["type"] == "http" else None
        if response:
            await response.send(send)
        else:
            await app(scope, receive, send)

    return answering


async def _answer(
    scope: Scope, receive: Receive, concurrency: int, quotas: Mapping[tuple[str, str], float]
) -> Response | None:
    """The response to a question about the account; None if the request is another."""
    path = scope["path"].rstrip("/")
    if path == ACCOUNT and parse_call(scope, b"").service == "apigateway":  # else it is a bucket's name
        throttle = {"rateLimit": REQUESTS_PER_S, "burstLimit": int(REQUESTS_PER_S / 2)}
        return json_response(200, {"throttleSettings": throttle, "apiKeyVersion": "4"})
    if path == ACCOUNT_SETTINGS:  # of Lambda
        limit = {"ConcurrentExecutions": concurrency, "UnreservedConcurrentExecutions": concurrency}
        return json_response(200, {"AccountLimit": limit})
    if (scope["method"], path) == ("GET", PUBLIC_ACCESS_BLOCK):  # nothing is set, as in a new account
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_GetPublicAccessBlock.html
        code = "NoSuchPublicAccessBlockConfiguration"
        return error_response("s3control", 404, code, "The public access block configuration was not found")
    if dict(scope["headers"]).get(b"x-amz-target") == GET_SERVICE_QUOTA:
        return _service_quota(json.loads(await read_body(receive)), quotas)
    return None


def _service_quota(request: dict[str, str], quotas: Mapping[tuple[str, str], float]) -> Response:
    service, code = request["ServiceCode"], request["QuotaCode"]
    if (service, code) not in quotas:
        message = f"There is no quota {code} of {service} here."
        return error_response("servicequotas", 400, "NoSuchResourceException", message)
    quota = {"ServiceCode": service, "QuotaCode": code, "Value": float(quotas[service, code])}
    return json_response(200, {"Quota": quota}, "application/x-amz-json-1.1")


# --- the price list --------------------------------------------------------------------------------------------------
# The prices of us-east-1 are those of AWS's pricing pages. All others are a fifth higher, which is invented: so you see
# that they were read.

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
    "AmazonS3": {"Requests-SIA-Tier2": 1.00e-6, "Requests-Tier2": 0.40e-6},
    "AmazonECS": {"Fargate-vCPU-Hours:perCPU": 0.04048, "Fargate-GB-Hours": 0.004445},
    "AmazonVPC": {"PublicIPv4:InUseAddress": 0.005},
    "AWSAppSync": {"EventAPI-Operation": 1.00e-6, "EventAPI-ConnectionDuration": 0.08e-6},
}
"""By service and usage type, of one unit, in us-east-1."""
PRICE_FACTOR_ELSEWHERE = 1.2
PAGE_SIZE = 2  # products a response. AWS's have up to 100; these have a next page, too
PUBLISHED = "2026-11-01T00:00:00Z"


async def price_list(call: ApiCall, forward: Forward) -> Response:
    """The Price List API answers: a trait, as `chatlab.emulator.traits` plays them.

    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/price-changes.html
    """
    if call.service != "pricing" or call.operation != "GetProducts":
        return await forward()
    return json_response(200, _products(json.loads(call.body)), "application/x-amz-json-1.1")


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
