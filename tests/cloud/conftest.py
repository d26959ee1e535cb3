"""The load test's fixtures, for the tests in which it runs against a chat."""

from tests.support.load_tests import run, start

__all__ = ["run", "start"]
