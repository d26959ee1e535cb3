"""A broadcast: what it sends, to whom, until when, and what it does with an answer that is an error. Both broadcasts
keep what both promise: the obvious one ("default") and the fast one.

The table is the local cloud's, `@connections` a server of this process.
"""

import base64
import time

import pytest
from botocore.exceptions import ClientError
from fanout import Fanout, Outcome

from chatlab import poll
from tests.support.functions import Context, event, log_line

BROADCASTS = pytest.mark.parametrize("part", ["default", "broadcast"])


@BROADCASTS
def test_a_broadcast_reaches_everyone_on_however_many_pages_and_says_so(function, part, connections, table, capsys):
    names = [f"c-{number}" for number in range(7)]
    table.put(*names)
    broadcast = function(part)
    pages_of_two = broadcast.dynamodb.meta.events
    pages_of_two.register("provide-client-params.dynamodb.Scan", lambda params, **_: params | {"Limit": 2})
    assert broadcast.handler(event("hello"), Context()) == {"statusCode": 200}
    assert connections.heard == dict.fromkeys(names, b"hello")
    assert connections.posts == dict.fromkeys(names, 1)
    log = log_line(capsys)
    assert (log["event"], log["connections"], log["delivered"], log["gone"], log["failed"]) == ("broadcast", 7, 7, 0, 0)


BYTES = bytes(range(256))


@BROADCASTS
@pytest.mark.parametrize(
    ("body", "is_binary", "heard"),
    [
        ("🎉 你好", False, "🎉 你好".encode()),
        (base64.b64encode(BYTES).decode(), True, BYTES),
        ("", False, None),
    ],
    ids=["text", "binary", "empty"],
)
def test_a_frame_is_forwarded_byte_for_byte_and_an_empty_one_is_not(
    function, part, connections, table, body, is_binary, heard
):
    table.put("a")
    said = event(body, isBase64Encoded=is_binary)
    assert function(part).handler(said, Context()) == {"statusCode": 200}
    assert connections.heard.get("a") == heard
    assert connections.posts.total() == (heard is not None)


def test_each_broadcast_is_signed_with_the_credentials_of_the_time(function, connections, table, monkeypatch):
    table.put("a")
    broadcast = function("broadcast")
    for token in ("first", "second"):
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
        broadcast.handler(event("hello"), Context())
    assert connections.tokens == {"first", "second"}


def test_the_first_page_is_posted_to_while_the_next_is_read(function, connections, table, monkeypatch):
    table.put(*(f"c-{number}" for number in range(8)))
    broadcast = function("broadcast")
    monkeypatch.setattr(broadcast, "FIRST_PAGE_ITEMS", 2)
    monkeypatch.setattr(broadcast, "PAGE_GROWTH", 1)
    scan, before = broadcast.dynamodb.scan, []

    def slow(**arguments):
        """Each page takes until the one before it is posted to."""
        posted = 2 * len(before)
        poll(lambda: connections.posts.total() >= posted, "the page before to be posted to", 20, every_s=0.005)
        before.append(connections.posts.total())
        return scan(**arguments)

    monkeypatch.setattr(broadcast.dynamodb, "scan", slow)
    broadcast.handler(event("hello"), Context())
    assert before == [0, 2, 4, 6, 8]
    assert len(connections.heard) == 8


def test_short_of_time_it_says_what_it_did_not_reach(function, connections, table, monkeypatch, capsys):
    table.put("a", "b", "c", "d")
    connections.statuses = {name: ["slow"] for name in "abcd"}
    broadcast = function("broadcast")
    monkeypatch.setattr("fanout.http_connections.INITIAL_WINDOW", 2)
    monkeypatch.setattr("fanout.http_connections.MAX_CONNECTIONS", 2)
    time_s = 1.8 * connections.slow_s + broadcast.RESERVE_S
    started = time.monotonic()
    assert broadcast.handler(event("hello"), Context(time_s)) == {"statusCode": 200}
    assert time.monotonic() - started < time_s
    log = log_line(capsys)
    # Two are reached; the next two are begun, and given up at the deadline: an answer was still to come.
    assert (log["connections"], log["delivered"], log["failed"] + log["unreached"]) == (4, 2, 2)
    assert 1_000 * connections.slow_s < log["post_ms"] < 1_000 * time_s


def test_without_time_nothing_is_begun(function, connections, table, capsys):
    table.put("a")
    function("broadcast").handler(event("hello"), Context(remaining_s=1))
    assert not connections.posts
    assert "TimeoutError" in log_line(capsys)["error"]


