"""The fan-out without its function: under a quota, and with peers that are silent, slow, broken or closed. Its requests
are signed as botocore signs them, and it reads responses as botocore does.

The endpoint is mostly like AWS's: TLS, a delay, quotas, clients that have left or do not read.
"""

import socket
import string
import threading
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.retries import standard
from fanout import Fanout, http_connections, pacing, posting, sigv4
from fanout.http_connections import (
    INITIAL_WINDOW,
    ConnectionPool,
    close_pools,
    connection_pool,
    parse_error,
    parse_response,
)
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.endpoint import Endpoint, Settings
from chatlab import poll
from tests.support.functions import Answer, broadcast, connections_endpoint


def ids_by_kind(number, **settings):
    """The ids that `broadcast` posts to, in lists by what becomes of posts to each."""
    endpoint, found = Endpoint(Settings(**settings)), {}
    for n in range(number):
        found.setdefault(endpoint.kind(b"id-%d" % n), []).append(f"id-{n}")
    return found


def test_everyone_is_reached_once_over_connections_that_are_kept(gateway):
    endpoint = gateway()
    for _ in range(4):
        posts, _ = broadcast(300)
        assert posts.outcome.delivered == 300 and posts.outcome.error is None
    report = endpoint.report()
    assert (report["posts"], report["delivered"], report["doubled"]) == (1_200, 300, 300)
    kept = connection_pool(endpoint.url).idle
    assert 0 < len(kept) <= report["opened"] <= 300
    # One handshake in full, or a few that began together.
    assert sum(connection.socket.session_reused for connection in kept) > len(kept) / 2


def test_an_id_of_any_characters_is_posted_to(gateway):
    endpoint = gateway()
    with Fanout(b"x", time.monotonic() + 5) as posts:
        posts.post(["a/b", "a b", "ü%20", "?#&=+@:;,", "…" * 30])
    assert posts.outcome.delivered == endpoint.report()["delivered"] == 5


def test_a_message_that_no_buffer_takes_at_once_arrives_whole(sender, connections, monkeypatch):
    sender(connections.url)
    answer, data = Answer.do_POST, bytes(2**24)
    monkeypatch.setattr(Answer, "do_POST", lambda handler: time.sleep(0.3) or answer(handler))
    with Fanout(data, time.monotonic() + 10) as posts:
        posts.post(["a"])
    assert (posts.outcome.delivered, posts.outcome.retried) == (1, 0)
    assert connections.heard["a"] == data


# --- at the limit: a quota of posts a second, and clients that do not read, both of which are a 429 ------------------


@pytest.mark.parametrize(("known", "number"), [(240, 500), (None, 900)])
def test_a_quota_costs_time_and_nobody_is_lost_to_it(gateway, known, number):
    endpoint = gateway(quotas=((300, 150),))
    posts, seconds = broadcast(number, posts_per_second=known)
    report = endpoint.report()
    assert posts.outcome.delivered == report["delivered"] == number
    assert (report["doubled"], posts.outcome.error) == (0, None)
    assert posts.outcome.throttled == posts.outcome.retried == report["refused"]
    assert report["refused"] == 0 if known else 0 < report["refused"] < number / 3
    assert seconds < 4  # 2 s and 2.5 s by the quota
    if not known:
        broadcast(1, name="next")  # has no throttle, and keeps what is known for the one after it
        assert 150 < connection_pool(endpoint.url).known_rate < 600


def test_after_a_throttle_the_next_broadcast_begins_as_carefully_as_the_first(gateway):
    pool = connection_pool(gateway(quotas=((20, 110),)).url)
    broadcast(100)
    assert pool.first_window > INITIAL_WINDOW
    assert broadcast(30)[0].outcome.throttled
    assert pool.first_window == INITIAL_WINDOW


def test_clients_that_do_not_read_are_given_up_and_cost_the_others_no_time(gateway, monkeypatch):
    """API Gateway refuses a post to a full buffer as it does one beyond the quota."""
    monkeypatch.setattr("fanout.pacing.MAX_THROTTLE_BACKOFF_S", 0.05)
    full = ids_by_kind(500, full=0.03)["full"]
    gateway()
    broadcast(500)
    _, usual_s = broadcast(500)
    endpoint, started = gateway(full=0.03), time.monotonic()
    with Fanout(b"hello", started + 20) as posts:
        posts.post([f"id-{n}" for n in range(500)])
        while posts.outcome.delivered < 500 - len(full) and time.monotonic() < started + 20:
            time.sleep(0.001)
        reached_s = time.monotonic() - started
    assert posts.outcome.delivered == endpoint.report()["delivered"] == 500 - len(full)
    assert sorted(posts.outcome.slow_ids) == sorted(full)
    assert posts.outcome.failed == len(full) and "does not read" in posts.outcome.error
    assert endpoint.report()["refused"] <= 30 * len(full)
    assert reached_s < 5 * usual_s + 0.5  # connections included; if it slowed down as for a quota, 2 s and more


