"""Fixtures for the tests in which the load test runs against a chat, and for those of the functions' own logic."""

from tests.support.functions import backoffs, connections, function, session, shared_table, table
from tests.support.load_tests import run, start

__all__ = ["backoffs", "connections", "function", "run", "session", "shared_table", "start", "table"]
