"""The exercises of notebooks 03 and 04: each has right answers, and each mistake gets the sentence that helps."""

import base64
import json
import re
import time

import nbformat
import pytest
import websocket
from botocore.exceptions import ClientError
from websockets.sync.client import connect

from chatlab import poll
from chatlab.exercises import building, chatting
from chatlab.packages import FAST, HANDLERS, PARTS, build_package, build_zip, deploy, read_files
from chatlab.paths import NOTEBOOKS
from tests.support.chat import ids, people

OK, FAILED = {"statusCode": 200}, {"statusCode": 500}

# --- 03: the code in its text ---------------------------------------------------------------------------------------

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


# --- 03: $disconnect -------------------------------------------------------------------------------------------------


def plainly(event, dynamodb, table):
    try:
        dynamodb.delete_item(TableName=table, Key={"connection_id": {"S": event["requestContext"]["connectionId"]}})
        return OK
    except Exception:
        return FAILED


def with_a_condition(event, dynamodb, table):
    key = {"connection_id": {"S": event["requestContext"]["connectionId"]}}
    try:
        dynamodb.delete_item(TableName=table, Key=key, ConditionExpression="attribute_exists(connection_id)")
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return {"statusCode": 200}
    except ClientError:
        return {"statusCode": 500}
    return {"statusCode": 200}


def without_a_try(event, dynamodb, table):
    dynamodb.delete_item(TableName=table, Key={"connection_id": {"S": event["requestContext"]["connectionId"]}})
    return OK


def looks_first(event, dynamodb, table):
    key = {"connection_id": {"S": event["requestContext"]["connectionId"]}}
    dynamodb.delete_item(
        TableName=table, Key={"connection_id": dynamodb.get_item(TableName=table, Key=key)["Item"]["connection_id"]}
    )
    return OK


def always_200(event, dynamodb, table):
    plainly(event, dynamodb, table)
    return OK


def returns_nothing(event, dynamodb, table):
    plainly(event, dynamodb, table)


def empties_the_table(event, dynamodb, table):
    for item in dynamodb.scan(TableName=table, ProjectionExpression="connection_id")["Items"]:
        if item["connection_id"]["S"].startswith("exercise-"):
            dynamodb.delete_item(TableName=table, Key=item)
    return OK


def puts_it_first(event, dynamodb, table):
    dynamodb.put_item(TableName=table, Item={"connection_id": {"S": event["requestContext"]["connectionId"]}})
    return OK


@pytest.mark.parametrize(("disconnect", "sentence"), [
    (plainly, None),
    (with_a_condition, None),
    (without_a_try, "a table that does not exist, it ends with ResourceNotFoundException: catch it, and answer 500"),
    (looks_first, "called twice for the same id, it ends with KeyError: what is already gone is no error"),
    (always_200, "a statusCode of 500, and it returned {'statusCode': 200}"),
    (returns_nothing, "a statusCode of 200, and it returned None"),
    (lambda *_: OK, "the id is still in the table: delete_item needs its Key"),
    (empties_the_table, "somebody else's id is deleted, too"),
    (puts_it_first, "the id is still in the table"),
])  # fmt: skip
def test_a_disconnect_may_be_called_twice_and_answers_500_where_it_fails(chat, disconnect, sentence):
    judge(building.check_disconnect(chat, disconnect), sentence)


def judge(answer, sentence):
    """The answer is right; or not, with this sentence."""
    assert answer.is_right == (sentence is None), answer
    assert sentence is None or sentence in answer.message


# --- 03: the bytes of a message --------------------------------------------------------------------------------------


def in_one_line(event):
    return base64.b64decode(event["body"]) if event["isBase64Encoded"] else (event.get("body") or "").encode()


def step_by_step(event):
    body = event.get("body")
    if not body:
        return b""
    if event["isBase64Encoded"]:
        return base64.standard_b64decode(body.encode("ascii"))
    return bytes(body, "utf-8")


@pytest.mark.parametrize(("message", "sentence"), [
    (in_one_line, None),
    (step_by_step, None),
    (lambda event: None, "for a text, it has to return bytes, and it returned None"),
    (lambda event: event["body"], "for a text, it has to return bytes, and it returned 'hello'"),
    (lambda event: event["body"].encode("latin-1"), "for an emoji, it ends with UnicodeEncodeError"),
    (lambda event: json.dumps(json.loads(event["body"])).encode(), "for a text, it ends with JSONDecodeError"),
    (lambda event: in_one_line(event).strip(), "for a space and a line's end, the bytes are"),
    (lambda event: event["body"].encode(), "for bytes, the bytes are"),
    (lambda event: base64.b64decode(event["body"]), "for a text"),
    (lambda event: in_one_line(event) if event["body"] else b"", "for an event without a body, it ends with KeyError"),
])  # fmt: skip
def test_a_message_is_its_bytes_whatever_they_are(message, sentence):
    judge(building.check_message(None, message), sentence)


def post_to_all(dynamodb, connections, table, data, *, pages=2, catches=True, forgets=True, payload=None, times=1):
    """A broadcast with a mistake, or without."""
    scanned = dynamodb.get_paginator("scan").paginate(TableName=table)
    for page, _ in zip(scanned, range(pages), strict=False):
        for item in times * page["Items"]:
            connection_id = item["connection_id"]["S"]
            try:
                connections.post_to_connection(ConnectionId=connection_id, Data=payload or data)
            except connections.exceptions.GoneException:
                if not catches:
                    raise
                if forgets:
                    dynamodb.delete_item(TableName=table, Key=item)


