"""The `$default` route: the broadcast. Post what one connection says to every connection, one after another.

Environment: `TABLE`, the table of connection ids; `APIGatewayEndpoint`, the stage's URL without `/@connections`.
"""

import base64
import json
import os
import time
from contextlib import suppress
from typing import Any

import boto3
from botocore.config import Config

CONNECT_GRACE_S = 30  # $connect stores the id before the connection is open, and until then a post to it gets 410 too
CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=5)
dynamodb = boto3.client("dynamodb", config=CONFIG)
api = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ.get("APIGatewayEndpoint"), config=CONFIG)


def handler(event: dict[str, Any], context: object) -> dict[str, int]:
    """Forward the message exactly as it came. What went wrong is in the log line; no exception is let out."""
    log: dict[str, Any] = {"event": "broadcast", "connections": 0, "delivered": 0, "gone": 0, "failed": 0}
    try:
        log["connection_id"] = str(event["requestContext"]["connectionId"])
        body = event.get("body") or ""
        data = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
        table, before = os.environ["TABLE"], {":before": {"N": str(int(time.time()) - CONNECT_GRACE_S)}}
        stale = {"ConditionExpression": "connected_at < :before", "ExpressionAttributeValues": before}
        pages = dynamodb.get_paginator("scan").paginate(TableName=table, ProjectionExpression="connection_id")
        for key in (key for page in pages for key in page["Items"]) if data else ():  # an empty frame says nothing
            log["connections"] += 1
            try:
                api.post_to_connection(ConnectionId=key["connection_id"]["S"], Data=data)
                log["delivered"] += 1
            except api.exceptions.GoneException:  # its client left, and $disconnect did not run
                log["gone"] += 1
                with suppress(Exception):  # the next broadcast meets again what can't be deleted
                    dynamodb.delete_item(TableName=table, Key=key, **stale)
            except Exception as error:  # the others hear it all the same
                log["failed"] += 1
                log["error"] = f"{type(error).__name__}: {error}"
        status = 200
    except Exception as error:  # API Gateway would show an exception's text to the speaker
        log["error"], status = f"{type(error).__name__}: {error}", 500
    print(json.dumps(log))
    return {"statusCode": status}
