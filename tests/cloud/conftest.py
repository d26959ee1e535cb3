"""Fixtures for several files: of the functions' own logic, of the fan-out, and of a load test against a chat."""

from tests.support.functions import backoffs, connections, function, session, shared_table, table
from tests.support.gateway import gateway, running_gateways, sender
from tests.support.load_tests import run, start

__all__ = [
    "backoffs", "connections", "function", "gateway", "run", "running_gateways", "sender", "session", "shared_table",
    "start", "table",
]  # fmt: skip