def test_invocations_share_the_rate_and_the_first_window(gateway):
    pool = connection_pool(gateway(delay_ms=0).url)
    _, seconds = broadcast(200, posts_per_second=800, invocations=2)
    assert 0.45 < seconds < 3  # 400 a second for each
    assert pool.window == INITIAL_WINDOW // 2 + 200


def test_the_caller_waits_while_many_posts_are_waiting(gateway, monkeypatch):
    gateway(delay_ms=0)
    monkeypatch.setattr("fanout.posting.MAX_READY", 50)
    started = time.monotonic()
    with Fanout(b"x", started + 10, posts_per_second=200) as posts:
        posts.post([f"a-{n}" for n in range(40)])
        assert time.monotonic() - started < 0.15
        posts.post([f"b-{n}" for n in range(150)])
        assert posts.outcome.delivered >= 100
        assert time.monotonic() - started < 8, "it has waited for the deadline"
    assert posts.outcome.delivered == 190


# --- connections that the server closes ------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"close_after": 3}, {"idle_s": 1.0}], ids=str)
def test_a_connection_that_the_server_closes_costs_nobody_a_message(gateway, settings):
    endpoint = gateway(**settings)
    for again in (False, True):
        if again and "idle_s" in settings:
            kept = connection_pool(endpoint.url).idle
            poll(lambda kept=kept: all(connection.is_dropped() for connection in kept), "the server", every_s=0.02)
        posts, _ = broadcast(200)
        assert posts.outcome.delivered == 200
        assert posts.outcome.retried == 0
    assert endpoint.report()["posts"] == 400


@pytest.fixture
def server(sender, monkeypatch):
    """An endpoint that knows the broadcast, which has left idle connections to it."""
    monkeypatch.setattr(pacing, "backoff_s", lambda attempt: 0)
    monkeypatch.setattr(http_connections, "MIN_IDLE_S", 0)
    with connections_endpoint() as server:
        sender(server.url)
        broadcast(200, name="before")
        idle = connection_pool(server.url).idle
        assert len(idle) > pacing.MAX_ATTEMPTS
        # The kernel opens a connection before the server accepts it: one that it has not accepted it can't close.
        poll(lambda: len(server.handlers) >= len(idle), "the server to accept them", every_s=0.002)
        yield server


def test_idle_connections_that_the_server_closes_as_they_are_used_cost_nobody_a_message(server):
    server.close_when_used()
    posts, _ = broadcast(3, name="again")
    assert (posts.outcome.delivered, posts.outcome.failed) == (3, 0)
    assert 1 <= posts.outcome.retried <= 3
    assert [server.posts[f"again-{number}"] for number in range(3)] == [1, 1, 1]


def test_idle_connections_that_end_while_the_name_is_resolved_are_not_used(server, monkeypatch):
    resolve = ConnectionPool._resolve

    def resolve_slowly(pool, timeout_s):
        server.hang_up()
        resolve(pool, timeout_s)

    monkeypatch.setattr(ConnectionPool, "_resolve", resolve_slowly)
    posts, _ = broadcast(3, name="again")
    assert (posts.outcome.delivered, posts.outcome.retried) == (3, 0)


def test_idle_connections_that_the_server_closes_in_the_middle_are_not_used(server):
    idle = connection_pool(server.url).idle
    with Fanout(b"hello", time.monotonic() + 10) as posts:
        posts.post(["before"])
        poll(lambda: posts.outcome.delivered, "the first post", every_s=0.002)
        server.hang_up()
        poll(lambda: not idle, "the loop to remove the closed connections", timeout_s=5, every_s=0.002)
        posts.post(["after"])
    assert (posts.outcome.delivered, posts.outcome.retried) == (2, 0)


@pytest.mark.parametrize(("answer", "attempts"), [(None, pacing.MAX_ATTEMPTS + 1), ("slow", pacing.MAX_ATTEMPTS)])
def test_one_attempt_is_excused_if_its_connection_breaks_and_none_if_no_answer_comes_in_time(
    server, monkeypatch, answer, attempts
):
    """Perhaps it was only the answer that got lost: then each attempt is a copy."""
    monkeypatch.setattr(posting, "READ_TIMEOUT_S", 0.1)
    server.statuses["again-0"] = [answer] * 100
    posts, _ = broadcast(1, name="again")
    assert posts.outcome.failed == 1
    assert server.posts["again-0"] == attempts
    assert posts.outcome.retried == attempts - 1


# --- peers that say nothing, or can't be reached ---------------------------------------------------------------------


