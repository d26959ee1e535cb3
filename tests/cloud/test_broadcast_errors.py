"""What a broadcast does with a response that is an error: 410, 413, 429, 5xx, none at all."""

import socket
import time

import pytest
from botocore.exceptions import ClientError
from fanout import Fanout, Outcome

from tests.support.functions import BROADCASTS, Context, event, log_line

# --- what is tried again: 429, 5xx, a connection that breaks ---------------------------------------------------------


@BROADCASTS
@pytest.mark.parametrize("transient", [429, 500, 503, None])
def test_what_may_pass_is_tried_again_with_backoff(function, part, connections, table, backoffs, capsys, transient):
    table.put("a", "b")
    connections.statuses["a"] = [transient, transient]
    function(part).handler(event("hello"), Context())
    assert connections.posts == {"a": 3, "b": 1}
    assert connections.heard.keys() == {"a", "b"}
    log = log_line(capsys)
    assert (log["delivered"], log["failed"], log.get("retried", 2)) == (2, 0, 2)
    assert backoffs == ([] if (part, transient) == ("broadcast", 429) else [1, 2])  # of a 429 it has another one


@pytest.mark.parametrize("transient", [500, None])
def test_a_moment_in_which_all_posts_fail_costs_nobody_the_message(function, connections, backoffs, transient):
    """With botocore's retry quota a hundred would be tried again, and the others lost."""
    names = [f"c-{number}" for number in range(300)]
    connections.statuses = {name: [transient] for name in names}
    with Fanout(b"hello", time.monotonic() + 20) as posts:
        posts.post(names)
    assert (posts.outcome.delivered, posts.outcome.retried) == (300, 300)
    assert connections.posts == dict.fromkeys(names, 2)


@pytest.mark.parametrize(
    ("part", "lasting"),
    [(part, lasting) for part in ("default", "broadcast") for lasting in (500, 413, 403, None)] + [("default", 429)],
)
def test_what_does_not_pass_is_given_up_and_stops_nobody_else(
    function, part, connections, table, backoffs, capsys, lasting
):
    table.put("a", "b", "c")
    connections.statuses["b"] = [lasting] * 100
    function(part).handler(event("hello"), Context())
    assert connections.heard.keys() == {"a", "c"}
    assert connections.posts["b"] == (1 if lasting in (413, 403) else 4)
    log = log_line(capsys)
    assert (log["delivered"], log["failed"], log["gone"]) == (2, 1, 0)
    assert log["error"]
    assert table.ids() == {"a", "b", "c"}


@BROADCASTS
def test_an_expired_token_is_not_tried_again(function, part, connections, table, capsys):
    table.put("a")
    connections.statuses["a"] = ["ExpiredTokenException"]
    function(part).handler(event("hello"), Context())
    log = log_line(capsys)
    assert (log["delivered"], log["failed"], connections.posts["a"]) == (0, 1, 1)
    assert "ExpiredTokenException" in log["error"]


def test_an_endpoint_that_nobody_listens_at_is_an_error_in_the_log(function, table, backoffs, monkeypatch, capsys):
    table.put("a")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setenv("APIGatewayEndpoint", f"http://127.0.0.1:{port}/production")
    function("broadcast").handler(event("hello"), Context())
    log = log_line(capsys)
    assert (log["failed"], log["retried"], backoffs) == (1, 3, [1, 2, 3])
    assert "ConnectionRefusedError" in log["error"]


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(
    function, connections, table, backoffs, monkeypatch, capsys
):
    table.put("a", "b")
    connections.statuses["a"] = ["slow"]
    monkeypatch.setattr("fanout.posting.READ_TIMEOUT_S", connections.slow_s / 2)
    function("broadcast").handler(event("hello"), Context())
    assert connections.posts == {"a": 2, "b": 1}
    log = log_line(capsys)
    assert (log["delivered"], log["failed"], log["retried"]) == (2, 0, 1)
    assert "TimeoutError" in log["error"]


# --- throttles (429) -------------------------------------------------------------------------------------------------


def test_a_throttle_is_tried_again_until_there_is_no_time_and_stops_nobody_else(function, connections, table, capsys):
    table.put("a", "b", "c")
    connections.statuses["b"] = [429] * 1000
    broadcast = function("broadcast")
    broadcast.handler(event("hello"), Context(remaining_s=broadcast.RESERVE_S + 1))
    assert connections.heard.keys() == {"a", "c"}
    log = log_line(capsys)
    assert (log["delivered"], log["failed"], log["unreached"]) == (2, 0, 1)
    assert log["throttled"] == log["retried"] == connections.posts["b"] > 2
    assert "429 LimitExceededException" in log["error"]
    assert table.ids() == {"a", "b", "c"}


