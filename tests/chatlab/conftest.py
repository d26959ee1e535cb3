"""Fixtures for several files: a local cloud, and a load test."""

from contextlib import ExitStack

import pytest

from chatlab import Lab
from tests.support.labs import lab_in, used_by
from tests.support.load_tests import run, start

__all__ = ["run", "start"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A local cloud for all tests of a file. Each has a lab in it, by a name of its own."""
    with lab_in(tmp_path_factory.mktemp("cloud")) as lab:
        yield lab


@pytest.fixture
def restricted(cloud):
    """`restricted(name, policy)`: the lab of this name, used by somebody who has only this policy."""
    with ExitStack() as somebody:

        def lab_of(name, policy):
            Lab.choose("local", name)
            somebody.enter_context(used_by("ada", cloud, policy))
            return Lab.load()

        yield lab_of
