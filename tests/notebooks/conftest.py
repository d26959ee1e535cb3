"""What the tests of notebooks share."""

import pytest

from chatlab.notebooks import BUILD
from tests.support.cells import run_cells
from tests.support.labs import lab_in


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A lab that is built whole."""
    with lab_in(tmp_path_factory.mktemp("built")) as lab:
        for name in BUILD:
            run_cells(name)
        yield lab
