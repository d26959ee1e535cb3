"""The notebooks' heads, the pictures in them, and the order of their sections."""

import re

import nbformat
import pytest

from chatlab import pictures
from chatlab.notebooks import BUILD, MEASURE
from chatlab.paths import NOTEBOOKS

ALL = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
ROWS = ["time", "cost on AWS", "in the console", "AWS's pages"]
SECTIONS = ["Create", "Verify", "Break it", "Exercises", "Recap"]


def texts(name):
    """The notebook's cells of text."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


@pytest.mark.parametrize("number", pictures.LIT)
def test_the_committed_picture_is_what_its_source_makes(number):
    assert pictures.path(number).read_text() == pictures.draw(number, pictures.SOURCE.read_text())


def test_each_part_of_the_source_is_lit_somewhere():
    drawn = set(re.findall(r'<g id="([\w-]+)" class="part', pictures.SOURCE.read_text()))
    assert drawn == {part for _, parts in pictures.LIT.values() for part in parts}


def test_a_part_that_the_source_does_not_have_is_an_error():
    with pytest.raises(ValueError, match="has no part page"):
        pictures.draw("05", "<svg ><title></title></svg>")


@pytest.mark.parametrize("name", ALL)
def test_a_notebook_begins_with_its_picture_and_ends_with_what_comes_next(name):
    head, *_, end = texts(name)
    description, _ = pictures.LIT[name[:2]]
    assert f"![{description}](../docs/pictures/{pictures.path(name[:2]).name})" in head
    assert re.findall(r"^\| ([^|]+) \| ", head, re.MULTILINE)[1:5] == ROWS
    assert "## Recap" in end and "**Next:**" in end


@pytest.mark.parametrize("name", [*BUILD[1:], *MEASURE])
def test_a_lesson_has_all_sections_in_order(name):
    headings = re.findall(r"^## (.+)$", "\n".join(texts(name)), re.MULTILINE)
    assert [heading for heading in headings if heading in SECTIONS] == SECTIONS
    assert "**delete it or pay.**" in texts(name)[-1]
