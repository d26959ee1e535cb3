"""Notebook 09, in which a learner changes the chat: with the solutions it has rooms, and at the end it is as it was.

All of it by somebody who may do what the lab's policy says, and nothing more.
"""

import re

import pytest

from chatlab import list_resources, permissions
from chatlab.exercises import chatting
from chatlab.notebooks import CAPSTONE, TEARDOWN
from chatlab.packages import FAST, HANDLERS, build_package, deploy
from tests.support.cells import cells, exercises, run_cell, run_cells
from tests.support.labs import chat_in, variables


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_POLICY", str(permissions.POLICY))
        with chat_in(tmp_path_factory.mktemp("rooms")) as lab:
            yield lab


def state(lab):
    """What exists, and the code of the functions."""
    functions = lab.client("lambda")
    found = [functions.get_function_configuration(FunctionName=name) for name in lab.functions.values()]
    return list_resources(lab)["id"].tolist(), [(each["Handler"], each["CodeSha256"]) for each in found]


def run_until(number):
    """Run the first `number` cells, their exercises as a learner finds them; the names that they assign."""
    run_cells(CAPSTONE, number, practice=True, namespace=(names := {}))
    return names


@pytest.mark.parametrize("broadcast", [HANDLERS["default"], FAST])
def test_the_solutions_make_rooms_and_the_last_cell_puts_the_chat_back(chat, broadcast):
    deploy(chat, "default", build_package("default"), broadcast)
    before, names, solutions = state(chat), {}, {each.skeleton: each.solution for each in exercises(CAPSTONE)}
    assert len(solutions) == 3
    for source in cells(CAPSTONE, practice=True):
        answer = run_cell(source, names)
        if source in solutions:
            assert not answer.is_right
            answer = run_cell(solutions[source], names)
            assert answer.is_right, answer
            assert state(chat) != before
    assert state(chat) == before


def test_the_first_and_the_last_cell_put_back_what_was_left_half_done(chat):
    before = state(chat)
    run_until(4)  # the index, the policy, another $connect
    assert state(chat) != before
    first, *_, last = cells(CAPSTONE, practice=True)
    run_cell(first, names := {})
    run_cell(last, names)
    assert state(chat) == before


# --- right answers and mistakes ---------------------------------------------------------------------------------------

BY_HAND = '"room": {"S": room_of(event)},'
ROOM_OF = """

def room_of(event):
    asked = event["queryStringParameters"]
    return "lobby" if asked is None or "room" not in asked else asked["room"]
"""
ROOM = '"room": {"S": (event.get("queryStringParameters") or {}).get("room", "lobby")},'


@pytest.fixture(scope="module")
def rooms(chat):
    """The notebook's names, its index there, and a `$connect` that writes the room."""
    names = run_until(4)
    names["give"]("connect", names["CONNECT"].replace("# your code", ROOM))
    return names


def judge(answer, sentence):
    """It is right without a sentence; else it is not, and has this one."""
    assert answer.is_right == (not sentence), answer
    assert re.search(sentence, answer.message)


@pytest.mark.parametrize(("change", "sentence"), [
    ({"# your code": ROOM}, ""),
    ({"# your code": BY_HAND, "import time": f"import time{ROOM_OF}"}, ""),
    ({"# your code": '"room": {"S": "lobby"},'}, r"^with \?room=.* and it has lobby"),
    ({"# your code": '"room": {"S": event["queryStringParameters"]["room"]},'}, "no room in the URL .*NoneType"),
    ({"# your code": '"room": event.get("queryStringParameters", {}).get("room"),'}, "Item.room, value: exercise"),
    ({"# your code": ROOM, '"connected_at": {"N": str(now)},': ""}, "no connected_at any more"),
    ({"# your code": ROOM, "if refusal(event)": "if False"}, "a page of another site gets in"),
])  # fmt: skip
def test_a_connect_is_right_or_its_mistake_is_a_sentence(chat, rooms, change, sentence):
    source = rooms["CONNECT"]
    for old, new in change.items():
        assert old in source
        source = source.replace(old, new)
    with variables(chat, "connect", ORIGINS="https://page.example"):
        rooms["give"]("connect", source)
        judge(chatting.check_connect(chat), sentence)
    rooms["give"]("connect", rooms["CONNECT"].replace("# your code", ROOM))


