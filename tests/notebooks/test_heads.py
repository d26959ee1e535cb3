"""The notebooks' heads, the pictures and the code that they show, and the order of their sections."""

import re
from itertools import chain, takewhile

import nbformat
import pytest

from chatlab import pictures
from chatlab.excerpts import excerpt
from chatlab.notebooks import BUILD, MEASURE, OPTIONAL
from chatlab.paths import LAMBDAS, NOTEBOOKS

ALL = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
ROWS = ["time", "cost on AWS", "in the console"]
SECTIONS = ["Create", "Verify", "Break it", "Exercises", "Check yourself", "Recap"]
MAX_CELLS, MAX_LINES = 36, 30
"""More in a notebook, or in one of its cells, is a second lesson."""
MAX_CELLS_BEFORE, MAX_WORDS_BEFORE = 90, 3_700
"""Who has to read more before something is heard gives up."""


@pytest.mark.parametrize("name", ALL)
def test_a_notebook_begins_with_its_picture_and_ends_with_what_comes_next(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    head, *_, end = texts
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert len(notebook.cells) <= MAX_CELLS and max(len(source.splitlines()) for source in code) <= MAX_LINES
    picture = pictures.PICTURES / f"architecture-{name[:2]}.svg"
    assert picture.read_text() == pictures.draw(name[:2])
    assert re.findall(r"^\| ([^|]+) \| ", head, re.MULTILINE)[1:4] == ROWS
    assert "After this you can" in head
    assert "## Recap" in end and "**Next:**" in end and "AWS's pages: " in end
    if name in [*BUILD[1:], *MEASURE, *OPTIONAL.values()]:
        headings = re.findall(r"^## (.+)$", "\n".join(texts), re.MULTILINE)
        assert [heading for heading in headings if heading in SECTIONS] == SECTIONS
        assert "**delete it or pay.**" in end


def test_the_first_message_is_heard_soon():
    """Counted from the beginning of 00: all cells, and the words of the text."""
    notebooks = [nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells for name in BUILD]
    before = list(takewhile(lambda cell: "first_broadcast()" not in cell.source, chain(*notebooks)))
    words = sum(len(cell.source.split()) for cell in before if cell.cell_type == "markdown")
    assert len(before) < MAX_CELLS_BEFORE and words <= MAX_WORDS_BEFORE


def test_each_part_of_the_picture_is_lit_somewhere():
    drawn = set(re.findall(r'<g id="([\w-]+)" class="part', pictures.SOURCE.read_text()))
    assert drawn == {part for parts in pictures.LIT.values() for part in parts}


def test_a_file_is_shown_below_its_name_whole_or_by_its_parts():
    shown = excerpt("lambdas/lambda_default.py")
    assert shown.data == "# lambdas/lambda_default.py\n\n" + (LAMBDAS / "lambda_default.py").read_text()
    assert "--jp-code-font-family" in shown._repr_html_()  # it looks like the code of a cell
    shown = excerpt("loadtest/locustfile.py", "ChatUser", "ChatUser.listen").data
    assert "class ChatUser(User):" in shown and "\n\n\ndef listen(self" in shown
    with pytest.raises(KeyError, match="nothing"):
        excerpt("loadtest/locustfile.py", "ChatUser.nothing")
