"""The `$connect` route: store the connection's id, so that a broadcast can reach it.

Environment: `TABLE`, the DynamoDB table of connection ids; optionally `ROOM_KEY`, which the URL then needs as its
`?key=`, and `ORIGINS`, the sites whose pages may connect, separated by spaces.
"""

import hmac
import json
import os
import time
from collections.abc import Mapping
from typing import NotRequired, TypedDict
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

# API Gateway ends every connection after two hours. An item that outlives its connection (because `$disconnect` is
# best effort) is removed by DynamoDB's time to live; the third hour is a margin.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
LIFETIME_S = 3 * 60 * 60

# Three attempts, with up to 1 s and 2 s between them, are over within 9 s, and the function has 10. boto3's own ten
# attempts could take half a minute, and a function that Lambda stops at its time-out has written no log line.
CLIENT_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=1, read_timeout=1)

# Made once per execution environment: every warm invocation reuses the client and its connection to DynamoDB.
dynamodb = boto3.client("dynamodb", config=CLIENT_CONFIG)

# The visitor's own machine serves a page there, while somebody develops it: no site has such an address.
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class RequestContext(TypedDict):
    connectionId: str


class Event(TypedDict):
    """What the function reads of API Gateway's event for a handshake."""

    requestContext: RequestContext
    headers: NotRequired[Mapping[str, str] | None]
    queryStringParameters: NotRequired[Mapping[str, str] | None]


def refusal(event: Event) -> str | None:
    """What a handshake lacks, "key" or "origin"; None if it is welcome.

    A browser sends the site of the page in `Origin`, which the page can't change; a program sends there what it likes,
    or nothing. https://datatracker.ietf.org/doc/html/rfc6455#section-10.2
    """
    if key := os.environ.get("ROOM_KEY"):
        given = (event.get("queryStringParameters") or {}).get("key", "")
        # The time that this takes does not show how much of the key is right.
        if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), key.encode()):
            return "key"
    if origins := os.environ.get("ORIGINS", "").split():
        # API Gateway passes the names of headers on as the client wrote them.
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        origin = headers.get("origin")
        if origin is not None and origin not in origins and not is_own(origin, headers.get("host")):
            return "origin"
    return None


def is_own(origin: str, host: str | None) -> bool:
    """Whether an origin is the API's own (programs make it from the URL), or on the visitor's own machine."""
    try:
        site = urlsplit(origin)
        return site.netloc == host or site.hostname in LOOPBACK
    except ValueError:
        return False


def handler(event: Event, context: object) -> dict[str, int]:
    """Put the connection's id into the table, if it is welcome. A status outside 200-299 refuses the handshake."""
    log: dict[str, str | float] = {"event": "connect"}
    now = int(time.time())
    started = time.perf_counter()
    try:
        connection_id = event["requestContext"]["connectionId"]
        log["connection_id"] = str(connection_id)
        if lacking := refusal(event):
            log["refused"], status = lacking, 403
        else:
            dynamodb.put_item(
                TableName=os.environ["TABLE"],
                Item={
                    "connection_id": {"S": connection_id},
                    "connected_at": {"N": str(now)},
                    "expires_at": {"N": str(now + LIFETIME_S)},
                },
            )
            status = 200
    except Exception as error:  # whatever it is, a connection that is not in the table would hear nothing: refuse it
        log["error"] = f"{type(error).__name__}: {error}"
        status = 500
    log["put_ms"] = round((time.perf_counter() - started) * 1000, 1)
    print(json.dumps(log))
    return {"statusCode": status}