def test_a_silent_peer_holds_nobody_and_the_deadline_is_kept(gateway):
    endpoint, ids = gateway(silent=0.05), ids_by_kind(100, silent=0.05)
    with Fanout(b"hello", time.monotonic() + 20) as posts:  # opens connections, which takes a busy machine its time
        posts.post(ids["here"])
    endpoint.clear()
    posts, seconds = broadcast(100, seconds=1.5)
    assert posts.outcome.delivered == endpoint.report()["delivered"] == len(ids["here"])
    assert posts.outcome.failed == len(ids["silent"])
    assert "TimeoutError" in posts.outcome.error
    assert 1.5 <= seconds < 2.5


def test_a_server_that_accepts_and_says_nothing_is_given_up(sender, monkeypatch):
    monkeypatch.setattr(posting, "CONNECT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(pacing, "backoff_s", lambda attempt: 0)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as nobody:
        sender(f"https://127.0.0.1:{nobody.getsockname()[1]}/production")
        posts, seconds = broadcast(3, seconds=10)
    assert posts.outcome.failed == 3
    assert "TimeoutError" in posts.outcome.error
    assert seconds < 8


def test_a_peer_that_sends_drop_by_drop_is_given_up(sender, monkeypatch):
    """Each byte is an answer's part, and no reason to wait any longer."""
    monkeypatch.setattr(posting, "READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr(pacing, "MAX_ATTEMPTS", 1)

    def drip(server):
        client, _ = server.accept()
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" * 100:
            try:
                client.send(bytes([byte]))
            except OSError:
                return
            time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        sender(f"http://127.0.0.1:{server.getsockname()[1]}/production")
        posts, seconds = broadcast(1)
    assert posts.outcome.failed == 1 and seconds < 3


def test_where_no_connection_can_be_made_each_post_has_its_attempts(sender, backoffs):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    sender(f"http://127.0.0.1:{port}/production")
    posts, _ = broadcast(3)
    assert (posts.outcome.failed, posts.outcome.retried) == (3, 9)
    assert sorted(backoffs) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert "ConnectionRefusedError" in posts.outcome.error


def test_if_no_more_connections_can_be_opened_the_open_ones_suffice(gateway, monkeypatch):
    gateway()
    broadcast(3)
    tried = []

    def fail(pool, expires_at):
        tried.append(expires_at)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(ConnectionPool, "open", fail)
    posts, _ = broadcast(100)
    assert (posts.outcome.delivered, posts.outcome.retried, len(tried)) == (100, 0, 1)


def test_a_name_that_nobody_has_is_one_line(sender):
    sender("https://nobody.invalid/production")
    posts, _ = broadcast(50, seconds=5)
    assert posts.outcome.failed == 50
    assert posts.outcome.error.startswith("no answer ")


def test_a_server_that_is_not_trusted_ends_a_broadcast_and_nobody_waits_for_it(gateway, monkeypatch):
    """The loop hears of a post over a socket, which holds some hundred bytes that nobody reads any more."""
    endpoint = gateway()
    monkeypatch.setattr("fanout.posting.MAX_READY", 0)
    monkeypatch.delenv("AWS_CA_BUNDLE")
    close_pools()
    started = time.monotonic()
    with Fanout(b"x", started + 30) as posts:
        for number in range(1_000):
            posts.post([f"id-{number}"])
            assert time.monotonic() - started < 10
    assert posts.outcome.failed == 1_000 and "SSLCertVerificationError" in posts.outcome.error
    assert endpoint.report()["posts"] == 0


def test_a_page_that_is_read_after_the_deadline_is_not_reached_and_no_error(gateway):
    endpoint = gateway()
    deadline = time.monotonic() + 0.7
    with Fanout(b"x", deadline) as posts:
        for page in range(4):
            if page == 2:
                poll(lambda: time.monotonic() > deadline, "the deadline", every_s=0.02)
            posts.post([f"{page}-{n}" for n in range(10)])
    assert (posts.outcome.delivered, posts.outcome.unreached) == (20, 20)
    assert endpoint.report()["delivered"] == 20


# --- signatures and credentials --------------------------------------------------------------------------------------


def test_without_credentials_nothing_is_begun(gateway, monkeypatch):
    endpoint = gateway()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Exception, match="redential"), Fanout(b"x", time.monotonic() + 5) as posts:
        posts.post(["a"])
    assert endpoint.report()["posts"] == 0


def test_a_long_broadcast_is_signed_anew_and_credentials_that_are_gone_then_are_an_error(gateway, monkeypatch):
    gateway()
    monkeypatch.setattr(sigv4, "LIFETIME_S", 0.2)
    with Fanout(b"x", time.monotonic() + 10, posts_per_second=100) as posts:
        posts.post([f"id-{n}" for n in range(100)])
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert posts.outcome.delivered > 0 and posts.outcome.failed > 0
    assert posts.outcome.delivered + posts.outcome.failed == 100
    assert "credentials" in posts.outcome.error


LETTERS = string.ascii_letters + string.digits
ENDPOINTS = [
    "https://abc123.execute-api.us-east-1.amazonaws.com/production",
    "https://abc123.execute-api.cn-north-1.amazonaws.com.cn/production/",
    "https://chat.example.com:443/a/b",
    "http://127.0.0.1:4566/_aws/execute-api/abc123/production",
    "http://Localhost:80/p",
]


@given(
    endpoint=st.sampled_from(ENDPOINTS),
    connection_id=st.text(LETTERS + "-_=+/@ %", min_size=1, max_size=40),
    data=st.binary(min_size=1, max_size=300),
    keys=st.tuples(*[st.text(LETTERS + "/+", min_size=16, max_size=64)] * 2),
    token=st.none() | st.text(LETTERS + "/+=", min_size=1, max_size=800),
    region=st.sampled_from(["us-east-1", "eu-central-2", "cn-north-1", "us-gov-west-1"]),
)
def test_a_request_is_signed_as_botocore_signs_it(endpoint, connection_id, data, keys, token, region):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), (*keys, token), strict=True):
            if value:
                patch.setenv(f"AWS_{name}", value)
        patch.setenv("AWS_DEFAULT_REGION", region)
        head, _, body = sigv4.Signer(endpoint, data).request(connection_id).partition(b"\r\n\r\n")
    assert body == data
    line, *lines = head.decode().split("\r\n")
    fields = dict(field.split(": ", 1) for field in lines)
    method, path, version = line.split(" ")
    assert (method, version) == ("POST", "HTTP/1.1")
    assert fields["content-length"] == str(len(data))

    url = urlsplit(endpoint)
    request = AWSRequest("POST", f"{url.scheme}://{url.netloc}{path}", data=data)
    request.headers["Content-Type"] = "application/octet-stream"
    with pytest.MonkeyPatch.context() as patch:
        now = SimpleNamespace(strftime=lambda _: fields["x-amz-date"])
        patch.setattr("botocore.auth.get_current_datetime", lambda **_: now)
        SigV4Auth(Credentials(*keys, token), "execute-api", region).add_auth(request)
    assert fields["authorization"] == request.headers["Authorization"]
    assert fields["x-amz-date"] == request.headers["X-Amz-Date"]
    assert fields.get("x-amz-security-token") == request.headers["X-Amz-Security-Token"]


