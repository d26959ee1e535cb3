"""A broadcast that is split into shards, or handed over. Lambda is a list of the invocations that it was asked for:
test_deployed.py has the real one."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError
from fanout import Fanout

from tests.support.functions import Context, event, log_line, log_lines

NAMES = [f"c-{number}" for number in range(60)]


@pytest.fixture
def sharded(function, monkeypatch):
    """`sharded(shards, above)`: the broadcast's module with sharding on, and the list of asked-for invocations."""

    def load(shards, above, refuse=()):
        monkeypatch.setenv("SHARDS", str(shards))
        monkeypatch.setenv("SHARD_ABOVE", str(above))
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "chat-default")
        broadcast, asked = function("broadcast"), []

        def invoke(FunctionName, InvocationType, Payload):
            assert (FunctionName, InvocationType) == ("chat-default", "Event")
            message = json.loads(Payload)
            if message["shard"]["segment"] in refuse:
                raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "Invoke")
            asked.append(message)

        monkeypatch.setattr(broadcast, "client", lambda service: SimpleNamespace(invoke=invoke))
        return broadcast, asked

    return load


def test_a_client_is_made_once_however_many_threads_ask(function, monkeypatch):
    broadcast, made = function("broadcast"), []
    make = boto3.client

    def slowly(*arguments, **options):
        made.append(arguments)
        time.sleep(0.05)
        return make(*arguments, **options)

    monkeypatch.setattr(broadcast, "clients", cache(slowly))
    with ThreadPoolExecutor(16) as pool:
        clients = list(pool.map(broadcast.client, ["lambda"] * 16))
    assert len(made) == 1 and len(set(clients)) == 1


@pytest.mark.parametrize("speaker", ["c-6", "c-17"], ids=["in the first segment", "in another"])
def test_a_large_broadcast_is_split_and_its_shards_reach_everyone_once_the_speaker_first(
    sharded, connections, table, monkeypatch, capsys, speaker
):
    table.put(*NAMES)
    monkeypatch.setattr("fanout.http_connections.MAX_CONNECTIONS", 1)
    monkeypatch.setenv("POSTS_PER_SECOND", "8000")
    broadcast, asked = sharded(4, 30)  # of 60, a quarter is in the first segment
    shares = []

    class Recorded(Fanout):
        def __init__(self, data, deadline, posts_per_second, invocations):
            shares.append((posts_per_second, invocations))
            super().__init__(data, deadline, posts_per_second, invocations)

        def set_invocations(self, invocations):
            shares.append(invocations)

    monkeypatch.setattr(broadcast, "Fanout", Recorded)
    said = event(base64.b64encode(b"\xff\x00").decode(), connection_id=speaker, isBase64Encoded=True)
    said["requestContext"]["eventType"] = "MESSAGE"
    broadcast.handler(said, Context())
    assert sorted(message["shard"]["segment"] for message in asked) == [1, 2, 3]
    for message in list(asked):
        broadcast.handler(message, Context())
    assert len(asked) == 3, "a shard must not be split again"
    assert connections.posts == dict.fromkeys(NAMES, 1)
    assert set(connections.heard.values()) == {b"\xff\x00"}
    assert next(iter(connections.heard)) == speaker
    assert shares == [(8000, 1), 4, *[(8000, 4)] * 3]
    first, *others = log_lines(capsys)
    assert first["shards"] == 4
    assert sorted(log["shard"] for log in others) == [1, 2, 3]
    assert {log["broadcast"] for log in (first, *others)} == {first["broadcast"]}
    assert sum(log["delivered"] for log in (first, *others)) == 60


@pytest.mark.parametrize(("shards", "above"), [(4, 1_000), (1, 1)])
def test_a_small_broadcast_is_not_split_nor_one_without_shards(sharded, connections, table, capsys, shards, above):
    table.put(*NAMES)
    broadcast, asked = sharded(shards, above)
    broadcast.handler(event("hello"), Context())
    assert not asked
    assert connections.posts == dict.fromkeys(NAMES, 1)
    assert log_line(capsys)["shards"] == 1


def test_a_shard_that_lambda_does_not_take_is_posted_to_by_the_first_invocation(sharded, connections, table, capsys):
    table.put(*NAMES)
    broadcast, asked = sharded(4, 10, refuse=[2])
    broadcast.handler(event("hello"), Context())
    assert sorted(message["shard"]["segment"] for message in asked) == [1, 3]
    for message in asked:
        broadcast.handler(message, Context())
    assert connections.posts == dict.fromkeys(NAMES, 1)
    assert log_lines(capsys)[0]["shards"] == 3


# --- handed over -----------------------------------------------------------------------------------------------------


@pytest.fixture
def handing_over(sharded, monkeypatch):
    """`handing_over(shards=1)`: as `sharded`, with pages of two. After the first page it hands the rest over."""

    def load(shards=1, above=10, refuse=()):
        broadcast, asked = sharded(shards, above, refuse)
        for name, value in {"HAND_OVER_S": -1, "FIRST_PAGE_ITEMS": 2, "PAGE_GROWTH": 1}.items():
            monkeypatch.setattr(broadcast, name, value)
        return broadcast, asked

    return load


def test_what_is_not_read_in_time_is_handed_over_once(handing_over, connections, table, capsys):
    table.put(*NAMES[:9])
    broadcast, asked = handing_over()
    broadcast.handler(event("hello"), Context())
    (message,) = asked
    assert (message["shard"]["segment"], message["shard"]["total_segments"]) == (0, 1)
    assert len(connections.posts) == 2
    broadcast.handler(message, Context())
    assert len(asked) == 1, "what was handed over must not be handed over again"
    assert connections.posts == dict.fromkeys(NAMES[:9], 1)
    first, rest = log_lines(capsys)
    assert (first["shards"], first["handed_over"], first["delivered"]) == (1, 1, 2)
    assert (rest["shard"], rest["delivered"]) == (0, 7)
    assert first["broadcast"] == rest["broadcast"]


def test_of_a_split_broadcast_only_the_rest_of_the_own_segment_is_handed_over(handing_over, connections, table):
    table.put(*NAMES)
    broadcast, asked = handing_over(shards=3, above=0)
    broadcast.handler(event("hello"), Context())
    assert sorted((message["shard"]["segment"], bool(message["shard"].get("start"))) for message in asked) == [
        (0, True), (1, False), (2, False),
    ]  # fmt: skip
    for message in list(asked):
        broadcast.handler(message, Context())
    assert len(asked) == 3
    assert connections.posts == dict.fromkeys(NAMES, 1)


def test_if_lambda_does_not_take_the_rest_over_the_first_invocation_goes_on(handing_over, connections, table, capsys):
    table.put(*NAMES[:9])
    broadcast, _ = handing_over(refuse=[0])
    broadcast.handler(event("hello"), Context())
    assert connections.posts == dict.fromkeys(NAMES[:9], 1)
    log = log_line(capsys)
    assert (log["handed_over"], log["delivered"]) == (0, 9)
