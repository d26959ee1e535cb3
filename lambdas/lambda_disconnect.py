"""The `$disconnect` route: delete the connection's id, so that no broadcast posts to it any more.

Environment: `TABLE`, the DynamoDB table of connection ids.
"""

import json
import os
import time
from typing import TypedDict

import boto3
from botocore.config import Config

# As in `lambda_connect`: over within 9 s, and the function has 10.
CLIENT_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=1, read_timeout=1)
dynamodb = boto3.client("dynamodb", config=CLIENT_CONFIG)


class RequestContext(TypedDict):
    connectionId: str


class Event(TypedDict):
    """What the function reads of API Gateway's event for the end of a connection."""

    requestContext: RequestContext


def handler(event: Event, context: object) -> dict[str, int]:
    """Delete the connection's id. The socket is closed already, so nobody waits for the answer."""
    log: dict[str, str | float] = {"event": "disconnect"}
    started = time.perf_counter()
    try:
        connection_id = event["requestContext"]["connectionId"]
        log["connection_id"] = str(connection_id)
        dynamodb.delete_item(TableName=os.environ["TABLE"], Key={"connection_id": {"S": connection_id}})
        status = 200
    except Exception as error:  # a broadcast that gets 410, or the item's time to live, removes the id later
        log["error"] = f"{type(error).__name__}: {error}"
        status = 500
    log["delete_ms"] = round((time.perf_counter() - started) * 1000, 1)
    print(json.dumps(log))
    return {"statusCode": status}
