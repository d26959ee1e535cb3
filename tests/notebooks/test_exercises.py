"""The exercises of 01 to 08: what is right, in several ways, and what a mistake is told. test_rooms.py has 09's."""

import asyncio
import base64
import json
import math
import time
from contextlib import suppress
from fnmatch import fnmatchcase
from types import SimpleNamespace

import pytest
import websocket
from botocore.exceptions import ClientError

import chatlab.exercises
from chatlab import cost, limits, poll
from chatlab.exercises import chatting
from chatlab.notebooks import BUILD, CAPSTONE, MEASURE, OPTIONAL
from tests.support.chat import delete_item, ids
from tests.support.exercises import ANSWERS, exercises, judge

ALL = [(name, exercise) for name in [*BUILD[1:], *MEASURE, *OPTIONAL.values()] for exercise in exercises(name)]
WITH_A_CHAT = {"put_new", "connection_ids", "report", "guard", "disconnect", "say"}

SIZES = {"index.html": 900, "assets/a.js": 70_000}
BUCKET = [{"Key": key, "Size": size} for key, size in (SIZES | {"private/neighbour.txt": 34}).items()]
S3 = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [{"Contents": BUCKET}]))
PAGE = SimpleNamespace(bucket="bucket", client=lambda _: S3)
"""A lab of which no more is known than the page that it has."""

IMPORTED = [asyncio, base64, cost, json, limits, math, time, websocket]


def test_each_exercise_has_answers():
    those = [*BUILD[1:], *MEASURE, CAPSTONE, *OPTIONAL.values()]
    names = {name: [exercise.name for exercise in exercises(name)] for name in those}
    assert {name: list(answers) for name, answers in ANSWERS.items()} == names
    assert {len(each) for each in names.values()} == {3}


@pytest.mark.parametrize(("name", "exercise"), [pytest.param(*each, id=each[1].name) for each in ALL])
def test_right_answers_are_right_and_a_mistake_is_a_sentence(name, exercise, request):
    names = {module.__name__.rpartition(".")[2]: module for module in IMPORTED}
    names |= {each.__name__: each for each in (ClientError, fnmatchcase, suppress)} | {"exercises": chatlab.exercises}
    if exercise.name not in WITH_A_CHAT:
        judge(exercise, ANSWERS[name][exercise.name], names | {"lab": PAGE, "files": SIZES, "visit_bytes": 70_900})
        return
    lab = request.getfixturevalue("chat")
    for left in ids(lab):
        delete_item(lab, left)
    names |= {"lab": lab, "dynamodb": lab.client("dynamodb"), "table_arn": lab.arn("dynamodb", f"table/{lab.table}")}
    judge(exercise, ANSWERS[name][exercise.name], names)
    poll(lambda: not ids(lab), "the exercise to leave the table as it was", every_s=0.02)


def test_an_exercise_s_own_server_refuses_a_page_of_another_site():
    refused = []

    def say(url, text):
        with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
            websocket.create_connection(url, timeout=5, origin="https://another-site.example")
        refused.append(url)
        return 0.0

    assert chatting.check_stopwatch(say, 0.01).startswith("nobody heard the text")
    assert len(refused) == 1
