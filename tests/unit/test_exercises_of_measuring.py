"""The exercises of notebooks 06 and 07, which need no lab: as a learner finds them, and solved."""

from types import SimpleNamespace

import pytest

from chatlab import limits
from chatlab.exercises import load_test, scaling
from tests.support.cells import run_cell
from tests.support.exercises import exercises

NAMES = {
    "exercises": SimpleNamespace(load_test=load_test, scaling=scaling),
    "lab": None,
    "limits": limits,
}


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("name", ["06_load_test", "07_scaling"])
def test_the_skeleton_is_not_right_and_the_solution_is(name, number):
    exercise = exercises(name)[number]
    skeleton, solution = (run_cell(source, dict(NAMES)) for source in (exercise.skeleton, exercise.solution))
    assert not skeleton.is_right
    assert solution.is_right, solution


def fail(*_):
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("check", "made", "message"),
    [
        (load_test.check_broadcasts, None, "give a whole number"),
        (load_test.check_broadcasts, 1_000, "enough, and so are fewer"),
        (load_test.check_share_within, lambda rows, ms: (rows["latency_ms"] <= ms).mean(), "don't count"),
        (load_test.check_share_within, fail, "it ended with ZeroDivisionError: division by zero"),
        (load_test.check_latencies, lambda due_s, service_s: service_s, "leaves out how long each waits"),
        (load_test.check_latencies, fail, "it ended with ZeroDivisionError"),
        (scaling.check_room, 1_000_000, "the quota alone takes"),
        (scaling.check_room, 20_000, "try fewer"),
        (scaling.check_dollars, lambda people, messages: 30 * messages * people * 1e-6, "metered messages"),
        (scaling.check_dollars, fail, "it ended with ZeroDivisionError"),
        (scaling.check_post_all, lambda post, ids: [post(each) for each in ids], "catch that where the post is made"),
        (scaling.check_post_all, lambda post, ids: None, "40 of 40 people have heard nothing"),
        (scaling.check_post_all, fail, "it ended with ZeroDivisionError"),
    ],
)
def test_a_mistake_is_a_sentence(check, made, message):
    answer = check(None, made)
    assert not answer.is_right
    assert message in answer.message
