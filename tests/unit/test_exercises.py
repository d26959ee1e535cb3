"""The checks that need no cloud: each mistake gets the sentence that helps, and none a traceback."""

import re

import pytest

from chatlab import exercises
from chatlab.exercises import forgiving
from chatlab.exercises.building import HASHED, OTHERS


def post_to_all(dynamodb, connections, table, data, *, pages=2, catches=True, forgets=True, payload=None):
    """A broadcast with a mistake, or without."""
    scanned = dynamodb.get_paginator("scan").paginate(TableName=table)
    for page, _ in zip(scanned, range(pages), strict=False):
        for item in page["Items"]:
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
    ({"nonsense": 1}, "^it ended with TypeError: .*nobody was posted to"),
])  # fmt: skip
def test_a_broadcast_is_told_what_is_wrong_with_it(mistake, sentence):
    answer = exercises.building.check_sequential(None, lambda *given: post_to_all(*given, **mistake))
    assert re.search(sentence, answer.message)
    assert answer.is_right == (mistake == {})


def test_who_hears_it_twice_is_no_solution():
    def twice(*given):
        post_to_all(*given)
        post_to_all(*given)

    assert "posted to twice" in exercises.building.check_sequential(None, twice).message


@pytest.mark.parametrize(("check", "mistake"), [
    (exercises.building.check_outdated, lambda disk, deployed: [part for part in deployed if deployed[part] > "b"]),
    (exercises.chatting.check_route, lambda message, keys: "$default"),
    (exercises.chatting.check_route, lambda message, keys: __import__("json").loads(message)["action"]),
    (exercises.chatting.check_limit, 20),
    (exercises.chatting.check_limit, 1),
    (exercises.chatting.check_limit, 0),
    (exercises.building.check_cache_control, lambda key: HASHED if "assets" in key else OTHERS),
    (exercises.building.check_may_read, lambda policy, arn: True),
    (exercises.building.check_may_read, lambda policy, arn: any(arn in s["Resource"] for s in policy["Statement"])),
])  # fmt: skip
def test_a_mistake_is_not_yet_right(check, mistake):
    assert not check(None, mistake).is_right


def test_what_a_learner_raises_is_told_in_a_sentence():
    @forgiving
    def check():
        raise KeyError("room")

    assert str(check()) == "Not yet: it ended with KeyError: 'room'"