# --- retries and responses -------------------------------------------------------------------------------------------


def test_what_is_retried_and_after_which_backoff_is_boto3s(monkeypatch):
    assert set(standard.TransientRetryableChecker._TRANSIENT_STATUS_CODES) == pacing.TRANSIENT_STATUSES
    assert set(standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES) == pacing.TRANSIENT_CODES
    assert set(standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES) == pacing.THROTTLING_CODES
    monkeypatch.setattr("random.random", lambda: 0.25)
    theirs = standard.ExponentialBackoff(random=lambda: 0.25)
    for attempt in range(1, 8):
        context = standard.RetryContext(attempt_number=attempt)
        assert pacing.backoff_s(attempt) == theirs.delay_amount(context)


def test_a_response_is_whole_at_its_end_and_not_before():
    data = b'HTTP/1.1 410 Gone\r\nContent-Type: x\r\ncontent-LENGTH: 11\r\nX-Amzn-errortype: Gone\r\n\r\n{"a": "bc"}'
    assert [parse_response(data[:end]) for end in range(len(data))] == [None] * len(data)
    status, fields, body, is_reusable = parse_response(data)
    assert (status, body, is_reusable) == (410, b'{"a": "bc"}', True)
    assert fields[b"x-amzn-errortype"] == b"Gone"


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
    ],
)
def test_a_connection_is_used_again_if_the_responses_end_is_known(data, reusable):
    status, _, _, is_reusable = parse_response(data)
    assert 200 <= status < 300
    assert is_reusable == reusable


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000])
def test_what_is_not_http_is_an_error(data):
    with pytest.raises(ValueError):
        parse_response(data)


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (b"GoneException", b'{"message": "left"}', ("GoneException", "left")),
        (b"a.b#LimitExceededException:http://x", b"{}", ("LimitExceededException", "")),
        (None, b'{"__type": "a#B", "Message": "no"}', ("B", "no")),
        (None, b"<html>", ("", "")),
        (None, b"[1]", ("", "")),
    ],
)
def test_an_errors_code_and_message_are_found_where_botocore_finds_them(kind, body, expected):
    assert parse_error({b"x-amzn-errortype": kind} if kind else {}, body) == expected
