"""The page of promises: each has a test that exists, and a figure."""

import re

import pytest

from chatlab.paths import ROOT

PAGE = ROOT / "docs/reliability.md"
HEADER = "| what is promised | how it is tested | last measured |"


def promises():
    """The rows of the page's tables of promises, as lists of cells."""
    rows, inside = [], False
    for line in PAGE.read_text().splitlines():
        inside = line == HEADER or (inside and line.startswith("|"))
        if inside and line != HEADER and not line.startswith("| ---"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.mark.parametrize("row", promises(), ids=lambda row: row[0][:60])
def test_a_promise_has_a_test_and_a_figure(row):
    assert len(row) == 3 and all(row), row
    assert re.search(r"`(tests|frontend/test)/|`make |`python -m ", row[1]), row[1]


def test_whatever_test_the_page_names_exists():
    file, named = None, []
    for path, name in re.findall(r"`((?:tests|frontend/test)/[\w./-]+)?(?:::(\w+))?`", PAGE.read_text()):
        file = path or file
        if path or name:
            named.append((file, name))
    assert len(named) > 50
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or (name and f"def {name}(" not in (ROOT / file).read_text())
    ]
    assert not missing
