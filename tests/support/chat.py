"""People in a chat, and what they say and hear."""

import base64
import json
from contextlib import contextmanager

import websocket


@contextmanager
def people(lab, number):
    """`number` open sockets."""
    url = lab.websocket_url(lab.require_api())
    sockets = [websocket.create_connection(url, timeout=20) for _ in range(number)]
    try:
        yield sockets
    finally:
        for socket in sockets:
            socket.close()


def ids(lab):
    pages = lab.client("dynamodb").get_paginator("scan").paginate(TableName=lab.table, ConsistentRead=True)
    return {item["connection_id"]["S"] for page in pages for item in page["Items"]}


def say(lab, text):
    """Invoke the broadcast as API Gateway does; its log line."""
    event = {"requestContext": {"connectionId": "test"}, "body": text, "isBase64Encoded": False}
    answer = lab.client("lambda").invoke(
        FunctionName=lab.functions["default"], Payload=json.dumps(event), LogType="Tail"
    )
    tail = base64.b64decode(answer["LogResult"]).decode().splitlines()
    return json.loads(next(line for line in tail if line.startswith("{")))


def heard(sockets, number=1):
    return [[socket.recv() for _ in range(number)] for socket in sockets]


def is_heard(lab):
    """Whether what one person says in the lab's chat is heard by another."""
    url = lab.websocket_url(lab.require_api())
    ada, grace = (websocket.create_connection(url, timeout=10) for _ in range(2))
    try:
        ada.send("still here")
        return grace.recv() == "still here"
    finally:
        ada.close()
        grace.close()
