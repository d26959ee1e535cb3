"""The broadcast as one would write it first: boto3, and one post after another.

It does what `lambda_default` does, slowly, and is here to be compared with it: notebook 07 and the benchmark deploy it
in its place.

Environment: `TABLE`, the DynamoDB table of connection ids; `APIGatewayEndpoint`, the stage's URL without
`/@connections`.
"""

import base64
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Protocol, TypedDict

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# A connection is in the table a moment before it is open: its item is written inside `$connect`, whose answer opens it.
# A post in between gets 410 too, so 410 removes only items older than the longest `$connect` (the integration
# time-out of 29 s).
CONNECT_GRACE_S = 30

# botocore's standard mode retries 429 (LimitExceededException), 5xx and broken connections with exponential backoff
# and jitter. Both the number of attempts and the time-outs are bounded, so one bad connection can't stop the others.
CLIENT_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=5)

dynamodb = boto3.client("dynamodb")


class RequestContext(TypedDict):
    connectionId: str


class Event(TypedDict):
    """What the function reads of API Gateway's event for a message."""

    requestContext: RequestContext
    body: str | None
    isBase64Encoded: bool


Outcome = tuple[str, int, Exception | None]
"""What became of a post, the number of retries that it took, and the error, if it failed."""


class Map(Protocol):
    """Calls a function with each of the values: one after another as `map` does, or in threads as an executor's."""

    def __call__(self, function: Callable[[str], Outcome], values: list[str], /) -> Iterable[Outcome]: ...


def handler(event: Event, context: object) -> dict[str, int]:
    """Forward the message exactly as it came, to one connection after another."""
    return forward(event, map)


def forward(event: Event, map_posts: Map) -> dict[str, int]:
    """Forward the message by way of `map_posts`. There is no response body: on AWS nobody would get it."""
    log: dict[str, str | float] = {"event": "broadcast"}
    try:
        log["connection_id"] = str(event["requestContext"]["connectionId"])
        log.update(broadcast(message_bytes(event), map_posts))
        status = 200
    except Exception as error:  # an exception let out would be sent to the sender, as text that nobody said
        log["error"] = f"{type(error).__name__}: {error}"
        status = 500
    print(json.dumps(log))
    return {"statusCode": status}


def message_bytes(event: Event) -> bytes:
    """The message as bytes: text as UTF-8, a binary frame as API Gateway hands it over, in Base64."""
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()


def broadcast(data: bytes, map_posts: Map) -> dict[str, str | float]:
    """Post `data` to every connection in the table.

    Returns a dict for the log: `connections` found, `delivered`, `gone` (answered 410), `failed` (anything else),
    `retried`, `scan_ms` and `post_ms`, and `error`, the last failure's text, if there was one.
    """
    counts = Counter(connections=0, delivered=0, gone=0, failed=0, retried=0)
    log: dict[str, str | float] = {}
    if not data:  # an empty frame says nothing, and PostToConnection refuses an empty payload
        return dict(counts)
    started = time.perf_counter()
    connection_ids = scan_connection_ids()
    scanned = time.perf_counter()
    counts["connections"] = len(connection_ids)
    for outcome, retried, error in map_posts(partial(post, data=data), connection_ids):
        counts[outcome] += 1
        counts["retried"] += retried
        if error:
            log["error"] = f"{type(error).__name__}: {error}"
    log["scan_ms"] = round((scanned - started) * 1000, 1)
    log["post_ms"] = round((time.perf_counter() - scanned) * 1000, 1)
    return dict(counts) | log


def scan_connection_ids() -> list[str]:
    """Every connection id in the table, over all pages (a page of a scan ends at 1 MB)."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=os.environ["TABLE"], ProjectionExpression="connection_id")
    return [item["connection_id"]["S"] for page in pages for item in page["Items"]]


def post(connection_id: str, data: bytes) -> Outcome:
    """Post to one connection."""
    api = management_api(os.environ["APIGatewayEndpoint"])
    try:
        response = api.post_to_connection(ConnectionId=connection_id, Data=data)
    except api.exceptions.GoneException as error:
        delete_stale(connection_id)
        return "gone", error.response["ResponseMetadata"]["RetryAttempts"], None
    except ClientError as error:
        return "failed", error.response["ResponseMetadata"]["RetryAttempts"], error
    except BotoCoreError as error:
        return "failed", 0, error
    return "delivered", response["ResponseMetadata"]["RetryAttempts"], None


@lru_cache(maxsize=1)
def management_api(endpoint: str) -> Any:  # boto3 makes the classes of its clients at run time
    """The client of the `@connections` API: made for the first broadcast, kept for all that follow."""
    return boto3.client("apigatewaymanagementapi", endpoint_url=endpoint, config=CLIENT_CONFIG)


def delete_stale(connection_id: str) -> None:
    """Delete the id of a client that left without `$disconnect`, unless it is only just connecting."""
    # Of an item that $disconnect has deleted meanwhile, the condition is false as well.
    with suppress(dynamodb.exceptions.ConditionalCheckFailedException):
        dynamodb.delete_item(
            TableName=os.environ["TABLE"],
            Key={"connection_id": {"S": connection_id}},
            ConditionExpression="connected_at < :stale_before",
            ExpressionAttributeValues={":stale_before": {"N": str(int(time.time()) - CONNECT_GRACE_S)}},
        )