def by_query(lab, room, **options):
    return lab.client("dynamodb").query(
        TableName=lab.table, IndexName="room", KeyConditionExpression="room = :room",
        ExpressionAttributeValues={":room": {"S": room}}, **options,
    )  # fmt: skip


def by_scan(lab, room):
    found = lab.client("dynamodb").scan(TableName=lab.table)["Items"]
    return sum(item.get("room", {}).get("S") == room for item in found)


@pytest.mark.parametrize(("people_in", "sentence"), [
    (lambda lab, room: by_query(lab, room, Select="COUNT")["Count"], ""),
    (lambda lab, room: len({item["connection_id"]["S"] for item in by_query(lab, room)["Items"]}), ""),
    (lambda lab, room: None, "there are 2, and you say None"),
    (lambda lab, room: by_query(lab, "lobby")["Count"], "there are 2, and you say 0"),
    (lambda lab, room: len(by_query(lab, room, Select="COUNT")["Items"]), "KeyError: 'Items'"),
    (by_scan, "a Scan reads, and pays for, everybody"),
])  # fmt: skip
def test_who_is_in_a_room_is_right_or_its_mistake_is_a_sentence(chat, rooms, people_in, sentence, monkeypatch):
    monkeypatch.setattr(chatting, "PATIENCE_S", 2 if sentence else chatting.PATIENCE_S)
    judge(chatting.check_people_in(chat, lambda room: people_in(chat, room)), sentence)


BY_PAGES = """
def audience(speaker):
    room = dynamodb.get_item(TableName=TABLE, Key={"connection_id": {"S": speaker}})["Item"]["room"]["S"]
    asked = {"TableName": TABLE, "IndexName": "room", "ProjectionExpression": "connection_id", "Limit": 1}
    condition = {"KeyConditionExpression": "room = :r", "ExpressionAttributeValues": {":r": {"S": room}}}
    while True:
        page = dynamodb.query(**asked, **condition)
        yield from (item["connection_id"]["S"] for item in page["Items"])
        if "LastEvaluatedKey" not in page:
            return
        asked["ExclusiveStartKey"] = page["LastEvaluatedKey"]
"""


@pytest.mark.parametrize(("audience", "sentence"), [
    (BY_PAGES, ""),
    (BY_PAGES.replace("yield from (", "yield from set(").replace(', "Limit": 1}', "}"), ""),
    ("", "somebody in another room heard it, too"),
    ("def audience(speaker): return [speaker]", "two are in a room, one speaks, and not both hear it"),
    ("def audience(speaker): return []", "not both hear it"),
    (BY_PAGES.replace('"IndexName": "room", ', ""), "not both hear it. The function says .* dynamodb:Query"),
    (BY_PAGES.replace('["room"]["S"]', '["rooms"]'), "The function says .*'rooms'"),
])  # fmt: skip
def test_a_broadcast_is_right_or_its_mistake_is_a_sentence(chat, rooms, audience, sentence, monkeypatch):
    monkeypatch.setattr(chatting, "PATIENCE_S", 2 if sentence else chatting.PATIENCE_S)
    (skeleton,) = (each.skeleton for each in exercises(CAPSTONE) if "AUDIENCE" in each.skeleton)
    run_cell(skeleton.rpartition("give(")[0], rooms)
    rooms["give"]("default", rooms["HANDLER"] + (audience or rooms["AUDIENCE"]))
    judge(chatting.check_broadcast(chat), sentence)


def test_the_teardown_removes_what_was_left_half_done(chat):
    run_until(4)
    assert f"{chat.table}/room" in set(list_resources(chat)["id"])
    assert "Nothing is left" in run_cells(TEARDOWN)
