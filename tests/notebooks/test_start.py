"""The first chat, of notebook 00: a server and two clients in one cell."""

import socket

import pytest
from websockets.asyncio import client
from websockets.exceptions import InvalidStatus

from tests.support.cells import cells, run_cells


def test_both_hear_the_first_message_no_page_gets_in_and_nothing_listens_afterwards(monkeypatch):
    (cell,) = (source for source in cells("00_start") if "async with serve(" in source)
    assert cells("00_start").index(cell) == 0
    places, statuses = set(), []

    class ConnectAfterAPage(client.connect):
        """A client, and before it a page of the machine's own browser that tries the same."""

        async def __aenter__(self):
            for origin in ("https://example.com", "http://127.0.0.1:8888", "null"):
                with pytest.raises(InvalidStatus) as refused:
                    await client.connect_as_it_is(self.uri, origin=origin, proxy=None)
                statuses.append(refused.value.response.status_code)
            connection = await super().__aenter__()
            places.add(connection.remote_address)
            return connection

    monkeypatch.setattr(client, "connect_as_it_is", client.connect, raising=False)
    monkeypatch.setattr(client, "connect", ConnectAfterAPage)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    names = {}
    said = run_cells("00_start", 1, namespace=names)
    assert said == "Ada hears:   Is anybody there?\nGrace hears: Is anybody there?\n"
    assert statuses == 6 * [403]
    ((host, port),) = places
    assert host == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=1)
    assert names["room"] == set()
