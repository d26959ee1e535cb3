"""Notebook 05's exercises: whatever is right is taken, and each mistake gets the sentence that helps."""

from fnmatch import fnmatchcase
from types import SimpleNamespace

import pytest

from chatlab.exercises import building
from tests.support.cells import exercises, run_cell

SIZES = [("index.html", 900), ("assets/a.js", 70_000), ("private/neighbour.txt", 34)]
"""What the bucket has: a visit asks for the first two."""


def paginate(**_):
    return [{"Contents": [{"Key": key, "Size": size} for key, size in SIZES]}]


LAB = SimpleNamespace(
    bucket="bucket", client=lambda _: SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=paginate))
)
A_REQUEST, A_BYTE = 0.0004 / 1_000, 0.09 / 1e9
VISITS = 1 / (2 * A_REQUEST + 70_900 * A_BYTE)


def index_last(key):
    return key == "index.html"


def put(keys):
    return [("put", key) for key in keys]


def delete(keys):
    return [("delete", key) for key in keys]


def leftovers(there, old, new):
    return {key for key in there - old - new if key.startswith("assets/") or "/" not in key}


def those_that_change(there, old, new):
    """Nothing is uploaded twice, and what is old goes first."""
    yield from delete(leftovers(there, old, new))
    for key in new:
        if key != "index.html" and (key not in there or not key.startswith("assets/")):
            yield "put", key
    yield "put", "index.html"


def fits(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))


def may_read(policy, arn, everyone=("*", {"AWS": "*"}), fits=fits, deny=True):
    """Statement after statement, or with a mistake."""
    allowed = False
    for statement in policy["Statement"]:
        about = fits("s3:GetObject", statement["Action"]) and fits(arn, statement["Resource"])
        if about and (not everyone or statement["Principal"] in everyone):
            if deny and statement["Effect"] == "Deny":
                return False
            allowed = allowed or statement["Effect"] == "Allow"
    return allowed


@pytest.mark.parametrize(
    ("check", "made"),
    [
        (building.check_visits, VISITS),
        (building.check_visits, int(VISITS) - 1_000),
        (building.check_steps, those_that_change),
        (building.check_steps, lambda there, old, new: put(sorted(new, key=index_last)) + delete(there - old - new - {
            key for key in there if key.startswith("private/")})),
        (building.check_may_read, may_read),
        (building.check_may_read, lambda policy, arn: int(may_read(policy, arn))),
    ],
)  # fmt: skip
def test_it_is_right(check, made):
    answer = check(LAB, made)
    assert answer.is_right, answer


@pytest.mark.parametrize(
    ("check", "made", "message"),
    [
        (building.check_visits, 1 / (70_900 * A_BYTE), "dollars for their requests and 1.0000 for the bytes sent"),
        (building.check_visits, 1 / (2 * A_REQUEST), "cost 1.0000 dollars for their requests"),
        (building.check_visits, 1_000, "the two together have to be one dollar"),
        (building.check_visits, "many", "it ended with"),
        (building.check_steps, lambda there, old, new: [], "assets/index-b2.js of the new build is not uploaded"),
        (building.check_steps, lambda there, old, new: put(sorted(new)),
         "the new index.html, got after step 4, needs robots.txt, which is not there yet"),
        (building.check_steps, lambda there, old, new: put(sorted(new, key=index_last)) + delete(there - new),
         "the old index.html, got after step 0, needs assets/index-a1.js, which was deleted"),
        (building.check_steps, lambda there, old, new: delete(there) + put(new), "no index.html"),
        (building.check_steps, lambda there, old, new: delete({"index.html"}) + put(new), "there is no index.html"),
        (building.check_steps, lambda there, old, new: put(sorted(new, key=index_last)) + delete(there - old - new),
         "private/neighbour.txt was never a part of the page"),
        (building.check_steps, lambda there, old, new: put(sorted(new - old)) + put(["index.html"]), "favicon.svg is"),
        (building.check_steps, lambda there, old, new: put(sorted(new, key=index_last)), "which neither build has"),
        (building.check_steps, lambda there, old, new: put(there), "a key of the new build"),
        (building.check_steps, lambda there, old, new: None, "it ended with TypeError"),
        (building.check_may_read, lambda policy, arn: True, "may not read private/neighbour.txt"),
        (building.check_may_read, lambda policy, arn: may_read(policy, arn, fits=lambda name, given: name in given),
         "a wildcard for all assets"),
        (building.check_may_read, lambda policy, arn: may_read(policy, arn, everyone=("*",)), "everyone as {'AWS'"),
        (building.check_may_read, lambda policy, arn: may_read(policy, arn, everyone=()), "somebody else's"),
        (building.check_may_read, lambda policy, arn: may_read(policy, arn, deny=False), "Deny beside Allow"),
        (building.check_may_read, lambda policy, arn: None, "you say None"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence(check, made, message):
    answer = check(LAB, made)
    assert not answer.is_right
    assert message in answer.message


def test_the_skeleton_is_not_right_and_the_solution_is():
    names = {"exercises": SimpleNamespace(building=building), "lab": LAB, "files": SIZES[:2], "visit_bytes": 70_900}
    for exercise in exercises("05_frontend_on_s3"):
        assert not run_cell(exercise.skeleton, names).is_right
        solution = run_cell(exercise.solution, names)
        assert solution.is_right, solution
