"""docs/troubleshooting.md quotes the lab word for word."""

import ast
import re
from pathlib import Path

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
    """All string constants of the lab's code and notebooks, a line each; an f-string gives its constant parts."""
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


def test_the_lab_says_every_sentence_that_the_page_quotes():
    quotes, all_that_is_said = set(quoted()) - OF_AWS, said()
    assert len(quotes) > 30
    parts = [part.strip(" .,:") for quote in quotes for part in quote.split("…")]
    assert [part for part in parts if part not in all_that_is_said] == []
