"""What a broadcast sends, to whom, and until when. The table is the local cloud's, `@connections` a server of this
process."""

import base64
import ssl
import time

import pytest
import trustme

from chatlab import poll
from tests.support.functions import BROADCASTS, Context, event, log_line, log_lines


@BROADCASTS
def test_a_broadcast_reaches_everyone_and_says_so(function, part, connections, table, capsys):
    table.put("a", "b", "c")
    assert function(part).handler(event("hello"), Context()) == {"statusCode": 200}
    assert connections.heard == {"a": b"hello", "b": b"hello", "c": b"hello"}
    log = log_line(capsys)
    assert (log["event"], log["connections"], log["delivered"], log["gone"], log["failed"]) == ("broadcast", 3, 3, 0, 0)
    assert part == "default" or (log["scan_ms"] > 0 and log["post_ms"] > 0)


@BROADCASTS
def test_a_table_of_many_pages_is_read_to_its_end(function, part, connections, table, monkeypatch):
    names = [f"c-{number}" for number in range(7)]
    table.put(*names)
    broadcast = function(part)
    pages_of_two = broadcast.dynamodb.meta.events
    pages_of_two.register("provide-client-params.dynamodb.Scan", lambda params, **_: params | {"Limit": 2})
    broadcast.handler(event("hello"), Context())
    assert connections.posts == dict.fromkeys(names, 1)


@BROADCASTS
@pytest.mark.parametrize("body", ["hello", "{}", "🎉 你好", '{"action": "x"}', " "])
def test_a_text_frame_is_forwarded_as_utf_8(function, part, connections, table, body):
    table.put("a")
    function(part).handler(event(body), Context())
    assert connections.heard["a"] == body.encode()


@BROADCASTS
def test_a_binary_frame_comes_in_base64_and_is_forwarded_as_bytes(function, part, connections, table):
    table.put("a")
    data = bytes(range(256))
    function(part).handler(event(base64.b64encode(data).decode(), isBase64Encoded=True), Context())
    assert connections.heard["a"] == data


@BROADCASTS
@pytest.mark.parametrize("body", [None, ""])
def test_an_empty_frame_is_nothing_to_say(function, part, connections, table, body):
    table.put("a")
    assert function(part).handler(event(body), Context()) == {"statusCode": 200}
    assert not connections.posts


def test_each_broadcast_is_signed_with_the_credentials_of_the_time(function, connections, table, monkeypatch):
    table.put("a")
    broadcast = function("broadcast")
    for token in ("first", "second"):
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
        broadcast.handler(event("hello"), Context())
    assert connections.tokens == {"first", "second"}


def test_http_connections_are_kept_for_the_next_broadcast_unless_they_were_closed(function, connections, table, capsys):
    table.put("a", "b", "c")
    broadcast = function("broadcast")
    for _ in range(9):
        broadcast.handler(event("hello"), Context())
    assert connections.opened <= 6
    connections.hang_up()
    broadcast.handler(event("hello"), Context())
    assert connections.posts == {"a": 10, "b": 10, "c": 10}
    assert all(log["retried"] == 0 for log in log_lines(capsys))


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


def test_without_time_nothing_is_begun(function, connections, table, capsys):
    table.put("a")
    function("broadcast").handler(event("hello"), Context(remaining_s=1))
    assert not connections.posts
    assert "TimeoutError" in log_line(capsys)["error"]


@pytest.mark.parametrize("trusted", [True, False])
def test_https_is_spoken_with_those_who_are_trusted(
    function, connections, table, monkeypatch, capsys, tmp_path, trusted
):
    table.put("a", "b")
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    connections.socket = context.wrap_socket(connections.socket, server_side=True, do_handshake_on_connect=False)
    monkeypatch.setenv("APIGatewayEndpoint", connections.url.replace("http", "https"))
    if trusted:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    function("broadcast").handler(event("x" * 100_000), Context())
    log = log_line(capsys)
    assert log["delivered"] == (2 if trusted else 0)
    assert trusted or "SSLCertVerificationError" in log["error"]
