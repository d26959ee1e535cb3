"""Fixtures for several files: a function, what it meets where it runs, and the broadcast without its function."""

from contextlib import ExitStack

import boto3
import pytest
from fanout.http_connections import close_pools

from benchmarks.endpoint import Settings, run_endpoint
from chatlab import local_cloud
from tests.support.functions import ConnectionTable, connections_endpoint, load_function, set_environment
from tests.support.load_tests import run, start

__all__ = ["run", "start"]


@pytest.fixture
def connections():
    """An endpoint whose answers this test sets."""
    with connections_endpoint() as server:
        yield server


@pytest.fixture
def table(chat):
    """A table of connection ids, empty."""
    with ConnectionTable(chat) as table:
        yield table


@pytest.fixture(scope="module")
def session(chat):
    """A boto3 session, which has read the descriptions of the services once."""
    return boto3.Session(region_name=chat.region, **local_cloud.credentials())


@pytest.fixture
def function(chat, table, connections, session, monkeypatch):
    """`function("broadcast")`: a function's module, in the environment that Lambda would give it."""
    set_environment(monkeypatch, chat, table, connections.url)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", session)
    return load_function


@pytest.fixture
def backoffs(monkeypatch):
    """The numbers of the attempts that failed, both in the fan-out and in boto3. No back-off follows them here."""
    attempts = []
    monkeypatch.setattr("fanout.pacing.backoff_s", lambda attempt: attempts.append(attempt) or 0)
    monkeypatch.setattr(
        "botocore.retries.standard.ExponentialBackoff.delay_amount",
        lambda _, context: attempts.append(context.attempt_number) or 0,
    )
    return attempts


# --- the broadcast without its function: `Fanout` against an endpoint like AWS's ------------------------------------


@pytest.fixture
def sender(monkeypatch):
    """`sender(url, ca_file)`: the environment of an invocation that has posted nothing yet."""
    for name, value in {"ACCESS_KEY_ID": "A" * 20, "SECRET_ACCESS_KEY": "none", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)

    def at(url, ca_file=None):
        monkeypatch.setenv("APIGatewayEndpoint", url)
        if ca_file:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(ca_file))
        close_pools()

    yield at
    close_pools()


@pytest.fixture(scope="module")
def running_gateways():
    """`running_gateways(settings)`: an endpoint with these settings, which has counted nothing. Each starts once."""
    running = {}
    with ExitStack() as stack:

        def find(settings):
            if settings not in running:
                running[settings] = stack.enter_context(run_endpoint(settings))
            running[settings].clear()
            return running[settings]

        yield find


@pytest.fixture
def gateway(sender, running_gateways):
    """`gateway(quotas=...)`: an endpoint with TLS, a delay and these settings, to which the environment points.

    What was delivered and refused is what the endpoint has counted.
    """

    def at(**settings):
        found = running_gateways(Settings(**{"delay_ms": 2.0, "spread_ms": 0.5} | settings))
        sender(found.url, found.ca_file)
        return found

    return at
