"""Nothing is measured while a function runs other code than that of `lambdas/`."""

import pytest

from benchmarks import variants
from chatlab import LabError
from chatlab.packages import require_deployed


def test_what_notebook_03_has_deployed_is_the_code_of_lambdas(chat):
    require_deployed(chat)


def test_a_variant_that_a_stopped_run_has_left_is_seen(chat):
    """As a kill between notebook 07's two deployments leaves it."""
    variants.deploy(chat, "sequential")
    try:
        with pytest.raises(LabError, match=r"^The function chat-default runs other code .* Run notebook 03_"):
            require_deployed(chat)
    finally:
        variants.deploy(chat, "fanout")
    require_deployed(chat)
