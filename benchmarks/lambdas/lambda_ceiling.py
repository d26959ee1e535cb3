"""Another broadcast, which the benchmarks deploy: the least that the posts can cost."""

import os
import selectors
import socket
from typing import Any
from urllib.parse import urlsplit

import lambda_default
from fanout.sigv4 import Signer

SOCKETS = 32
sockets: list[socket.socket] = []


def post_all(connection_ids: list[str], data: bytes) -> list[str]:
    """One HTTP request after another on each of some sockets, signed; nothing is read of an answer but its status.

    There is no retry, no time-out and no TLS: it is no way to run a chat.
    """
    endpoint = os.environ["APIGatewayEndpoint"]
    url = urlsplit(endpoint)
    while len(sockets) < SOCKETS:
        sockets.append(socket.create_connection((url.hostname, url.port)))
    signer = Signer(endpoint, data)
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
    return ["delivered"] * len(connection_ids)


def handler(event: dict[str, Any], context: object) -> dict[str, int]:
    """The obvious broadcast with these posts."""
    return lambda_default.handler(event, context, post_all)
