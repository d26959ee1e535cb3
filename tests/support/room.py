"""People in a chat who listen all the time, and write down what they hear."""

import threading
from collections import Counter
from contextlib import contextmanager

import websocket

from chatlab import poll


class Room:
    """People in the chat, each of whom writes down what they hear. `heard[text]` is how often each has heard it."""

    def __init__(self, lab, number, beside=None):
        url = lab.websocket_url(lab.require_api())
        self._sockets = [websocket.create_connection(url, timeout=30) for _ in range(number)]
        self.heard = [Counter() for _ in self._sockets]
        self._threads = [
            threading.Thread(target=self._listen, args=pair, daemon=True)
            for pair in zip(self._sockets, self.heard, strict=True)
        ]
        for thread in self._threads:
            thread.start()
        self.ids = self._find_ids(lab, beside.ids if beside else [])
        """Their connections' ids, in the same order."""

    def _listen(self, socket, heard):
        try:
            while text := socket.recv():
                heard[text] += 1
        except (OSError, websocket.WebSocketException):
            pass

    def _find_ids(self, lab, others):
        """Each is told its own id, since nobody else can tell which socket has which."""
        api = lab.client("apigatewaymanagementapi", endpoint_url=lab.connections_url(lab.require_api()))
        for connection_id in set(items(lab)).difference(others):
            api.post_to_connection(ConnectionId=connection_id, Data=connection_id.encode())
        poll(lambda: all(self.heard), "everybody to be told their id", every_s=0.02)
        return [next(iter(heard)) for heard in self.heard]

    def say(self, person, text):
        self._sockets[person].send(text)

    def copies(self, text):
        """How often each has heard it."""
        return [heard[text] for heard in self.heard]

    def leave(self):
        for socket in self._sockets:
            socket.close()
        for thread in self._threads:
            thread.join(5)


def items(lab):
    """The connection ids in the table, a list."""
    found = lab.client("dynamodb").scan(TableName=lab.table, ConsistentRead=True)["Items"]
    return [item["connection_id"]["S"] for item in found]


@contextmanager
def people_in(lab, number, beside=None):
    """A Room of so many, who leave at the end."""
    before = len(items(lab))
    room = Room(lab, number, beside)
    try:
        yield room
    finally:
        room.leave()
        poll(lambda: len(items(lab)) == before, "the table to forget those who left", every_s=0.02)
