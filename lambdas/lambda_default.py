"""The `$default` route: the obvious broadcast. Read who is connected, and post the message to one after another.

Environment: `TABLE`, the table of connection ids; `APIGatewayEndpoint`, the stage's URL without `/@connections`.
"""

import base64
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import boto3
from botocore.config import Config

CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=5)
dynamodb = boto3.client("dynamodb", config=CONFIG)
api = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ.get("APIGatewayEndpoint"), config=CONFIG)
CONNECT_GRACE_S = 30  # $connect stores the id before the connection is open, and until then a post to it gets 410 too


def read_ids() -> list[str]:
    """The ids of all connections, over all pages of the table."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=os.environ["TABLE"], ProjectionExpression="connection_id")
    return [item["connection_id"]["S"] for page in pages for item in page["Items"]]


def post_all(connection_ids: list[str], data: bytes) -> list[str]:
    """Post to one connection after another. Returns what `post` returned for each."""
    return [post(connection_id, data) for connection_id in connection_ids]


def post(connection_id: str, data: bytes) -> str:
    """Post to one connection. Returns "delivered", "gone" or the error; raises nothing, so that the others hear it."""
    try:
        api.post_to_connection(ConnectionId=connection_id, Data=data)
        return "delivered"
    except api.exceptions.GoneException:  # its client left, and $disconnect did not run
        with suppress(Exception):  # the next broadcast meets it again
            forget(connection_id)
        return "gone"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def forget(connection_id: str) -> None:
    """Delete the id, unless its connection is only just opening."""
    dynamodb.delete_item(
        TableName=os.environ["TABLE"],
        Key={"connection_id": {"S": connection_id}},
        ConditionExpression="connected_at < :before",
        ExpressionAttributeValues={":before": {"N": str(int(time.time()) - CONNECT_GRACE_S)}},
    )


def handler(
    event: dict[str, Any], context: object, post_all: Callable[[list[str], bytes], list[str]] = post_all
) -> dict[str, int]:
    """Forward the message exactly as it came, and print one log line. No exception leaves the function."""
    log: dict[str, Any] = {"event": "broadcast", "began_ms": round(1000 * time.time(), 1)}
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        log["connection_id"] = str(event["requestContext"]["connectionId"])
        data = read_message(event)
        connection_ids = read_ids() if data else []  # an empty frame says nothing
        log["scan_ms"] = log["first_post_ms"] = round(1000 * (time.perf_counter() - started), 1)
        outcomes = post_all(connection_ids, data)
        log["post_ms"] = round(1000 * (time.perf_counter() - started) - log["scan_ms"], 1)
        log |= count(outcomes)
        status = 200
    except Exception as error:  # API Gateway would show an exception's text to the speaker
        log["error"], status = f"{type(error).__name__}: {error}", 500
    log["cpu_ms"] = round(1000 * (time.process_time() - cpu_started), 1)
    print(json.dumps(log))
    return {"statusCode": status}


def read_message(event: dict[str, Any]) -> bytes:
    """The message's bytes. API Gateway writes bytes that are no text in base64."""
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()


def count(outcomes: list[str]) -> dict[str, Any]:
    """How often each outcome of `post` occurred, and the last error, if there was one."""
    errors = [outcome for outcome in outcomes if outcome not in ("delivered", "gone")]
    counts = {name: outcomes.count(name) for name in ("delivered", "gone")}
    return {"connections": len(outcomes), **counts, "failed": len(errors)} | ({"error": errors[-1]} if errors else {})
