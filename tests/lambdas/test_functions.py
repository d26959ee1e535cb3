"""All four functions: `$connect` and `$disconnect` keep the table, and any event gets an answer and one log line.

API Gateway sends only well-formed events. But anybody who may invoke a function can send it any JSON; and API Gateway
would send the text of an exception that is let out to the speaker.
"""

import base64
import io
import json
import os
from contextlib import redirect_stdout
from functools import reduce
from types import SimpleNamespace

import pytest
from fanout.http_connections import close_pools
from hypothesis import given
from hypothesis import strategies as st

from tests.support.functions import (
    ConnectionTable,
    Context,
    connections_endpoint,
    event,
    load_function,
    log_line,
    set_environment,
)
from tests.support.strategies import ANY_JSON, objects

PARTS = ("connect", "default", "broadcast", "disconnect")


def test_connect_puts_and_disconnect_deletes(function, table, capsys):
    assert function("connect").handler(event(connection_id="one"), None) == {"statusCode": 200}
    assert table.ids() == {"one"}
    log = log_line(capsys)
    assert log.keys() == {"event", "connection_id", "put_ms"} and log["put_ms"] > 0.1
    assert function("disconnect").handler(event(connection_id="one"), None) == {"statusCode": 200}
    assert table.ids() == set()
    log = log_line(capsys)
    assert log.keys() == {"event", "connection_id", "delete_ms"} and log["delete_ms"] > 0.1


@pytest.mark.parametrize("part", PARTS)
def test_a_table_that_is_missing_is_logged_and_answered_with_500(function, monkeypatch, capsys, part):
    monkeypatch.setenv("TABLE", "no-such-table")
    assert function(part).handler(event("hello"), Context()) == {"statusCode": 500}
    assert "ResourceNotFoundException" in log_line(capsys)["error"]


# --- any event -------------------------------------------------------------------------------------------------------

SEGMENTS = st.integers(-2, 5) | st.sampled_from([10**6, 10**400, -(10**400), 0.5, 1e308])
SOME_EVENTS = objects(
    requestContext=objects(
        connectionId=st.text(max_size=20), eventType=st.sampled_from(["CONNECT", "MESSAGE", "DISCONNECT"]),
        messageId=st.text(max_size=20),
    ),
    body=st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()),
    isBase64Encoded=st.booleans(),
    shard=objects(segment=SEGMENTS, total_segments=SEGMENTS, start=st.text(max_size=3), deadline=st.integers()),
)  # fmt: skip
A_MESSAGE = {"requestContext": {"connectionId": "one", "eventType": "MESSAGE", "messageId": "m"}, "body": "hello"}
EVENTS = SOME_EVENTS | SOME_EVENTS.map(lambda event: A_MESSAGE | event) | ANY_JSON


@pytest.fixture(scope="module")
def functions(chat, session):
    """Each function's handler, where three people are connected and one has left.

    The broadcast would split each message; `functions.asked` is the list of what it has asked Lambda for.
    """
    with ConnectionTable(chat) as table, connections_endpoint() as connections, pytest.MonkeyPatch.context() as patch:
        table.put("one", "two", "three", "left", age_s=0)
        connections.statuses["left"] = [410] * 10**6
        set_environment(patch, chat, table, connections.url)
        for name, value in {
            "AWS_LAMBDA_FUNCTION_NAME": "chat-default", "SHARDS": "3", "SHARD_ABOVE": "0", "POSTS_PER_SECOND": "8000",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        patch.setattr("boto3.DEFAULT_SESSION", session)
        modules = {part: load_function(part) for part in PARTS}
        asked = []
        recorder = SimpleNamespace(invoke=lambda **request: asked.append(json.loads(request["Payload"])))
        patch.setattr(modules["broadcast"], "client", lambda service: recorder)
        yield SimpleNamespace(asked=asked, **{part: module.handler for part, module in modules.items()})
        close_pools()


def call(handler, event):
    """The status that the function answers to this event, and its line in the log."""
    with redirect_stdout(io.StringIO()) as printed:
        answer = handler(event, Context(remaining_s=2.5))
    (line,) = printed.getvalue().splitlines()
    log = json.loads(line)
    assert answer.keys() == {"statusCode"} and answer["statusCode"] in (200, 500)
    assert answer["statusCode"] == 200 or log["error"]
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in line
    return answer["statusCode"], log


@given(EVENTS)
def test_an_event_with_a_connection_id_lets_it_in_and_no_other_does(functions, event):
    context = event.get("requestContext") if isinstance(event, dict) else None
    connection_id = context.get("connectionId") if isinstance(context, dict) else None
    status = 200 if isinstance(connection_id, str) and connection_id else 500
    assert call(functions.connect, event)[0] == call(functions.disconnect, event)[0] == status


@given(EVENTS)
def test_any_message_is_answered_and_a_shard_asks_for_no_further_one(functions, event):
    functions.asked.clear()
    _, log = call(functions.broadcast, event)
    assert sum(log.get(name, 0) for name in ("delivered", "gone", "failed", "unreached")) == log.get("connections", 0)
    shards = list(functions.asked)
    assert len(shards) <= 2
    for shard in shards:
        call(functions.broadcast, shard)
    assert functions.asked == shards


@pytest.mark.parametrize("part", PARTS)
def test_a_deep_or_large_event_is_answered(functions, part):
    handler = getattr(functions, part)
    for depth in (10, 990, 5_000):
        for where in ("connectionId", "messageId", "body", "shard", "segment"):
            context = {"connectionId": "one", "messageId": "m", "eventType": "MESSAGE"}
            event = {"requestContext": context, "body": "hello", "shard": {"segment": 0, "total_segments": 1}}
            within = event["shard"] if where == "segment" else context if where in context else event
            within[where] = reduce(lambda inner, _: [inner], range(depth), "x")
            call(handler, event)
    call(handler, {"requestContext": {"connectionId": "x" * 200_000}, "body": "y" * 6_000_000})
