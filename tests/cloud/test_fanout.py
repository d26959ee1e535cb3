"""The broadcast on the local cloud: its log line, its shards as real invocations, and its permissions."""

import io
import zipfile
from contextlib import contextmanager

import pytest
import websocket

from benchmarks import variants
from chatlab import poll
from chatlab.capacity import cost
from tests.support.chat import heard, ids, people, say
from tests.support.labs import sharding, without_policy


@pytest.fixture(autouse=True)
def nobody_is_left(chat):
    yield
    poll(lambda: not ids(chat), "the table to be empty", timeout_s=30)


def test_the_log_line_tells_what_became_of_a_broadcast(chat):
    with people(chat, 5) as sockets:
        log = say(chat, "hello")
        assert heard(sockets) == [["hello"]] * 5
    assert (log["connections"], log["delivered"], log["gone"], log["failed"], log["shards"]) == (5, 5, 0, 0, 1)
    assert log["scan_ms"] > 0 and log["post_ms"] > 0
    assert len(log["_aws"]["CloudWatchMetrics"][0]["Metrics"]) == cost.METRICS


def test_a_split_broadcast_reaches_everyone_once(chat):
    with people(chat, 40) as sockets, sharding(chat, shards=3, above=5):
        assert say(chat, "hello")["shards"] == 3
        assert heard(sockets) == [["hello"]] * 40
        sockets[0].send("and over the socket")
        assert heard(sockets) == [["and over the socket"]] * 40
        nothing_more_is_heard(sockets)


@contextmanager
def impatient(lab):
    """The broadcast with small pages, after the first of which it hands the rest over."""
    functions, function = lab.client("lambda"), lab.functions["default"]

    def deploy(package):
        functions.update_function_code(FunctionName=function, ZipFile=package)
        functions.get_waiter("function_updated_v2").wait(FunctionName=function)

    package = io.BytesIO(variants.package("fanout"))
    with zipfile.ZipFile(package, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        source = archive.read("lambda_default.py").decode()
        archive.writestr("lambda_default.py", source + "\nHAND_OVER_S, FIRST_PAGE_ITEMS, MAX_PAGE_ITEMS = -1, 5, 5\n")
    deploy(package.getvalue())
    try:
        yield
    finally:
        deploy(variants.package("fanout"))


def test_what_is_handed_over_reaches_everyone_once(chat):
    with people(chat, 20) as sockets, impatient(chat):
        log = say(chat, "hello")
        assert (log["handed_over"], log["delivered"]) == (1, 5)
        assert heard(sockets) == [["hello"]] * 20
        sockets[0].send("and over the socket")
        assert heard(sockets) == [["and over the socket"]] * 20
        nothing_more_is_heard(sockets)


def nothing_more_is_heard(sockets):
    for socket in sockets:
        socket.settimeout(0.05)
        with pytest.raises(websocket.WebSocketTimeoutException):
            socket.recv()


def test_without_the_permission_to_invoke_itself_it_is_not_split_and_still_reaches_everyone(chat):
    with people(chat, 40) as sockets, sharding(chat, shards=3, above=5):
        with without_policy(chat, "invoke-itself"):
            assert say(chat, "hello")["shards"] == 1
        assert heard(sockets) == [["hello"]] * 40
        assert say(chat, "again")["shards"] == 3
        assert heard(sockets) == [["again"]] * 40
