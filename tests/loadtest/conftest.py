"""The load test's fixtures."""

from tests.support.load_tests import run, start

__all__ = ["run", "start"]
