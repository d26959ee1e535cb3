"""What AWS knows of an account and MiniStack does not: its quotas, and whether it blocks public access to buckets.

https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html and Lambda's page of quotas have the values.
"""

import json
import os
from collections.abc import Callable
from typing import TypeAlias

from chatlab.emulator.calls import (
    ApiCall,
    App,
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
QUOTAS = {
    ("apigateway", "L-8A5B8E43"): ("Throttle rate", 10_000),  # in all Regions, also where it is less
    ("apigateway", "L-9ED1E49A"): ("WebSocket new connections rate", 500),
    ("lambda", "L-B99A9384"): ("Concurrent executions", CONCURRENCY),
}
"""Name and default value, by service and code, as Service Quotas has them."""
SERVICE_QUOTAS_TARGET = b"ServiceQuotasV20190624."
SERVICE_QUOTAS_CONTENT = "application/x-amz-json-1.1"
PUBLIC_ACCESS_BLOCK = "/v20180820/configuration/publicAccessBlock"

_Answer: TypeAlias = Callable[[ApiCall, int], Response]


def with_account(app: App, concurrency: int = CONCURRENCY) -> App:
    """The application, which also answers questions about the account. `concurrency`: invocations at the same time."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (answer := _answer(scope)):
            await app(scope, receive, send)
        else:
            await answer(parse_call(scope, await read_body(receive)), concurrency).send(send)

    return answering


def _answer(scope: Scope) -> _Answer | None:
    """The function that answers this request; None for MiniStack itself."""
    path: str = scope["path"]
    if path == "/account" and parse_call(scope, b"").service == "apigateway":  # else a bucket's name
        return _account
    if path.rstrip("/") == "/2016-08-19/account-settings":
        return _account_settings
    if (scope["method"], path) == ("GET", PUBLIC_ACCESS_BLOCK):
        return _public_access_block
    if dict(scope["headers"]).get(b"x-amz-target", b"").startswith(SERVICE_QUOTAS_TARGET):
        return _service_quota
    return None


def _account(call: ApiCall, concurrency: int) -> Response:
    """GetAccount of API Gateway."""
    throttle = {"rateLimit": REQUESTS_PER_S, "burstLimit": int(REQUESTS_PER_S / 2)}
    return json_response(200, {"throttleSettings": throttle, "apiKeyVersion": "4"})


def _account_settings(call: ApiCall, concurrency: int) -> Response:
    """GetAccountSettings of Lambda."""
    limit = {"ConcurrentExecutions": concurrency, "UnreservedConcurrentExecutions": concurrency}
    sizes = {"TotalCodeSize": 80_530_636_800, "CodeSizeUnzipped": 262_144_000, "CodeSizeZipped": 52_428_800}
    return json_response(200, {"AccountLimit": limit | sizes, "AccountUsage": {"TotalCodeSize": 0, "FunctionCount": 0}})


def _public_access_block(call: ApiCall, concurrency: int) -> Response:
    """GetPublicAccessBlock of S3 Control: nothing is set, as in a new account.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_GetPublicAccessBlock.html
    """
    code = "NoSuchPublicAccessBlockConfiguration"
    return error_response("s3control", 404, code, "The public access block configuration was not found")


def _service_quota(call: ApiCall, concurrency: int) -> Response:
    """GetServiceQuota and GetAWSDefaultServiceQuota of Service Quotas."""
    request = json.loads(call.body or b"{}")
    service, code = request.get("ServiceCode"), request.get("QuotaCode")
    if call.operation not in ("GetServiceQuota", "GetAWSDefaultServiceQuota") or (service, code) not in QUOTAS:
        message = f"There is no quota {code} of {service} here."
        return error_response("servicequotas", 400, "NoSuchResourceException", message)
    name, value = QUOTAS[service, code]
    if service == "lambda" and call.operation == "GetServiceQuota":
        value = concurrency
    quota = {"ServiceCode": service, "QuotaCode": code, "QuotaName": name, "Value": float(value)}
    quota |= {"Unit": "None", "Adjustable": True, "GlobalQuota": False}
    return json_response(200, {"Quota": quota}, SERVICE_QUOTAS_CONTENT)
