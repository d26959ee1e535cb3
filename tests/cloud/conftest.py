"""Fixtures for several files: of the functions' own logic, of the fan-out, of the guard, and of a load test."""

from tests.support.functions import backoffs, connections, function, session, shared_table, table
from tests.support.gateway import gateway, running_gateways, sender
from tests.support.guard import address, page
from tests.support.load_tests import run, start

__all__ = [
    "address", "backoffs", "connections", "function", "gateway", "page", "run", "running_gateways", "sender", "session",
    "shared_table", "start", "table",
]  # fmt: skip