@pytest.mark.parametrize(("mistake", "sentence"), [
    ({}, "^everyone heard it, and the id that is gone is deleted"),
    ({"pages": 0}, "^nobody was posted to"),
    ({"pages": 1}, "^edsger, barbara heard nothing: a scan has pages"),
    ({"catches": False}, r"^one client is gone \(410\), and everyone after it hears nothing"),
    ({"forgets": False}, "^delete the id that answers 410, and no other; you deleted none"),
    ({"payload": b"(something else)"}, "^what was posted is not what was said"),
    ({"times": 2}, "^somebody was posted to twice"),
    ({"nonsense": 1}, "^it ended with TypeError: .*nobody was posted to"),
])  # fmt: skip
def test_a_broadcast_is_told_what_is_wrong_with_it(mistake, sentence):
    answer = building.check_sequential(None, lambda *given: post_to_all(*given, **mistake))
    assert re.search(sentence, answer.message)
    assert answer.is_right == (mistake == {})


def test_a_broadcast_may_ask_for_the_pages_itself():
    def by_hand(dynamodb, connections, table, data):
        page = {"LastEvaluatedKey": None}
        while "LastEvaluatedKey" in page:
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]} if page["LastEvaluatedKey"] else {}
            page = dynamodb.scan(TableName=table, **start)
            for item in page["Items"]:
                try:
                    connections.post_to_connection(ConnectionId=item["connection_id"]["S"], Data=data)
                except connections.exceptions.GoneException:
                    dynamodb.delete_item(TableName=table, Key={"connection_id": item["connection_id"]})

    judge(building.check_sequential(None, by_hand), None)


# --- 04: a limit, a route --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("messages_per_s", "sentence"), [
    (6, None),
    (6.0, None),
    (20, "an hour can cost"),
    (7, "an hour can cost"),
    (1, "more messages fit in"),
    (0, "nobody could say anything"),
    (-6, "nobody could say anything"),
    (5.5, "give a whole number"),
    (None, "give a whole number"),
])  # fmt: skip
def test_a_limit_bounds_the_bill_and_leaves_the_chat_as_quick_as_it_can_be(messages_per_s, sentence):
    judge(chatting.check_limit(None, messages_per_s), sentence)


def by_exceptions(message, keys):
    try:
        action = json.loads(message)["action"]
        return action if action in set(keys) - {"$connect", "$disconnect"} else "$default"
    except (ValueError, TypeError, KeyError):
        return "$default"


def by_questions(message, keys):
    if not message.startswith("{"):
        return "$default"
    action = json.loads(message).get("action")
    choices = [key for key in keys if not key.startswith("$")]
    return choices[choices.index(action)] if action in choices else "$default"


@pytest.mark.parametrize(("route", "sentence"), [
    (by_exceptions, None),
    (by_questions, None),
    (lambda message, keys: None, "goes to join, and you say None"),
    (lambda message, keys: "$default", "goes to join, and you say $default"),
    (lambda message, keys: json.loads(message)["action"], "goes to $default, and you say dance"),
    (lambda message, keys: next((key for key in keys if key in message), "$default"), "goes to $default"),
    (lambda message, keys: json.loads(message).get("action", "$default"), "goes to $default"),
])  # fmt: skip
def test_a_route_is_chosen_as_api_gateway_chooses_it(route, sentence):
    judge(chatting.check_route(None, route), sentence)


# --- 04: a client that measures --------------------------------------------------------------------------------------


def say(url, text, *, early=False, unit=1000, waits=True, leaves=True, payload=None, returns=True):
    """A client that measures, with a mistake or without."""
    early_at = time.perf_counter()
    client = websocket.create_connection(url, timeout=10)
    sent_at = early_at if early else time.perf_counter()
    client.send(payload or text)
    while client.recv() != text and waits:
        pass
    latency = unit * (time.perf_counter() - sent_at)
    client.close() if leaves else client.shutdown()
    return latency if returns else None


def say_by_another_library(url, text):
    with connect(url) as client:
        sent_ns = time.monotonic_ns()
        client.send(text)
        for heard in client:
            if heard == text:
                return (time.monotonic_ns() - sent_ns) / 1e6


@pytest.mark.parametrize(("mistake", "sentence"), [
    ({}, None),
    ({"early": True}, "the opening of the connection is in your figure: start the clock right before you send"),
    ({"unit": 1}, "that is in seconds, so multiply it by 1,000"),
    ({"early": True, "unit": 1}, "that is in seconds, so multiply it by 1,000"),
    ({"waits": False}, "wait until you hear it, since others are talking, too"),
    ({"leaves": False}, "your client is still connected: close its socket"),
    ({"payload": "(something else)", "waits": False}, "nobody heard the text"),
    ({"returns": False}, "you returned None: return the milliseconds"),
])  # fmt: skip
def test_a_client_measures_from_the_sending_to_the_hearing(chat, mistake, sentence):
    judge(chatting.check_say(chat, lambda url, text: say(url, text, **mistake)), sentence)


def test_another_client_is_as_right_and_a_figure_that_is_made_up_is_not(chat):
    judge(chatting.check_say(chat, say_by_another_library), None)
    for made_up, sentence in (
        (90, "you returned 90: wait"),
        (10_000, "the opening of the connection"),
        (150, "opening"),
    ):
        judge(chatting.check_say(chat, lambda url, text, figure=made_up: say(url, text) and figure), sentence)
