"""Fixtures for several files: those of the functions' own logic, and those of a load test that runs against a chat."""

from tests.support.functions import backoffs, connections, function, session, shared_table, table
from tests.support.load_tests import run, start

__all__ = ["backoffs", "connections", "function", "run", "session", "shared_table", "start", "table"]
