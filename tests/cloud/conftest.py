"""The load test's fixtures, for the tests in which it runs against a chat."""

from tests.loadtest.conftest import run, start

__all__ = ["run", "start"]
