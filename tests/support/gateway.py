"""A broadcast without its function: `Fanout` against an endpoint as AWS's looks. TLS, a delay, a quota, bad peers.

What was delivered and refused is what the endpoint has counted.
"""

import time
from contextlib import ExitStack

import pytest
from fanout import Fanout
from fanout.http_connections import close_pools

from benchmarks import api_gateway
from benchmarks.endpoint import Settings


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
    """`running_gateways(settings)`: an endpoint with these settings, which has counted nothing. Each is begun once."""
    running = {}
    with ExitStack() as stack:

        def find(settings):
            if settings not in running:
                running[settings] = stack.enter_context(api_gateway.run(settings))
            running[settings].clear()
            return running[settings]

        yield find


@pytest.fixture
def gateway(sender, running_gateways):
    """`gateway(quotas=...)`: an endpoint with these settings, to which the environment points."""

    def at(**settings):
        found = running_gateways(Settings(**{"delay_ms": 2.0, "spread_ms": 0.5} | settings))
        sender(found.url, found.ca_file)
        return found

    return at


def broadcast(number, seconds=20.0, name="id", **options):
    """Post to so many ids; the `Fanout`, and the seconds that it took."""
    started = time.monotonic()
    with Fanout(b"hello", started + seconds, **options) as posts:
        posts.post([f"{name}-{n}" for n in range(number)])
    found = posts.outcome
    assert found.delivered + found.gone + found.failed + found.unreached == found.connections == number
    return posts, time.monotonic() - started
