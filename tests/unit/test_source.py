"""What a notebook shows of a file of code."""

import pytest

from chatlab.paths import LAMBDAS
from chatlab.source import code_of


def test_a_file_is_shown_whole_or_by_its_parts():
    file = LAMBDAS / "fanout.py"
    assert code_of(file).data == file.read_text()
    shown = code_of(file, "Fanout.post", "Fanout.share").data
    assert shown.startswith("def post(self") and "\n\n\ndef share(self" in shown


def test_it_looks_like_the_code_of_a_cell():
    assert "--jp-code-font-family" in code_of(LAMBDAS / "outcomes.py")._repr_html_()


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="nothing"):
        code_of(LAMBDAS / "fanout.py", "Fanout.nothing")
