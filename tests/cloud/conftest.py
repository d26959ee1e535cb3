"""Fixtures for several files: of a load test."""

from tests.support.load_tests import run, start

__all__ = ["run", "start"]
