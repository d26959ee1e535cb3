"""What a notebook shows of a file of code."""

import pytest

from chatlab.excerpts import excerpt
from chatlab.paths import LAMBDAS


def test_a_file_is_shown_below_its_name_whole_or_by_its_parts():
    shown = excerpt("lambdas/lambda_default.py")
    assert shown.data == "# lambdas/lambda_default.py\n\n" + (LAMBDAS / "lambda_default.py").read_text()
    assert "--jp-code-font-family" in shown._repr_html_()  # it looks like the code of a cell
    shown = excerpt("loadtest/locustfile.py", "ChatUser", "ChatUser.listen").data
    assert "class ChatUser(User):" in shown and "\n\n\ndef listen(self" in shown
    with pytest.raises(KeyError, match="nothing"):
        excerpt("loadtest/locustfile.py", "ChatUser.nothing")
