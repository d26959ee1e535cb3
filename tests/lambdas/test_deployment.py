"""Nothing is measured while a function runs other code than that of `lambdas/`, and which broadcast runs is said."""

import pytest

from benchmarks import variants
from chatlab import LabError, packages
from chatlab.packages import require_deployed
from tests.support.chat import heard, people, say


def test_what_notebook_03_has_deployed_is_the_fast_broadcast(chat):
    assert require_deployed(chat) == "lambda_broadcast.handler"


def test_the_obvious_broadcast_is_another_handler_of_the_same_code_and_everybody_hears_it(chat):
    variants.deploy(chat, "sequential")
    try:
        assert require_deployed(chat) == "lambda_default.handler"
        with people(chat, 3) as sockets:
            log = say(chat, "hello")
            assert (heard(sockets), log["delivered"]) == ([["hello"]] * 3, 3)
    finally:
        variants.deploy(chat, "fanout")


@pytest.mark.parametrize("variant", ["threads", "ceiling"])
def test_other_code_is_seen(chat, variant):
    variants.deploy(chat, variant)
    try:
        with people(chat, 3) as sockets:
            log = say(chat, "hello")
            assert (heard(sockets), log["delivered"]) == ([["hello"]] * 3, 3)
        with pytest.raises(LabError, match=r"^The function chat-default runs other code .* Run notebook 03_"):
            require_deployed(chat)
    finally:
        variants.deploy(chat, "fanout")


def test_a_package_holds_all_that_its_function_imports():
    assert {"lambda_default.py", "lambda_broadcast.py", "fanout/__init__.py", "fanout/pacing.py"} <= set(
        packages.read_files(*packages.PARTS["default"])
    )
