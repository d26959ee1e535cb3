"""People in a chat, and what they say and hear."""

import base64
import json
import time
from contextlib import contextmanager

import websocket

from chatlab import poll


@contextmanager
def people(lab, number):
    """`number` open sockets. At the end they are closed, and the chat has forgotten them."""
    url, before = lab.websocket_url(lab.require_api()), ids(lab)
    # Whether a text is UTF-8 is looked at slowly, and would fail anyway.
    options = {"timeout": 20, "skip_utf8_validation": True}
    sockets = [websocket.create_connection(url, **options) for _ in range(number)]
    theirs = ids(lab) - before
    try:
        yield sockets
    finally:
        for socket in sockets:
            socket.close()
        poll(lambda: theirs.isdisjoint(ids(lab)), "everybody to leave", every_s=0.02)


def ids(lab, table=None):
    """The connection ids in the chat's table, or in another one, a set."""
    scan = lab.client("dynamodb").get_paginator("scan")
    pages = scan.paginate(TableName=table or lab.table, ConsistentRead=True)
    return {item["connection_id"]["S"] for page in pages for item in page["Items"]}


def put_items(lab, connection_ids, age_s=3600, table=None):
    """Items of connections that began so long ago, and have two hours to live."""
    now = int(time.time())
    times = {"connected_at": {"N": str(now - age_s)}, "expires_at": {"N": str(now + 7200)}}
    items = [{"connection_id": {"S": connection_id}} | times for connection_id in connection_ids]
    _write(lab, table, [{"PutRequest": {"Item": item}} for item in items])


def delete_items(lab, connection_ids, table=None):
    """Let these have left."""
    keys = [{"connection_id": {"S": connection_id}} for connection_id in connection_ids]
    _write(lab, table, [{"DeleteRequest": {"Key": key}} for key in keys])


def _write(lab, table, requests):
    for begin in range(0, len(requests), 25):  # so many at a time are taken
        batch = {table or lab.table: requests[begin : begin + 25]}
        assert not lab.client("dynamodb").batch_write_item(RequestItems=batch)["UnprocessedItems"]


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
    with people(lab, 2) as (ada, grace):
        ada.send("still here")
        return grace.recv() == "still here"
