"""The pictures at the notebooks' heads are those that their one source makes."""

import re

import pytest

from chatlab import pictures


@pytest.mark.parametrize("number", pictures.LIT)
def test_the_committed_picture_is_what_its_source_makes(number):
    assert pictures.path(number).read_text() == pictures.draw(number, pictures.SOURCE.read_text())


def test_each_part_of_the_source_is_lit_somewhere():
    drawn = set(re.findall(r'<g id="([\w-]+)" class="part', pictures.SOURCE.read_text()))
    assert drawn == {part for _, parts in pictures.LIT.values() for part in parts}


def test_a_part_that_the_source_does_not_have_is_an_error():
    with pytest.raises(ValueError, match="has no part page"):
        pictures.draw("05", "<svg ><title></title></svg>")
