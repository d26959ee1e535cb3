"""The load test's fixtures."""

import os

import pytest

from loadtest.calibration import readings, reference_server
from tests.support.load_tests import run, start

__all__ = ["run", "start"]


def pytest_collection_modifyitems(items):
    """Whatever runs a load test is slow."""
    for item in items:
        if {"start", "measure", "find"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture
def server():
    """The reference server, which does what it should."""
    with reference_server.run() as server:
        yield server


@pytest.fixture
def measure(fork_server, monkeypatch, tmp_path):
    """`readings.measure(case, folder)` in a folder of its own, with a load test that is forked."""

    def begin(module, *words):
        assert module == "locust"
        return fork_server.locust(words, os.environ, tmp_path / "output.txt")

    monkeypatch.setattr(readings, "_start", begin)
    return lambda case: readings.measure(case, tmp_path)
