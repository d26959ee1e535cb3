"""All that is built and removed, on a day on which AWS's control plane is not well."""

import pytest

from chatlab.notebooks import BUILD, TEARDOWN
from tests.cells import run_cells
from tests.conftest import lab_in


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("trait", ["faults", "lost-answers=0.2", "slow"])
def test_a_control_plane_that_fails_or_is_slow_does_not_stop_a_run(tmp_path, monkeypatch, trait):
    monkeypatch.setenv("CHATLAB_TRAITS", trait)
    with lab_in(tmp_path):
        for name in [*BUILD[1:], TEARDOWN]:
            said = run_cells(name)
        assert "Nothing is left" in said
