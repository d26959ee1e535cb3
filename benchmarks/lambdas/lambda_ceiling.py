"""The least that posting to all connections can cost: the ceiling in the benchmark, which deploys this.

One thread, one HTTP request after another on each of some sockets, signed; of an answer nothing is read but its status.
There is no retry, no time-out and no TLS: it is no way to run a chat.
"""

import json
import os
import selectors
import socket
import time
from typing import TypedDict
from urllib.parse import urlsplit

import boto3
from fanout.sigv4 import Signer

SOCKETS = 32

dynamodb = boto3.client("dynamodb")
sockets: list[socket.socket] = []


class Event(TypedDict):
    """What the function reads of API Gateway's event for a message."""

    body: str


def handler(event: Event, context: object) -> dict[str, int]:
    """Post the message to every connection; prints `connections`, as many `delivered`, and `post_ms`."""
    endpoint = os.environ["APIGatewayEndpoint"]
    url = urlsplit(endpoint)
    pages = dynamodb.get_paginator("scan").paginate(TableName=os.environ["TABLE"], ProjectionExpression="connection_id")
    connection_ids = [item["connection_id"]["S"] for page in pages for item in page["Items"]]
    while len(sockets) < SOCKETS:
        sockets.append(socket.create_connection((url.hostname, url.port)))
    signer, rest, in_flight = Signer(endpoint, event["body"].encode()), iter(connection_ids), 0
    started = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for connection, connection_id in zip(sockets, rest):  # noqa: B905
            selector.register(connection, selectors.EVENT_READ, connection)
            connection.sendall(signer.request(connection_id))
            in_flight += 1
        while in_flight:
            for key, _ in selector.select():
                response = key.data.recv(65536)
                assert response[9:12] == b"200", response
                if connection_id := next(rest, None):
                    key.data.sendall(signer.request(connection_id))
                else:
                    in_flight -= 1
    post_ms = (time.perf_counter() - started) * 1000
    print(json.dumps({"connections": len(connection_ids), "delivered": len(connection_ids), "post_ms": post_ms}))
    return {"statusCode": 200}
