"""The checks of exercises that need no cloud: each mistake gets the sentence that helps, and none a traceback."""

import math
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


def counted(rows):
    return rows[~rows["warm_up"] & (rows["copy"] == 0)]["latency_ms"]


def one_by_one(rows, ms):
    """Without pandas."""
    found = [row.latency_ms <= ms for row in rows.itertuples() if not row.warm_up and not row.copy]
    return sum(found) / len(found)


def backlog(due_s, service_s):
    """How much work is left when a message comes, instead of when the server is free."""
    left, latencies, before = 0.0, [], due_s[0]
    for due, service in zip(due_s, service_s, strict=True):
        left = max(0.0, left - (due - before)) + service
        before = due
        latencies.append(left)
    return latencies


def queue(due_s, service_s, free_at=0.0, may_begin_early=False, until_begun=False):
    """The solution, with a mistake or without."""
    for due, service in zip(due_s, service_s, strict=True):
        begins = free_at if may_begin_early else max(free_at, due)
        free_at = begins + service
        yield (begins if until_begun else free_at) - due


@pytest.mark.parametrize(
    ("check", "made"),
    [
        (measuring.check_broadcasts, 369),
        (measuring.check_broadcasts, math.ceil(1 + math.log(0.025) / math.log(0.99))),
        (measuring.check_share_within, lambda rows, ms: counted(rows).le(ms).sum() / len(counted(rows))),
        (measuring.check_share_within, one_by_one),
        (measuring.check_latencies, backlog),
        (measuring.check_latencies, queue),
    ],
)
def test_another_right_answer_is_right_too(check, made):
    assert check(None, made).is_right


@pytest.mark.parametrize(
    ("check", "made", "message"),
    [
        (measuring.check_broadcasts, None, "give a whole number"),
        (measuring.check_broadcasts, 20, "all lie below the true p99 in 83% of all cases"),
        (measuring.check_broadcasts, 368, "worth one value less"),
        (measuring.check_broadcasts, 1_000, "enough, and so are fewer"),
        (measuring.check_share_within, lambda rows, ms: (rows["latency_ms"] <= ms).mean(), "don't count"),
        (measuring.check_share_within, lambda rows, ms: (counted(rows) < ms).mean(), "75% took at most 20 ms"),
        (measuring.check_share_within, lambda rows, ms: 100 * (counted(rows) <= ms).mean(), "between 0 and 1"),
        (measuring.check_share_within, fail, "it ended with ZeroDivisionError: division by zero"),
        (measuring.check_latencies, lambda due_s, service_s: service_s, "leaves out how long each waits"),
        (measuring.check_latencies, lambda *given: queue(*given, may_begin_early=True), "the latencies are"),
        (measuring.check_latencies, lambda *given: queue(*given, until_begun=True), "the latencies are"),
        (measuring.check_latencies, lambda due_s, service_s: [], "the latencies are"),
    ],
)
def test_a_mistake_is_a_sentence(check, made, message):
    answer = check(None, made)
    assert not answer.is_right
    assert message in answer.message
