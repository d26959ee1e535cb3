"""docs/troubleshooting.md: what it says that you see is what the lab says, word for word."""

import ast
import re
from pathlib import Path

import pytest

from chatlab.notebooks import BUILD, MEASURE, TEARDOWN
from chatlab.paths import ROOT
from tests.support.cells import cells

PAGE = ROOT / "docs" / "troubleshooting.md"
OF_AWS = {"Too Many Requests", "Internal server error", "OperationAborted", "ROOM_KEY"}  # AWS's words, and an option


def quoted():
    """Each sentence, or part of one, in the first column."""
    for line in PAGE.read_text().splitlines():
        if line.startswith("| "):
            yield from re.findall(r"`([^`]+)`", line.split(" | ")[0])


def said():
    """All texts in the lab's code, as one; what an f-string fills in is a space."""
    sources = [(ROOT / "Makefile").read_text()]
    for folder in ("chatlab", "loadtest"):
        sources += [_texts(path.read_text()) for path in Path(ROOT / folder).rglob("*.py")]
    for name in (*BUILD, *MEASURE, TEARDOWN):
        sources += [_texts(source) for source in cells(name)]
    return "\n".join(sources)


def _texts(source):
    return "\n".join(
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.fixture(scope="module")
def all_that_is_said():
    return said()


@pytest.mark.parametrize("sentence", sorted(set(quoted()) - OF_AWS))
def test_the_lab_says_it(sentence, all_that_is_said):
    parts = [part.strip(" .,:") for part in sentence.split("…")]
    assert [part for part in parts if part not in all_that_is_said] == []
