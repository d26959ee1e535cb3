"""What AWS knows of an account and MiniStack does not: its quotas, and whether it blocks public access to buckets.

https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html and Lambda's page of quotas have the values.
"""

import json
import os

from chatlab.emulator.calls import (
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
    ("apigateway", "L-8A5B8E43"): 10_000,  # requests a second: the same in all Regions, also where it is less
    ("apigateway", "L-9ED1E49A"): 500,  # new WebSocket connections a second
    ("lambda", "L-B99A9384"): CONCURRENCY,
}
"""Default values, by service and code, as Service Quotas has them."""
GET_SERVICE_QUOTA = b"ServiceQuotasV20190624.GetServiceQuota"
ACCOUNT, ACCOUNT_SETTINGS = "/account", "/2016-08-19/account-settings"
PUBLIC_ACCESS_BLOCK = "/v20180820/configuration/publicAccessBlock"


def with_account(app: App, concurrency: int) -> App:
    """The application, which also answers questions about the account. `concurrency`: invocations at the same time."""

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        response = await _answer(scope, receive, concurrency) if scope["type"] == "http" else None
        if response:
            await response.send(send)
        else:
            await app(scope, receive, send)

    return answering


async def _answer(scope: Scope, receive: Receive, concurrency: int) -> Response | None:
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
        return _service_quota(json.loads(await read_body(receive)), concurrency)
    return None


def _service_quota(request: dict[str, str], concurrency: int) -> Response:
    service, code = request["ServiceCode"], request["QuotaCode"]
    if (service, code) not in QUOTAS:
        message = f"There is no quota {code} of {service} here."
        return error_response("servicequotas", 400, "NoSuchResourceException", message)
    value = concurrency if service == "lambda" else QUOTAS[service, code]
    quota = {"ServiceCode": service, "QuotaCode": code, "Value": float(value)}
    return json_response(200, {"Quota": quota}, "application/x-amz-json-1.1")
