"""docs/reliability.md: each promise has a test that exists, and a figure."""

import re

from chatlab.paths import ROOT

PAGE = (ROOT / "docs/reliability.md").read_text()
HEADER = r"\| what is promised \| how it is tested \| last measured \|\n\| --- \| --- \| --- \|\n"


def test_a_promise_has_a_test_and_a_figure():
    tables = re.findall(rf"{HEADER}((?:\|.*\n)+)", PAGE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()]
    assert len(rows) > 40
    assert [row for row in rows if len(row) != 3 or not all(row)] == []
    assert [row for row in rows if not re.search(r"`(tests|frontend/test)/|`make |`python -m ", row[1])] == []


def test_every_test_that_the_page_names_exists():
    file, missing = "", []
    for path, name in re.findall(r"`((?:tests|frontend/test)/[\w./-]+)?(?:::(\w+))?`", PAGE):
        file = path or file
        if not (ROOT / file).exists() or (name and f"def {name}(" not in (ROOT / file).read_text()):
            missing.append(f"{file}::{name}")
    assert file
    assert missing == []
