"""Code that the notebooks show: a whole chat in one cell of 00, and the functions in the text of 03."""

import json
import re
import socket

import nbformat
import pytest
from websockets.asyncio import client
from websockets.exceptions import InvalidStatus

from chatlab import poll
from chatlab.packages import FAST, HANDLERS, PARTS, build_package, build_zip, deploy, read_files
from chatlab.paths import NOTEBOOKS
from tests.support.cells import cells, run_cells
from tests.support.chat import ids, people


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


BEGIN = """
import os, time
import lambda_default
from lambda_default import api, dynamodb, forget, read_ids
lambda_default.CONNECT_GRACE_S = -1  # so that an id can be forgotten at once
"""


def test_the_functions_that_notebook_03_shows_are_a_chat_server(chat):
    texts = [cell.source for cell in nbformat.read(NOTEBOOKS / "03_lambda_functions.ipynb", as_version=4).cells]
    blocks = re.findall(r"```python\n(.*?)```", "\n".join(texts), re.DOTALL)
    shown = [block for block in blocks if "(event, context)" in block]
    assert len(shown) == 3
    code = "\n\n".join([BEGIN, *shown]).encode()
    try:
        for part in PARTS:
            package = build_zip(read_files("lambda_default.py") | {"shown.py": code})
            deploy(chat, part, package, f"shown.{part}")
        before = ids(chat)
        with people(chat, 3) as sockets:
            assert len(ids(chat) - before) == 3
            event = {"requestContext": {"connectionId": "left-without-a-word"}}
            chat.client("lambda").invoke(FunctionName=chat.functions["connect"], Payload=json.dumps(event))
            assert "left-without-a-word" in ids(chat)
            sockets[0].send("🎉")
            assert [socket.recv() for socket in sockets] == ["🎉"] * 3
            poll(lambda: "left-without-a-word" not in ids(chat), "the one who left to be forgotten", every_s=0.02)
        poll(lambda: ids(chat) == before, "the others to leave the table", every_s=0.02)
    finally:
        for part in PARTS:
            deploy(chat, part, build_package(part), FAST if part == "default" else HANDLERS[part])
