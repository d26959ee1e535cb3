"""What a learner breaks is whole again afterwards; skeletons of exercises are not right, and solutions are."""

import pytest

from chatlab.notebooks import MEASURE
from tests.support.cells import run_cell, run_cells
from tests.support.exercises import exercises
from tests.support.labs import everything

WITH_PRACTICE = ["01_dynamodb_table", "02_iam_role", "03_lambda_functions", "04_websocket_api", "05_frontend_on_s3"]
"""The notebooks that break something, or have exercises."""
MEASURING = [pytest.param(name, marks=pytest.mark.long) for name in MEASURE]
"""Theirs take most of a minute each. tests/unit/test_exercises_of_measuring.py has their exercises."""


def state(lab):
    """`everything`, but when it was changed last: what is broken and put back is changed twice."""
    found = everything(lab)
    for function in lab.functions.values():
        del found[function]["LastModified"]
    for resource in found["inventory"]:
        del resource["created"]
    return found


@pytest.mark.parametrize("name", [*WITH_PRACTICE, *MEASURING])
def test_practice_leaves_the_lab_as_it_was_and_only_solutions_are_right(built, name):
    before, names = state(built), {}
    run_cells(name, practice=True, namespace=names)
    assert state(built) == before
    for exercise in exercises(name):
        assert not run_cell(exercise.skeleton, names).is_right
        answer = run_cell(exercise.solution, names)
        assert answer.is_right, answer
    assert state(built) == before


@pytest.mark.parametrize("name", [*WITH_PRACTICE, *MEASURE])
def test_there_are_three_exercises(name):
    assert len(exercises(name)) == 3
