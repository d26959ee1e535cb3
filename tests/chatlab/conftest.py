"""Fixtures for several files: a local cloud, and a load test."""

import pytest

from tests.support.labs import lab_in
from tests.support.load_tests import run, start

__all__ = ["run", "start"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A local cloud for all tests of a file. Each has a lab in it, by a name of its own."""
    with lab_in(tmp_path_factory.mktemp("cloud")) as lab:
        yield lab
