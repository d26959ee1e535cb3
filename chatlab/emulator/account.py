"""What AWS knows of an account and MiniStack does not: its quotas, and whether it blocks public access to buckets.

https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html and Lambda's page of quotas have the values.
"""

import json
import os

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
ACCOUNT, ACCOUNT_SETTINGS = "/account", "/2016-08-19/account-settings"
PUBLIC_ACCESS_BLOCK = "/v20180820/configuration/publicAccessBlock"


def with_account(app: App, concurrency: int = CONCURRENCY) -> App:
    """The application, which also answers questions about the account. `concurrency`: invocations at the same time."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_about_account(scope):
            await _answer(parse_call(scope, await read_body(receive)), concurrency).send(send)
        else:
            await app(scope, receive, send)

    return answering


def _is_about_account(scope: Scope) -> bool:
    path: str = scope["path"].rstrip("/")
    if path == ACCOUNT:
        return parse_call(scope, b"").service == "apigateway"  # else it is a bucket's name
    if path == ACCOUNT_SETTINGS or (scope["method"], path) == ("GET", PUBLIC_ACCESS_BLOCK):
        return True
    target: bytes = dict(scope["headers"]).get(b"x-amz-target", b"")
    return target.startswith(SERVICE_QUOTAS_TARGET)


def _answer(call: ApiCall, concurrency: int) -> Response:
    path = call.operation.partition(" ")[2].rstrip("/")
    if path == ACCOUNT:  # GetAccount of API Gateway
        throttle = {"rateLimit": REQUESTS_PER_S, "burstLimit": int(REQUESTS_PER_S / 2)}
        return json_response(200, {"throttleSettings": throttle, "apiKeyVersion": "4"})
    if path == ACCOUNT_SETTINGS:  # of Lambda
        limit = {"ConcurrentExecutions": concurrency, "UnreservedConcurrentExecutions": concurrency}
        return json_response(200, {"AccountLimit": limit})
    if path == PUBLIC_ACCESS_BLOCK:  # nothing is set, as in a new account
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_GetPublicAccessBlock.html
        code = "NoSuchPublicAccessBlockConfiguration"
        return error_response("s3control", 404, code, "The public access block configuration was not found")
    return _service_quota(call, concurrency)


def _service_quota(call: ApiCall, concurrency: int) -> Response:
    """GetServiceQuota of Service Quotas."""
    request = json.loads(call.body or b"{}")
    service, code = request.get("ServiceCode"), request.get("QuotaCode")
    if call.operation != "GetServiceQuota" or (service, code) not in QUOTAS:
        message = f"There is no quota {code} of {service} here."
        return error_response("servicequotas", 400, "NoSuchResourceException", message)
    name, value = QUOTAS[service, code]
    value = concurrency if service == "lambda" else value
    quota = {"ServiceCode": service, "QuotaCode": code, "QuotaName": name, "Value": float(value)}
    quota |= {"Unit": "None", "Adjustable": True, "GlobalQuota": False}
    return json_response(200, {"Quota": quota}, "application/x-amz-json-1.1")