def test_a_client_that_does_not_read_is_closed_and_stops_nobody_else(function, connections, table, monkeypatch, capsys):
    table.put("a", "b", "c")
    connections.statuses["b"] = [429] * 1000  # its buffer is full
    monkeypatch.setattr("fanout.pacing.MAX_THROTTLE_BACKOFF_S", 0.01)
    function("broadcast").handler(event("hello"), Context())
    assert connections.heard.keys() == {"a", "c"}
    assert connections.closed == ["b"]
    log = log_line(capsys)
    assert (log["delivered"], log["failed"], log["unreached"], log["closed"]) == (2, 1, 0, 1)
    assert "429 LimitExceededException" in log["error"] and "does not read" in log["error"]
    assert table.ids() == {"a", "b", "c"}  # $disconnect forgets it


def test_throttles_are_none_of_the_attempts_that_a_failure_has(function, connections, table, backoffs, capsys):
    table.put("a")
    connections.statuses["a"] = [429] * 4 + [500]
    function("broadcast").handler(event("hello"), Context())
    log = log_line(capsys)
    assert (log["delivered"], log["failed"], log["throttled"], log["retried"]) == (1, 0, 4, 5)
    assert backoffs == [1]


# --- who has left (410) ----------------------------------------------------------------------------------------------


@BROADCASTS
def test_who_has_left_is_forgotten(function, part, connections, table, capsys):
    table.put("a", "b")
    connections.statuses["a"] = [410]
    function(part).handler(event("hello"), Context())
    assert table.ids() == {"b"}
    log = log_line(capsys)
    assert (log["delivered"], log["gone"], log["failed"]) == (1, 1, 0)


@BROADCASTS
def test_who_is_only_just_connecting_is_not_forgotten(function, part, connections, table):
    table.put("a", age_s=0)
    connections.statuses["a"] = [410]
    function(part).handler(event("hello"), Context())
    assert table.ids() == {"a"}


def test_who_has_left_is_forgotten_after_all_posts(function, connections, table, monkeypatch):
    names = [f"left-{number}" for number in range(40)]
    table.put(*names, "here")
    table.put("young", age_s=0)
    connections.statuses |= {name: [410] for name in [*names, "young"]}
    broadcast, posted = function("broadcast"), []
    delete = broadcast.dynamodb.delete_item

    def watched(**arguments):
        posted.append(connections.posts.total())
        return delete(**arguments)

    monkeypatch.setattr(broadcast.dynamodb, "delete_item", watched)
    broadcast.handler(event("hello"), Context())
    assert posted == [42] * 41
    assert table.ids() == {"here", "young"}


def test_without_time_who_has_left_is_left_to_the_next_broadcast(function, table):
    table.put("left")
    broadcast, outcome = function("broadcast"), Outcome(gone_ids=["left"])
    broadcast.clean_up(outcome, time.monotonic() - 1, {})
    assert table.ids() == {"left"}
    broadcast.clean_up(outcome, time.monotonic() + 10, {})
    assert table.ids() == set()


def failing(operation):
    """A call that is refused."""

    def call(**_):
        raise ClientError({"Error": {"Code": "InternalServerError", "Message": "not now"}}, operation)

    return call


@BROADCASTS
def test_a_deletion_that_fails_is_no_failure_of_the_message(function, part, connections, table, monkeypatch, capsys):
    """API Gateway would tell the speaker of an error, of a message that everybody has heard."""
    table.put("a", "b", "c")
    connections.statuses = {"a": [410], "c": [429] * 1000 if part == "broadcast" else []}
    monkeypatch.setattr("fanout.pacing.MAX_THROTTLE_BACKOFF_S", 0.01)
    broadcast = function(part)
    monkeypatch.setattr(broadcast.dynamodb, "delete_item", failing("DeleteItem"))
    assert broadcast.handler(event("hello"), Context()) == {"statusCode": 200}
    log = log_line(capsys)
    assert (connections.heard["b"], log["gone"], table.ids()) == (b"hello", 1, {"a", "b", "c"})
    if part == "broadcast":
        assert (connections.closed, log["closed"]) == (["c"], 1)  # what else is to be cleaned up, is


def test_who_has_left_is_forgotten_although_the_table_can_not_be_read_to_its_end(
    function, connections, table, monkeypatch, capsys
):
    names = [f"left-{number}" for number in range(20)]
    table.put(*names)
    connections.statuses = {name: [410] for name in names}
    broadcast = function("broadcast")
    monkeypatch.setattr(broadcast, "FIRST_PAGE_ITEMS", 10)
    scan = broadcast.dynamodb.scan
    monkeypatch.setattr(
        broadcast.dynamodb, "scan", lambda **more: (failing("Scan") if "ExclusiveStartKey" in more else scan)(**more)
    )
    assert broadcast.handler(event("hello"), Context()) == {"statusCode": 500}
    log = log_line(capsys)
    assert (log["gone"], len(table.ids())) == (10, 10)
    assert "InternalServerError" in log["error"]