def test_the_log_line_is_in_cloudwatchs_embedded_metric_format(function, connections, table, capsys):
    table.put("a", "b")
    connections.statuses["a"] = [429]
    function("broadcast").handler(event("hello"), Context())
    log = log_line(capsys)
    assert (log["throttled"], log["retried"], log["shards"]) == (1, 1, 1)
    (described,) = log["_aws"]["CloudWatchMetrics"]
    assert abs(log["_aws"]["Timestamp"] / 1000 - time.time()) < 60
    assert described["Dimensions"] == [["function"]] and "function" in log
    named = {metric["Name"] for metric in described["Metrics"]}
    assert {"connections", "delivered", "gone", "throttled", "retried", "scan_ms", "post_ms", "shards"} <= named
    assert all(isinstance(log[name], (int, float)) for name in named)
    assert log["scan_ms"] > 0 and log["post_ms"] > 0


# --- errors that are retried: 5xx, a connection that breaks, 429 -----------------------------------------------------


@BROADCASTS
@pytest.mark.parametrize("transient", [429, 500, None])
def test_a_transient_error_is_retried_with_backoff(function, part, connections, table, backoffs, capsys, transient):
    table.put("a", "b")
    connections.statuses["a"] = [transient, transient]
    function(part).handler(event("hello"), Context())
    assert connections.posts == {"a": 3, "b": 1}
    assert connections.heard.keys() == {"a", "b"}
    log = log_line(capsys)
    assert (log["delivered"], log["failed"], log.get("retried", 2)) == (2, 0, 2)
    assert backoffs == ([] if (part, transient) == ("broadcast", 429) else [1, 2])  # of a 429 it has another one


def test_a_moment_in_which_all_posts_fail_costs_nobody_the_message(sender, connections, backoffs):
    """With botocore's retry quota a hundred would be tried again, and the others lost."""
    sender(connections.url)
    names = [f"c-{number}" for number in range(300)]
    connections.statuses = {name: [500] for name in names}
    with Fanout(b"hello", time.monotonic() + 20) as posts:
        posts.post(names)
    assert (posts.outcome.delivered, posts.outcome.retried) == (300, 300)
    assert connections.posts == dict.fromkeys(names, 2)


@pytest.mark.parametrize(
    ("part", "lasting"),
    [(part, lasting) for part in ("default", "broadcast") for lasting in (500, 413, None)] + [("default", 429)],
)
def test_a_lasting_error_is_given_up_and_stops_nobody_else(
    function, part, connections, table, backoffs, capsys, lasting
):
    table.put("a", "b", "c")
    connections.statuses["b"] = [lasting] * 100
    function(part).handler(event("hello"), Context())
    assert connections.heard.keys() == {"a", "c"}
    assert connections.posts["b"] == (1 if lasting == 413 else 4)
    log = log_line(capsys)
    assert (log["delivered"], log["failed"], log["gone"]) == (2, 1, 0)
    assert lasting != 413 or "PayloadTooLargeException" in log["error"]
    assert log["error"]
    assert table.ids() == {"a", "b", "c"}


def test_a_throttled_post_is_retried_until_the_deadline_and_stops_nobody_else(function, connections, table, capsys):
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


def test_throttles_do_not_count_as_attempts(function, connections, table, backoffs, capsys):
    table.put("a")
    connections.statuses["a"] = [429] * 4 + [500]
    function("broadcast").handler(event("hello"), Context())
    log = log_line(capsys)
    assert (log["delivered"], log["failed"], log["throttled"], log["retried"]) == (1, 0, 4, 5)
    assert backoffs == [1]


# --- connections that are gone (410) ---------------------------------------------------------------------------------


@BROADCASTS
def test_a_gone_connection_is_deleted_unless_it_is_only_just_connecting(function, part, connections, table, capsys):
    table.put("left", "here")
    table.put("connecting", age_s=0)
    connections.statuses = {"left": [410], "connecting": [410]}
    function(part).handler(event("hello"), Context())
    assert table.ids() == {"here", "connecting"}
    log = log_line(capsys)
    assert (log["delivered"], log["gone"], log["failed"]) == (1, 2, 0)


def test_gone_connections_are_deleted_after_all_posts(function, connections, table, monkeypatch):
    names = [f"left-{number}" for number in range(40)]
    table.put(*names, "here")
    connections.statuses = {name: [410] for name in names}
    broadcast, posted = function("broadcast"), []
    delete = broadcast.dynamodb.delete_item

    def watched(**arguments):
        posted.append(connections.posts.total())
        return delete(**arguments)

    monkeypatch.setattr(broadcast.dynamodb, "delete_item", watched)
    broadcast.handler(event("hello"), Context())
    assert posted == [41] * 40
    assert table.ids() == {"here"}


def test_without_time_gone_connections_are_left_to_the_next_broadcast(function, table):
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


def test_gone_connections_are_deleted_although_the_scan_fails_half_way(
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
