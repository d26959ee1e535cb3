"""Two other broadcasts, which the benchmarks deploy: `ceiling`, the least that it can cost, and `threads`.

Each posts the message to every connection, and prints `connections`, as many `delivered`, and `post_ms`.
"""

import json
import os
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict
from urllib.parse import urlsplit

import boto3
from fanout.sigv4 import Signer

SOCKETS = 32
THREADS = 8  # more gain nothing: boto3's work for a post is done under Python's interpreter lock

dynamodb = boto3.client("dynamodb")
api = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ.get("APIGatewayEndpoint"))
executor = ThreadPoolExecutor(THREADS)
sockets: list[socket.socket] = []


class Event(TypedDict):
    """What the function reads of API Gateway's event for a message."""

    body: str


def broadcast(post_all: Callable[[list[str]], object]) -> dict[str, int]:
    """Read the table, post to all connections and print how long the posts took."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=os.environ["TABLE"], ProjectionExpression="connection_id")
    connection_ids = [item["connection_id"]["S"] for page in pages for item in page["Items"]]
    started = time.perf_counter()
    post_all(connection_ids)
    post_ms = (time.perf_counter() - started) * 1000
    print(json.dumps({"connections": len(connection_ids), "delivered": len(connection_ids), "post_ms": post_ms}))
    return {"statusCode": 200}


def threads(event: Event, context: object) -> dict[str, int]:
    """The sequential broadcast in threads: what one would try first to make it faster."""

    def post(connection_id: str) -> None:
        api.post_to_connection(ConnectionId=connection_id, Data=event["body"].encode())

    return broadcast(lambda connection_ids: list(executor.map(post, connection_ids)))


def ceiling(event: Event, context: object) -> dict[str, int]:
    """One HTTP request after another on each of some sockets, signed; nothing is read of an answer but its status.

    There is no retry, no time-out and no TLS: it is no way to run a chat.
    """
    endpoint = os.environ["APIGatewayEndpoint"]
    url = urlsplit(endpoint)
    while len(sockets) < SOCKETS:
        sockets.append(socket.create_connection((url.hostname, url.port)))
    signer = Signer(endpoint, event["body"].encode())

    def post_all(connection_ids: list[str]) -> None:
        rest, in_flight = iter(connection_ids), 0
        with selectors.DefaultSelector() as selector:
            for connection, connection_id in zip(sockets, rest):  # noqa: B905
                selector.register(connection, selectors.EVENT_READ, connection)
                connection.sendall(signer.request(connection_id))
                in_flight += 1
            while in_flight:
                for key, _ in selector.select():
                    response = key.data.recv(65536)
                    assert response[9:12] == b"200", response
                    if following := next(rest, None):
                        key.data.sendall(signer.request(following))
                    else:
                        in_flight -= 1

    return broadcast(post_all)
