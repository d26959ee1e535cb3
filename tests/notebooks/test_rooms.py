"""Notebook 09, in which a learner changes the chat: with the solutions it has rooms, and at the end it is as it was.

All of it by somebody who may do what the lab's policy says, and nothing more.
"""

import pytest

from chatlab import list_resources, permissions
from chatlab.notebooks import CAPSTONE, TEARDOWN
from chatlab.packages import FAST, HANDLERS, build_package, deploy, require_deployed
from tests.support.cells import cells, run_cell, run_cells
from tests.support.exercises import ANSWERS, exercises, judge
from tests.support.labs import chat_in, variables

CONNECT, *_ = EXERCISES = exercises(CAPSTONE)


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("rooms")
        (folder / "policy.json").write_text(permissions.to_text(permissions.policy()))
        patch.setenv("CHATLAB_POLICY", str(folder / "policy.json"))
        with chat_in(folder / "home") as lab:
            yield lab


def state(lab):
    """What exists, and the code of the functions."""
    functions = lab.client("lambda")
    found = [functions.get_function_configuration(FunctionName=name) for name in lab.functions.values()]
    return list_resources(lab)["id"].tolist(), [(each["Handler"], each["CodeSha256"]) for each in found]


def run_until(number):
    """Run the first `number` cells, their exercises as a learner finds them; the names that they assign."""
    run_cells(CAPSTONE, number, practice=True, namespace=(names := {}))
    return names


def test_the_solutions_make_rooms_and_the_last_cell_puts_the_chat_back(chat):
    """With the obvious broadcast, as notebook 03 deploys it; the next test is with the fast one."""
    deploy(chat, "default", build_package("default"), HANDLERS["default"])
    before, names, solutions = state(chat), {}, {each.skeleton: each.solution for each in EXERCISES}
    for source in cells(CAPSTONE, practice=True):
        answer = run_cell(source, names)
        if source in solutions:
            assert not answer.is_right
            answer = run_cell(solutions[source], names)
            assert answer.is_right, answer
            assert state(chat) != before
    assert state(chat) == before
    assert require_deployed(chat) == HANDLERS["default"]


def test_the_first_and_the_last_cell_put_back_what_was_left_half_done(chat):
    deploy(chat, "default", build_package("default"), FAST)
    before = state(chat)
    run_until(6)  # the index, the policy, another $connect, another broadcast in place of the fast one
    assert state(chat) != before
    first, *_, last = cells(CAPSTONE, practice=True)
    run_cell(first, names := {})
    run_cell(last, names)
    assert state(chat) == before
    assert require_deployed(chat) == FAST


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda each: each.name)
def test_right_answers_are_right_and_a_mistake_is_a_sentence(chat, exercise):
    names = run_until(3)
    with variables(chat, "connect", ORIGINS="https://page.example"):
        run_cell(CONNECT.skeleton, names)
        run_cell(CONNECT.solution, names)  # `$connect` writes the room
        judge(exercise, ANSWERS[CAPSTONE][exercise.name], names)


def test_the_teardown_removes_what_was_left_half_done(chat):
    run_until(3)
    assert f"{chat.table}/room" in set(list_resources(chat)["id"])
    assert "Nothing is left" in run_cells(TEARDOWN)
