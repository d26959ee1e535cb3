"""What a notebook shows of a file of code."""

import pytest

from chatlab.paths import LAMBDAS
from chatlab.source import code_of, excerpt


def test_a_file_is_shown_whole_or_by_its_parts():
    file = LAMBDAS / "fanout/posting.py"
    assert code_of(file).data == file.read_text()
    shown = code_of(file, "Fanout.post", "Fanout.share").data
    assert shown.startswith("def post(self") and "\n\n\ndef share(self" in shown


def test_it_looks_like_the_code_of_a_cell():
    assert "--jp-code-font-family" in code_of(LAMBDAS / "lambda_default.py")._repr_html_()


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="nothing"):
        code_of(LAMBDAS / "fanout/posting.py", "Fanout.nothing")


def test_an_excerpt_has_classes_and_methods_as_they_are_written():
    assert "class ChatUser(User):" in excerpt("loadtest/locustfile.py", "ChatUser").data
    text = excerpt("lambdas/fanout/posting.py", "Fanout._send", "Fanout._send_next").data
    assert text.startswith("# lambdas/fanout/posting.py\n\ndef _send(self")
    assert "\n\ndef _send_next(self" in text


def test_what_an_excerpt_asks_for_and_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        excerpt("loadtest/locustfile.py", "Nobody")
