"""Fixtures for several files: of the guard, and of a load test."""

from tests.support.guard import address, page
from tests.support.load_tests import run, start

__all__ = ["address", "page", "run", "start"]
