"""Waiting, bounded."""

import pytest

from chatlab import LabError, poll


def test_the_first_true_answer_is_returned():
    answers = iter([None, 0, "here"])
    assert poll(lambda: next(answers), "it", every_s=0) == "here"


def test_an_ignored_exception_counts_as_not_yet():
    def check(tries=[]):  # noqa: B006
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("no")
        return len(tries)

    assert poll(check, "it", every_s=0, ignoring=ConnectionError) == 3


def test_in_vain_is_one_sentence_with_the_last_answer():
    def refuse():
        raise ConnectionError("refused")

    with pytest.raises(LabError, match=r"^Waited 0.01 s for the API, in vain. Last answer: refused$"):
        poll(refuse, "the API", timeout_s=0.01, every_s=0.004, ignoring=ConnectionError)


def test_another_exception_is_not_held_back():
    with pytest.raises(ZeroDivisionError):
        poll(lambda: 1 / 0, "it", ignoring=ConnectionError)
