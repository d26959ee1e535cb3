"""People in a chat, and what they say and hear."""

import base64
import json
import threading
import time
from collections import Counter
from contextlib import contextmanager

import websocket

from chatlab import poll


@contextmanager
def people(lab, number):
    """`number` open sockets. At the end they are closed, and no longer in the table."""
    url, before = lab.websocket_url(lab.require_api()), ids(lab)
    # Checking that a text is UTF-8 is slow, and a text that is not would fail anyway.
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
    """The set of connection ids in the chat's table, or in another one."""
    scan = lab.client("dynamodb").get_paginator("scan")
    pages = scan.paginate(TableName=table or lab.table, ConsistentRead=True)
    return {item["connection_id"]["S"] for page in pages for item in page["Items"]}


def put_items(lab, connection_ids, age_s=3600, table=None):
    """Put items of connections that began `age_s` ago, and have two hours to live."""
    now = int(time.time())
    times = {"connected_at": {"N": str(now - age_s)}, "expires_at": {"N": str(now + 7200)}}
    requests = [{"PutRequest": {"Item": {"connection_id": {"S": each}} | times}} for each in connection_ids]
    for begin in range(0, len(requests), 25):  # as many as DynamoDB takes at a time
        batch = {table or lab.table: requests[begin : begin + 25]}
        assert not lab.client("dynamodb").batch_write_item(RequestItems=batch)["UnprocessedItems"]


def delete_item(lab, connection_id):
    lab.client("dynamodb").delete_item(TableName=lab.table, Key={"connection_id": {"S": connection_id}})


def say(lab, text):
    """Invoke the broadcast as API Gateway does. Returns its log line."""
    event = {"requestContext": {"connectionId": "test"}, "body": text, "isBase64Encoded": False}
    answer = lab.client("lambda").invoke(
        FunctionName=lab.functions["default"], Payload=json.dumps(event), LogType="Tail"
    )
    tail = base64.b64decode(answer["LogResult"]).decode().splitlines()
    return json.loads(next(line for line in tail if line.startswith("{")))


def heard(sockets):
    """The next message that each of the sockets hears."""
    return [socket.recv() for socket in sockets]


def is_heard(lab):
    """Whether one person in the lab's chat hears what another one says."""
    with people(lab, 2) as (ada, grace):
        ada.send("still here")
        return grace.recv() == "still here"


class Room:
    """People in the chat who listen all the time, each in a thread.

    `heard[person][text]` is how often they heard it.
    """

    def __init__(self, lab, number):
        url, before = lab.websocket_url(lab.require_api()), ids(lab)
        self._sockets = [websocket.create_connection(url, timeout=30) for _ in range(number)]
        self.heard = [Counter() for _ in self._sockets]
        self._threads = [
            threading.Thread(target=self._listen, args=pair, daemon=True)
            for pair in zip(self._sockets, self.heard, strict=True)
        ]
        for thread in self._threads:
            thread.start()
        # Each connection is sent its own id, since nobody else can tell which socket has which.
        api = lab.client("apigatewaymanagementapi", endpoint_url=lab.connections_url(lab.require_api()))
        for connection_id in ids(lab) - before:
            api.post_to_connection(ConnectionId=connection_id, Data=connection_id.encode())
        poll(lambda: all(self.heard), "everybody to hear their id", every_s=0.02)
        self.ids = [next(iter(heard)) for heard in self.heard]
        """Their connections' ids, in the same order."""

    def _listen(self, socket, heard):
        try:
            while text := socket.recv():
                heard[text] += 1
        except (OSError, websocket.WebSocketException):
            pass

    def say(self, person, text):
        self._sockets[person].send(text)

    def copies(self, text):
        """How often each has heard it."""
        return [heard[text] for heard in self.heard]

    def wait_until_all_hear(self, text):
        poll(lambda: all(self.copies(text)), f"everybody to hear {text!r}", timeout_s=5, every_s=0.02)

    def leave(self):
        for socket in self._sockets:
            socket.close()
        for thread in self._threads:
            thread.join(5)


@contextmanager
def people_in(lab, number):
    """A `Room` whose people leave at the end."""
    room = Room(lab, number)
    try:
        yield room
    finally:
        room.leave()
        poll(lambda: ids(lab).isdisjoint(room.ids), "the table to forget the ones who left", every_s=0.02)
