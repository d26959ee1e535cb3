"""The account's quotas, as API Gateway, Lambda and Service Quotas tell them: the emulator knows none.

https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html and Lambda's page of quotas have the figures.
"""

import json

from temper import REQUESTS_PER_S, describe, whole_body

CONCURRENCY = 1_000
CODES = {
    ("apigateway", "L-8A5B8E43"): ("Throttle rate", 10_000),  # in all Regions, also where it is less
    ("apigateway", "L-9ED1E49A"): ("WebSocket new connections rate", 500),
    ("lambda", "L-B99A9384"): ("Concurrent executions", CONCURRENCY),
}
SERVICE_QUOTAS = b"ServiceQuotasV20190624."


def with_quotas(app, concurrency=CONCURRENCY):
    """The application, with answers to those who ask for quotas. `concurrency`: invocations at the same time."""

    async def answering(scope, receive, send):
        if scope["type"] != "http" or not (read := _reader(scope)):
            await app(scope, receive, send)
            return
        body = await whole_body(receive)
        status, answer = read(describe(scope, body), concurrency)
        kind = b"application/x-amz-json-1.1" if read is _service_quota else b"application/json"
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    return answering


def _reader(scope):
    """Who answers this request; None for the emulator itself."""
    if scope["path"] == "/account" and describe(scope, b"").service == "apigateway":  # else a bucket's name
        return _account
    if scope["path"].rstrip("/") == "/2016-08-19/account-settings":
        return _account_settings
    if dict(scope["headers"]).get(b"x-amz-target", b"").startswith(SERVICE_QUOTAS):
        return _service_quota
    return None


def _account(call, concurrency):
    return 200, {
        "throttleSettings": {"rateLimit": REQUESTS_PER_S, "burstLimit": int(REQUESTS_PER_S / 2)},
        "apiKeyVersion": "4",
    }


def _account_settings(call, concurrency):
    limit = {"ConcurrentExecutions": concurrency, "UnreservedConcurrentExecutions": concurrency}
    sizes = {"TotalCodeSize": 80_530_636_800, "CodeSizeUnzipped": 262_144_000, "CodeSizeZipped": 52_428_800}
    return 200, {"AccountLimit": limit | sizes, "AccountUsage": {"TotalCodeSize": 0, "FunctionCount": 0}}


def _service_quota(call, concurrency):
    asked = json.loads(call.body or b"{}")
    service, code = asked.get("ServiceCode"), asked.get("QuotaCode")
    if call.operation not in ("GetServiceQuota", "GetAWSDefaultServiceQuota") or (service, code) not in CODES:
        return 400, {"__type": "NoSuchResourceException", "Message": f"There is no quota {code} of {service} here."}
    name, value = CODES[service, code]
    if service == "lambda" and call.operation == "GetServiceQuota":
        value = concurrency
    quota = {"ServiceCode": service, "QuotaCode": code, "QuotaName": name, "Value": float(value)}
    return 200, {"Quota": quota | {"Unit": "None", "Adjustable": True, "GlobalQuota": False}}
