"""The checks of exercises that need no cloud: each mistake gets the sentence that helps, and none a traceback."""

from types import SimpleNamespace

import pytest

from chatlab import limits
from chatlab.exercises import measuring
from tests.support.cells import exercises, run_cell

NAMES = {"exercises": SimpleNamespace(measuring=measuring), "lab": None, "limits": limits}


@pytest.mark.parametrize("name", ["06_load_test", "07_faster", "08_how_many"])
def test_the_skeleton_is_not_right_and_the_solution_is(name):
    assert len(exercises(name)) == 3
    for exercise in exercises(name):
        assert not run_cell(exercise.skeleton, dict(NAMES)).is_right
        solution = run_cell(exercise.solution, dict(NAMES))
        assert solution.is_right, solution


def fail(*_):
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("check", "made", "message"),
    [
        (measuring.check_broadcasts, None, "give a whole number"),
        (measuring.check_broadcasts, 1_000, "enough, and so are fewer"),
        (measuring.check_share_within, lambda rows, ms: (rows["latency_ms"] <= ms).mean(), "don't count"),
        (measuring.check_share_within, fail, "it ended with ZeroDivisionError: division by zero"),
        (measuring.check_latencies, lambda due_s, service_s: service_s, "leaves out how long each waits"),
    ],
)
def test_a_mistake_is_a_sentence(check, made, message):
    answer = check(None, made)
    assert not answer.is_right
    assert message in answer.message
