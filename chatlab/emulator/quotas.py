"""The account's quotas, as API Gateway, Lambda and Service Quotas tell them: the emulator knows none.

https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html and Lambda's page of quotas have the values.
"""

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from chatlab.emulator.api_call import ApiCall, parse_call
from chatlab.emulator.asgi import App, Receive, Scope, Send, read_body
from chatlab.emulator.responses import Response
from chatlab.emulator.traits.throttling import REQUESTS_PER_S

CONCURRENCY = 1_000
QUOTAS = {
    ("apigateway", "L-8A5B8E43"): ("Throttle rate", 10_000),  # in all Regions, also where it is less
    ("apigateway", "L-9ED1E49A"): ("WebSocket new connections rate", 500),
    ("lambda", "L-B99A9384"): ("Concurrent executions", CONCURRENCY),
}
"""Name and default value, by service and code, as Service Quotas has them."""
SERVICE_QUOTAS_TARGET = b"ServiceQuotasV20190624."

_Answer: TypeAlias = Callable[[ApiCall, int], Response]


def with_quotas(app: App, concurrency: int = CONCURRENCY) -> App:
    """The application, which also answers those who ask for quotas. `concurrency`: invocations at the same time."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (answer := _answer(scope)):
            await app(scope, receive, send)
        else:
            await answer(parse_call(scope, await read_body(receive)), concurrency).send(send)

    return answering


def _answer(scope: Scope) -> _Answer | None:
    """The function that answers this request; None for the emulator itself."""
    if scope["path"] == "/account" and parse_call(scope, b"").service == "apigateway":  # else a bucket's name
        return _account
    if scope["path"].rstrip("/") == "/2016-08-19/account-settings":
        return _account_settings
    if dict(scope["headers"]).get(b"x-amz-target", b"").startswith(SERVICE_QUOTAS_TARGET):
        return _service_quota
    return None


def _account(call: ApiCall, concurrency: int) -> Response:
    """GetAccount of API Gateway."""
    throttle = {"rateLimit": REQUESTS_PER_S, "burstLimit": int(REQUESTS_PER_S / 2)}
    return _json(200, {"throttleSettings": throttle, "apiKeyVersion": "4"})


def _account_settings(call: ApiCall, concurrency: int) -> Response:
    """GetAccountSettings of Lambda."""
    limit = {"ConcurrentExecutions": concurrency, "UnreservedConcurrentExecutions": concurrency}
    sizes = {"TotalCodeSize": 80_530_636_800, "CodeSizeUnzipped": 262_144_000, "CodeSizeZipped": 52_428_800}
    return _json(200, {"AccountLimit": limit | sizes, "AccountUsage": {"TotalCodeSize": 0, "FunctionCount": 0}})


def _service_quota(call: ApiCall, concurrency: int) -> Response:
    """GetServiceQuota and GetAWSDefaultServiceQuota of Service Quotas."""
    request = json.loads(call.body or b"{}")
    service, code = request.get("ServiceCode"), request.get("QuotaCode")
    if call.operation not in ("GetServiceQuota", "GetAWSDefaultServiceQuota") or (service, code) not in QUOTAS:
        message = f"There is no quota {code} of {service} here."
        return _json(400, {"__type": "NoSuchResourceException", "Message": message}, "1.1")
    name, value = QUOTAS[service, code]
    if service == "lambda" and call.operation == "GetServiceQuota":
        value = concurrency
    quota = {"ServiceCode": service, "QuotaCode": code, "QuotaName": name, "Value": float(value)}
    return _json(200, {"Quota": quota | {"Unit": "None", "Adjustable": True, "GlobalQuota": False}}, "1.1")


def _json(status: int, body: dict[str, Any], amz_version: str | None = None) -> Response:
    content_type = f"application/x-amz-json-{amz_version}" if amz_version else "application/json"
    return Response(status, [(b"content-type", content_type.encode())], json.dumps(body).encode())
