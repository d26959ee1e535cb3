"""Whatever a function is called with, it answers, and says in one line of its log what was wrong.

API Gateway sends only well-formed events. But whoever may invoke a function can send it any JSON; and an exception that
is let out is a text that the speaker gets, and a traceback in the log.
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
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.functions import Context, connection_table, connections_endpoint, load_function, set_environment

EXAMPLES = pytest.mark.parametrize("examples", [100, pytest.param(5_000, marks=pytest.mark.long)])
PARTS = ("connect", "default", "broadcast", "disconnect")

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


def mostly(right):
    """Mostly what belongs there, and otherwise anything."""
    return st.one_of(right, right, right, JSON)


def some_of(**fields):
    """A dict of which each field may be missing."""
    return st.fixed_dictionaries({}, optional={name: mostly(values) for name, values in fields.items()})


SEGMENTS = st.integers(-2, 5) | st.sampled_from([10**6, 10**400, -(10**400), 0.5, 1e308])
SHARDS = some_of(segment=SEGMENTS, total_segments=SEGMENTS, start=st.text(max_size=3), deadline=st.integers())
CONTEXTS = some_of(
    connectionId=st.text(max_size=20), eventType=st.sampled_from(["CONNECT", "MESSAGE", "DISCONNECT"]),
    messageId=st.text(max_size=20),
)  # fmt: skip
EVENTS = mostly(
    some_of(
        requestContext=CONTEXTS, body=st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()),
        isBase64Encoded=st.booleans(), shard=SHARDS,
    )
)  # fmt: skip


NAMES = ("one", "two", "three", "left")


@pytest.fixture(scope="module")
def function(chat, session):
    """`function(part)`: a function's module, where three people are connected and one has left.

    The broadcast would split each message; `function.asked` is the list of what it has asked Lambda for.
    """
    with connection_table(chat) as table, connections_endpoint() as connections, pytest.MonkeyPatch.context() as patch:
        table.put(*NAMES, age_s=0)
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
        yield SimpleNamespace(asked=asked, handler=lambda part: modules[part].handler)
        close_pools()


def call(function, part, event):
    """The status that the function answers to this event, and its line in the log."""
    with redirect_stdout(io.StringIO()) as printed:
        answer = function.handler(part)(event, Context(remaining_s=2.5))
    (line,) = printed.getvalue().splitlines()
    log = json.loads(line)
    assert answer.keys() == {"statusCode"} and answer["statusCode"] in (200, 500)
    assert answer["statusCode"] == 200 or log["error"]
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in line
    return answer["statusCode"], log


def has_an_id(event):
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and isinstance(context.get("connectionId"), str) and context["connectionId"] != ""


@EXAMPLES
def test_who_connects_is_let_in_with_an_id_and_not_otherwise(function, examples):
    @settings(max_examples=examples, deadline=None, database=None)
    @given(EVENTS)
    def check(event):
        status = 200 if has_an_id(event) else 500
        assert call(function, "connect", event)[0] == call(function, "disconnect", event)[0] == status

    check()


@EXAMPLES
def test_any_message_is_answered_and_what_was_asked_for_asks_for_nothing(function, examples):
    @settings(max_examples=examples, deadline=None, database=None)
    @given(EVENTS)
    def check(event):
        function.asked.clear()
        _, log = call(function, "broadcast", event)
        outcomes = [log.get(name, 0) for name in ("delivered", "gone", "failed", "unreached")]
        assert sum(outcomes) == log.get("connections", 0)
        shards = list(function.asked)
        assert len(shards) <= 2
        for shard in shards:
            call(function, "broadcast", shard)
        assert function.asked == shards

    check()


def nested(depth):
    return reduce(lambda inner, _: [inner], range(depth), "x")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("depth", [10, 300, 900, 990, 5_000])
@pytest.mark.parametrize("where", ["connectionId", "messageId", "body", "shard", "segment"])
def test_a_deep_event_is_answered(function, part, depth, where):
    context = {"connectionId": "one", "messageId": "m", "eventType": "MESSAGE"}
    event = {"requestContext": context, "body": "hello", "shard": {"segment": 0, "total_segments": 1}}
    within = event["shard"] if where == "segment" else context if where in context else event
    within[where] = nested(depth)
    call(function, part, event)


@pytest.mark.parametrize("part", PARTS)
def test_a_large_event_is_answered(function, part):
    call(function, part, {"requestContext": {"connectionId": "x" * 200_000}, "body": "y" * 6_000_000})
