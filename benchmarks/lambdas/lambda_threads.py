"""The sequential broadcast in threads: what one would try first to make it faster. Benchmarks deploy it."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

import boto3

THREADS = 8  # more gain nothing: boto3's work for a post is done under Python's interpreter lock

dynamodb = boto3.client("dynamodb")
api = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ.get("APIGatewayEndpoint"))
executor = ThreadPoolExecutor(THREADS)


class Event(TypedDict):
    """What the function reads of API Gateway's event for a message."""

    body: str


def handler(event: Event, context: object) -> dict[str, int]:
    """Post the message to `THREADS` connections at a time; prints `connections`, as many `delivered`, and `post_ms`."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=os.environ["TABLE"], ProjectionExpression="connection_id")
    connection_ids = [item["connection_id"]["S"] for page in pages for item in page["Items"]]

    def post(connection_id: str) -> None:
        api.post_to_connection(ConnectionId=connection_id, Data=event["body"].encode())

    started = time.perf_counter()
    list(executor.map(post, connection_ids))
    post_ms = (time.perf_counter() - started) * 1000
    print(json.dumps({"connections": len(connection_ids), "delivered": len(connection_ids), "post_ms": post_ms}))
    return {"statusCode": 200}
