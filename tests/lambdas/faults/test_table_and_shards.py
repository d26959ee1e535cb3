"""What else a broadcast stands on fails: the table, and the invocations that it asks for."""

import base64
import json
import time

import pytest
import websocket

from chatlab import poll
from chatlab.paths import state_dir
from tests.support.chat import say
from tests.support.faults import PEOPLE, counts, counts_of, heard, is_heard_by_all, set_age, told
from tests.support.faulty_cloud import Fault, count_faults, set_faults
from tests.support.labs import sharding
from tests.support.room import Room, items, people_in

TWICE_OR_ALWAYS = pytest.mark.parametrize(
    "times", [pytest.param(2, id="twice"), pytest.param(None, id="always", marks=pytest.mark.long)]
)
TABLE_FAILS = pytest.mark.parametrize("kind", ["throttled", pytest.param("500", marks=pytest.mark.long)])


def log_of(lab, part, connection_id):
    """The status and the log line of a function that API Gateway calls for this connection."""
    answer = lab.client("lambda").invoke(
        FunctionName=lab.functions[part],
        Payload=json.dumps({"requestContext": {"connectionId": connection_id}}),
        LogType="Tail",
    )
    (line,) = base64.b64decode(answer["LogResult"]).decode().splitlines()
    return json.load(answer["Payload"])["statusCode"], json.loads(line)


@TWICE_OR_ALWAYS
@TABLE_FAILS
def test_a_table_that_can_not_be_read(faulty, room, report, kind, times):
    often = "twice" if times else "always"
    text, again = f"Scan {kind} {often}", f"after Scan {kind} {often}"
    before = count_faults(state_dir())
    set_faults(state_dir(), Fault("Scan", kind, times=times))
    log = say(faulty, text)
    set_faults(state_dir())
    afterwards = say(faulty, again)
    is_heard_by_all(room, again)
    report.append((f"Scan: {kind}", "", often, *heard(room, text), told(log), told(afterwards)))
    assert room.copies(text) == [1 if times else 0] * PEOPLE
    assert counts(log) == counts_of({"delivered": PEOPLE} if times else {})
    assert ("error" in log) == (not times)
    assert (count_faults(state_dir()) - before).total() == (times or 4)
    assert counts(afterwards) == counts_of({"delivered": PEOPLE})
    assert room.copies(again) == [1] * PEOPLE


@TWICE_OR_ALWAYS
@TABLE_FAILS
def test_a_table_that_takes_nothing(faulty, room, report, kind, times):
    """Who can't be remembered would never hear anything, and is not let in."""
    often = "twice" if times else "always"
    set_faults(state_dir(), Fault("PutItem", kind, times=times))
    if times:
        with people_in(faulty, 1, beside=room) as newcomer:
            said = say(faulty, often)
            is_heard_by_all(newcomer, often)
            assert newcomer.copies(often) == [1]
    else:
        with pytest.raises(websocket.WebSocketBadStatusException):
            Room(faulty, 1)
        status, log = log_of(faulty, "connect", "somebody")
        assert status == 500 and "PutItem" in log["error"]
        said = say(faulty, often)
    connections = PEOPLE + (1 if times else 0)
    report.append(
        (f"PutItem: {kind}", "a newcomer", often, connections, 0, 0, "let in" if times else "refused", told(said))
    )
    assert counts(said) == counts_of({"delivered": connections})
    assert len(items(faulty)) == PEOPLE


@TWICE_OR_ALWAYS
@TABLE_FAILS
def test_a_table_that_deletes_nothing(faulty, room, report, kind, times):
    """Who has left stays in it, until a broadcast finds out and can delete it."""
    often = "twice" if times else "always"
    newcomer = Room(faulty, 1, beside=room)
    set_faults(state_dir(), Fault("DeleteItem", kind, times=times))
    newcomer.leave()
    if times:
        poll(lambda: len(items(faulty)) == PEOPLE, "the one who left to be forgotten", every_s=0.02)
        said = say(faulty, often)
    else:
        status, log = log_of(faulty, "disconnect", newcomer.ids[0])
        assert status == 500 and "DeleteItem" in log["error"]
        set_age(faulty, newcomer.ids, age_s=60)
        said = say(faulty, often)
        assert "DeleteItem" in said["error"] and len(items(faulty)) == PEOPLE + 1
    gone = 0 if times else 1
    assert counts(said) == counts_of({"delivered": PEOPLE, "gone": gone})
    set_faults(state_dir())
    again = say(faulty, f"after {often}")
    report.append((f"DeleteItem: {kind}", "one who leaves", often, PEOPLE, 0, 0, told(said), told(again)))
    assert counts(again) == counts_of({"delivered": PEOPLE, "gone": gone})
    assert set(items(faulty)) == set(room.ids)


@pytest.mark.parametrize(
    ("kind", "often"),
    [("lost", "once"), *(pytest.param("500", often, marks=pytest.mark.long) for often in ("once", "always"))],
)
def test_a_shard_that_lambda_does_not_take_or_takes_twice(faulty, room, report, kind, often):
    """Of an answer that gets lost nobody knows whether the shard is posted to: then rather twice than not at all."""
    text, again = f"Invoke {kind} {often}", f"after Invoke {kind} {often}"
    with sharding(faulty, shards=2, above=5):
        set_faults(state_dir(), Fault("Invoke", kind, times=None if often == "always" else 1))
        log = say(faulty, text)
        is_heard_by_all(room, text)
        if kind == "lost":
            poll(lambda: 2 in room.copies(text), "the shard's second run", timeout_s=20, every_s=0.02)
            time.sleep(0.2)
        set_faults(state_dir())
        afterwards = say(faulty, again)
        is_heard_by_all(room, again)
    others = PEOPLE - afterwards["connections"]  # in the other shard
    report.append((f"Invoke: {kind}", "a shard", often, *heard(room, text), told(log), told(afterwards)))
    assert 0 < others < PEOPLE
    assert sorted(room.copies(text)) == [1] * (PEOPLE - others) + [2 if kind == "lost" else 1] * others
    assert log["shards"] == (1 if often == "always" else 2)
    assert counts(log) == counts_of({"delivered": PEOPLE if often == "always" else PEOPLE - others})
    assert room.copies(again) == [1] * PEOPLE
