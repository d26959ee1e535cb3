"""The checks of exercises that need no cloud: each mistake gets the sentence that helps, and none a traceback."""

import json
import re
from types import SimpleNamespace

import pytest

from chatlab import limits
from chatlab.exercises import building, chatting, measuring
from tests.support.cells import exercises, run_cell

NAMES = {"exercises": SimpleNamespace(measuring=measuring), "lab": None, "limits": limits}


@pytest.mark.parametrize("name", ["06_load_test", "08_how_many"])
def test_the_skeleton_is_not_right_and_the_solution_is(name):
    assert len(exercises(name)) == 3
    for exercise in exercises(name):
        assert not run_cell(exercise.skeleton, dict(NAMES)).is_right
        solution = run_cell(exercise.solution, dict(NAMES))
        assert solution.is_right, solution


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


def fail(*_):
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("check", "made", "message"),
    [
        (building.check_outdated, lambda disk, deployed: [part for part in deployed if deployed[part] > "b"], "name"),
        (chatting.check_route, lambda message, keys: "$default", "goes to join, and you say $default"),
        (chatting.check_route, lambda message, keys: json.loads(message)["action"], "goes to $default"),
        (chatting.check_limit, 20, "an hour can cost"),
        (chatting.check_limit, 1, "more messages fit in"),
        (chatting.check_limit, 0, "nobody could say anything"),
        (measuring.check_broadcasts, None, "give a whole number"),
        (measuring.check_broadcasts, 1_000, "enough, and so are fewer"),
        (measuring.check_share_within, lambda rows, ms: (rows["latency_ms"] <= ms).mean(), "don't count"),
        (measuring.check_share_within, fail, "it ended with ZeroDivisionError: division by zero"),
        (measuring.check_latencies, lambda due_s, service_s: service_s, "leaves out how long each waits"),
        (measuring.check_post_all, lambda post, ids: [post(each) for each in ids], "catch that where the post is made"),
        (measuring.check_post_all, lambda post, ids: None, "40 of 40 people have heard nothing"),
    ],
)
def test_a_mistake_is_a_sentence(check, made, message):
    answer = check(None, made)
    assert not answer.is_right
    assert message in answer.message
