"""Everybody is dropped at once, and comes back by a policy."""

import re

import pytest

from chatlab import storm
from chatlab.emulator.traits import TokenBucket
from chatlab.paths import ROOT
from loadtest.calibration import reference_server
from loadtest.storm import POLICIES
from tests.support.load_tests import settings

CONNECTS_PER_S = 12
FEW = "--users 40 --speakers 2 --warm-up 0 --broadcast-rate 10 --broadcasts".split()


@pytest.fixture
def limited():
    """The reference server with a limit on new connections a second, from the moment at which all are connected."""
    with reference_server.run() as server:
        bucket = TokenBucket(CONNECTS_PER_S, CONNECTS_PER_S)
        server.may_connect = lambda: not server.received or bucket.take()
        yield server


@pytest.mark.parametrize(("policy", "processes"), [("at-once", 1), ("fixed", 1), ("page", 2)])
def test_all_come_back_as_computed_and_miss_nothing_after_that(run, limited, policy, processes):
    workers = ["--processes", processes] if processes > 1 else []
    test = run("--host", limited.url, *FEW, 40, "--storm", policy, *workers)
    assert test.status == 0, test.output
    found, connections = test.summary["storm"], test.result.connections
    assert (found["policy"], found["dropped"], found["back"], found["missing_after_return"]) == (policy, 36, 36, 0)
    assert found["stayed"] == 4
    assert test.summary["expected"] == test.summary["delivered"] + test.summary["departed"]
    assert test.summary["refusals"].keys() == {"status 429"}
    assert found["handshakes_per_person"] == pytest.approx(1 + connections["refused"].sum() / 36, abs=0.01)
    # Those who were away are counted: a broadcast that was sent meanwhile reached all others.
    assert found["missed_while_away"] == 40 * 40 - test.summary["expected"]
    computed = storm.come_back(36, POLICIES[policy], CONNECTS_PER_S, attempt_s=0.01, connect_s=0.001)
    if policy == "page":  # when the last of so few is back is chance, how often all try is not
        assert found["handshakes_per_person"] == pytest.approx(computed.handshakes_per_person, rel=0.2)
    else:
        assert found["back_s"]["p99"] == pytest.approx(computed.p99_s, rel=0.2)
    assert found["stayed_ms"]["during"]["p50"] < 100


def test_whoever_is_not_back_at_the_end_is_counted(run, limited):
    server, bucket = limited, limited.may_connect
    server.may_connect = lambda: not server.received or (len(server.ports) < 25 and bucket())
    test = run("--host", server.url, *FEW, 20, "--storm", "fixed", "--retry-time", 1)
    assert (test.status, test.summary["storm"]["back_s"]["all"]) == (1, None)
    assert "15 of 40 connections could not be made" in test.errors[-1]


def test_the_policy_called_page_is_the_pages():
    source = (ROOT / "frontend" / "src" / "connection.ts").read_text()
    base_ms, cap_ms = (int(re.search(rf"BACKOFF_{name}_MS = ([\d_]+);", source)[1]) for name in ("BASE", "CAP"))
    assert POLICIES["page"] == (base_ms / 1000, cap_ms / 1000, True)
    assert "Math.random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (this.#failures - 1))" in source


def test_a_storm_needs_a_constant_number_and_some_broadcasts():
    for words in (["--shape", "ramp"], ["--churn", "0.1"]):
        with pytest.raises(ValueError, match="--storm drops a constant number of connections"):
            settings("--storm", "page", *words)
    with pytest.raises(ValueError, match="--storm needs at least 8 broadcasts"):
        settings("--storm", "page", "--broadcasts", "7")
