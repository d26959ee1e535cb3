"""Fixtures for several files: a load test."""

from tests.support.load_tests import run, start

__all__ = ["run", "start"]
