"""The broadcast on the local cloud: its log line, its shards as real invocations, and its permissions."""

from contextlib import contextmanager
from select import select

import pytest

from chatlab import cost, packages
from tests.support.chat import heard, people, say
from tests.support.labs import sharding, without_policy

PEOPLE = 30  # so many that somebody is in the first of three shards, but for one chance in 200,000


@pytest.fixture(scope="module")
def sockets(chat):
    """People who stay."""
    with people(chat, PEOPLE) as sockets:
        yield sockets


def test_the_log_line_tells_what_became_of_a_broadcast(chat, sockets):
    log = say(chat, "hello")
    assert heard(sockets) == [["hello"]] * PEOPLE
    outcomes = (log["connections"], log["delivered"], log["gone"], log["failed"], log["shards"])
    assert outcomes == (PEOPLE, PEOPLE, 0, 0, 1)
    assert log["scan_ms"] > 0 and log["post_ms"] > 0
    assert len(log["_aws"]["CloudWatchMetrics"][0]["Metrics"]) == cost.METRICS


def test_a_split_broadcast_reaches_everyone_once(chat, sockets):
    with sharding(chat, shards=3, above=0):
        assert say(chat, "hello")["shards"] == 3
        assert heard(sockets) == [["hello"]] * PEOPLE
        sockets[0].send("and over the socket")
        assert heard(sockets) == [["and over the socket"]] * PEOPLE
        nothing_more_is_heard(sockets)


@contextmanager
def impatient(lab):
    """The broadcast with small pages, after the first of which it hands the rest over."""

    files = packages.read_files(*packages.PARTS["default"])
    files["lambda_broadcast.py"] += b"\nHAND_OVER_S, FIRST_PAGE_ITEMS, MAX_PAGE_ITEMS = -1, 5, 5\n"
    packages.deploy(lab, "default", packages.build_zip(files))
    try:
        yield
    finally:
        packages.deploy(lab, "default", packages.build_package("default"))


def test_what_is_handed_over_reaches_everyone_once(chat, sockets):
    with impatient(chat):
        log = say(chat, "hello")
        assert (log["handed_over"], log["delivered"]) == (1, 5)
        assert heard(sockets) == [["hello"]] * PEOPLE
        sockets[0].send("and over the socket")
        assert heard(sockets) == [["and over the socket"]] * PEOPLE
        nothing_more_is_heard(sockets)


def nothing_more_is_heard(sockets):
    readable, _, _ = select([socket.sock for socket in sockets], [], [], 0.3)
    assert not readable


def test_without_the_permission_to_invoke_itself_it_is_not_split_and_still_reaches_everyone(chat, sockets):
    with sharding(chat, shards=3, above=0):
        with without_policy(chat, "invoke-itself"):
            assert say(chat, "hello")["shards"] == 1
        assert heard(sockets) == [["hello"]] * PEOPLE
        assert say(chat, "again")["shards"] == 3
        assert heard(sockets) == [["again"]] * PEOPLE
