"""The least that posting to all connections can cost: the ceiling in the benchmark, which deploys this.

One thread, one HTTP request after another on each of some sockets, signed; of an answer nothing is read but its status.
There is no retry, no time-out and no TLS: it is no way to run a chat.
"""

import json
import os
import selectors
import socket
import time
from urllib.parse import urlsplit

import boto3
import sigv4

SOCKETS = 32

dynamodb = boto3.client("dynamodb")
sockets = []


def handler(event, context):
    """Post the message to every connection; prints `connections`, as many `delivered`, and `post_ms`."""
    endpoint = os.environ["APIGatewayEndpoint"]
    url = urlsplit(endpoint)
    pages = dynamodb.get_paginator("scan").paginate(TableName=os.environ["TABLE"], ProjectionExpression="connection_id")
    connection_ids = [item["connection_id"]["S"] for page in pages for item in page["Items"]]
    while len(sockets) < SOCKETS:
        sockets.append(socket.create_connection((url.hostname, url.port)))
    signer, left, under_way = sigv4.Signer(endpoint, event["body"].encode()), iter(connection_ids), 0
    started = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for number, connection_id in zip(range(SOCKETS), left):  # noqa: B905
            selector.register(sockets[number], selectors.EVENT_READ)
            sockets[number].sendall(signer.request(connection_id))
            under_way += 1
        while under_way:
            for key, _ in selector.select():
                answer = key.fileobj.recv(65536)
                assert answer[9:12] == b"200", answer
                if connection_id := next(left, None):
                    key.fileobj.sendall(signer.request(connection_id))
                else:
                    under_way -= 1
    post_ms = (time.perf_counter() - started) * 1000
    print(json.dumps({"connections": len(connection_ids), "delivered": len(connection_ids), "post_ms": post_ms}))
    return {"statusCode": 200}
