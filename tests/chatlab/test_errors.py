"""Waiting, bounded."""

import pytest

from chatlab import LabError, poll


def test_the_first_true_answer_is_returned_and_an_ignored_exception_counts_as_not_yet():
    answers = iter([None, 0, ConnectionError("no"), "here"])

    def check():
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    assert poll(check, "it", every_s=0, ignoring=ConnectionError) == "here"
    with pytest.raises(ZeroDivisionError):
        poll(lambda: 1 / 0, "it", ignoring=ConnectionError)


def test_in_vain_is_one_sentence_with_the_last_answer():
    def refuse():
        raise ConnectionError("refused")

    with pytest.raises(LabError, match=r"^Waited 0.01 s for the API, in vain. Last answer: refused$"):
        poll(refuse, "the API", timeout_s=0.01, every_s=0.004, ignoring=ConnectionError)
