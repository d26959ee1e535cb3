"""What a learner breaks is whole again afterwards; skeletons of exercises are not right, and solutions are."""

import pytest

from chatlab.notebooks import BUILD
from tests.support.cells import run_cell, run_cells
from tests.support.exercises import exercises
from tests.support.labs import everything, lab_in

WITH_PRACTICE = ["01_dynamodb_table", "02_iam_role"]  # the notebooks that break something, or have exercises


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A lab that is built whole."""
    with lab_in(tmp_path_factory.mktemp("built")) as lab:
        for name in BUILD:
            run_cells(name)
        yield lab


@pytest.mark.parametrize("name", WITH_PRACTICE)
def test_practice_leaves_the_lab_as_it_was_and_only_solutions_are_right(built, name):
    before, names = everything(built), {}
    run_cells(name, practice=True, namespace=names)
    assert everything(built) == before
    for exercise in exercises(name):
        assert not run_cell(exercise.skeleton, names).is_right
        answer = run_cell(exercise.solution, names)
        assert answer.is_right, answer
    assert everything(built) == before


@pytest.mark.parametrize("name", WITH_PRACTICE)
def test_there_are_three_exercises(name):
    assert len(exercises(name)) == 3
