"""The broadcast and its peers: servers that are silent, slow, broken or closed, credentials that are gone, no time."""

import socket
import threading
import time

import pytest
from fanout import Fanout, http_connections, pacing, posting, sigv4
from fanout.http_connections import ConnectionPool, close_pools, connection_pool

from benchmarks.endpoint import Endpoint, Settings
from chatlab import poll
from tests.support.functions import connections_endpoint
from tests.support.gateway import broadcast

SCHEMES = pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])


@SCHEMES
def test_everyone_is_reached_once_over_connections_that_are_kept(gateway, tls):
    endpoint = gateway(tls=tls)
    for _ in range(4):
        posts, _ = broadcast(300)
        assert posts.outcome.delivered == 300 and posts.outcome.error is None
    report = endpoint.report()
    assert (report["posts"], report["delivered"], report["doubled"]) == (1_200, 300, 300)
    assert report["opened"] <= 300
    kept = connection_pool(endpoint.url).idle
    assert 0 < len(kept) <= report["opened"]
    if tls:  # one handshake in full, or a few that began together
        assert sum(connection.socket.session_reused for connection in kept) > len(kept) / 2


@SCHEMES
def test_a_peer_that_says_nothing_holds_nobody_and_the_deadline_is_kept(gateway, tls):
    settings, names = {"tls": tls, "silent": 0.05}, [f"id-{n}" for n in range(100)]
    endpoint = gateway(**settings)
    here = [name for name in names if Endpoint(Settings(**settings)).kind(name.encode()) != "silent"]
    with Fanout(b"hello", time.monotonic() + 20) as posts:  # opens connections, which takes a busy machine its time
        posts.post(here)
    endpoint.clear()
    posts, seconds = broadcast(len(names), seconds=1.5)
    assert posts.outcome.delivered == endpoint.report()["delivered"] == len(here)
    assert posts.outcome.failed == len(names) - len(here) > 0
    assert "TimeoutError" in posts.outcome.error
    assert 1.5 <= seconds < 2.5


@SCHEMES
def test_who_left_and_who_fails_is_told_apart(gateway, tls, monkeypatch):
    monkeypatch.setattr(pacing, "backoff_s", lambda attempt: 0)
    settings = {"tls": tls, "gone": 0.1, "error": 0.03, "reset": 0.03}
    endpoint = gateway(**settings)
    kinds = {f"id-{n}": Endpoint(Settings(**settings)).kind(b"id-%d" % n) for n in range(400)}
    of = {kind: [name for name, its in kinds.items() if its == kind] for kind in ("gone", "error", "reset", "here")}
    posts, _ = broadcast(400)
    assert sorted(posts.outcome.gone_ids) == sorted(of["gone"])
    assert posts.outcome.failed == len(of["error"]) + len(of["reset"])
    assert posts.outcome.delivered == endpoint.report()["delivered"] == len(of["here"])
    assert endpoint.report()["statuses"]["500"] == 4 * len(of["error"])


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
        assert len(connection_pool(server.url).idle) > pacing.MAX_ATTEMPTS
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


def test_of_all_attempts_one_is_excused_where_no_answer_comes(server):
    """It may be the answers that get lost: then each attempt is a copy."""
    server.statuses["again-0"] = [None] * 100
    posts, _ = broadcast(1, name="again")
    assert posts.outcome.failed == 1
    assert server.posts["again-0"] == pacing.MAX_ATTEMPTS + 1
    assert posts.outcome.retried == pacing.MAX_ATTEMPTS


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_server_that_accepts_and_says_nothing_is_given_up(sender, monkeypatch, scheme):
    monkeypatch.setattr(posting, "CONNECT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(posting, "READ_TIMEOUT_S", 0.1)
    monkeypatch.setattr(pacing, "backoff_s", lambda attempt: 0)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as nobody:
        sender(f"{scheme}://127.0.0.1:{nobody.getsockname()[1]}/production")
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


def test_where_no_connection_can_be_begun_each_post_has_its_attempts(gateway, monkeypatch):
    """As without a network, or without a file descriptor."""
    gateway()
    monkeypatch.setattr(pacing, "backoff_s", lambda attempt: 0)
    tried = []

    def refuse(pool, expires_at):
        tried.append(pool)
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(ConnectionPool, "open", refuse)
    posts, _ = broadcast(3)
    assert posts.outcome.failed == 3 and len(tried) == 3 * 4
    assert "Network is unreachable" in posts.outcome.error


def test_credentials_that_are_gone_half_way_are_told(gateway, monkeypatch):
    gateway()
    monkeypatch.setattr(sigv4, "LIFETIME_S", 0.2)
    with Fanout(b"x", time.monotonic() + 10, posts_per_second=100) as posts:
        posts.post([f"id-{n}" for n in range(100)])
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert posts.outcome.delivered > 0 and posts.outcome.failed > 0
    assert posts.outcome.delivered + posts.outcome.failed == 100
    assert "credentials" in posts.outcome.error


def test_a_name_that_nobody_has_is_one_line(sender):
    sender("https://nobody.invalid/production")
    posts, _ = broadcast(50, seconds=5)
    assert posts.outcome.failed == 50
    assert posts.outcome.error.startswith("no answer ")


def test_without_credentials_nothing_is_begun(gateway, monkeypatch):
    endpoint = gateway()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Exception, match="redential"), Fanout(b"x", time.monotonic() + 5) as posts:
        posts.post(["a"])
    assert endpoint.report()["posts"] == 0


def test_after_the_deadline_nothing_is_begun(gateway):
    endpoint = gateway()
    posts, seconds = broadcast(50, seconds=0.0)
    assert posts.outcome.unreached == 50
    assert endpoint.report()["posts"] == 0
    assert seconds < 1


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


def test_nobody_waits_for_a_broadcast_that_has_ended(gateway, monkeypatch):
    endpoint = gateway()
    monkeypatch.setattr("fanout.posting.MAX_READY", 0)
    monkeypatch.delenv("AWS_CA_BUNDLE")
    close_pools()
    started = time.monotonic()
    with Fanout(b"x", started + 30) as posts:
        for page in range(3):
            posts.post([f"{page}-{n}" for n in range(10)])
    assert posts.outcome.failed == 30 and "SSLCertVerificationError" in posts.outcome.error
    assert endpoint.report()["posts"] == 0
    assert time.monotonic() - started < 10


def test_nobody_waits_for_a_loop_that_has_ended_however_often_they_post(gateway, monkeypatch):
    """The loop hears of a post over a socket, which holds some hundred calls that nobody reads."""
    gateway()
    monkeypatch.delenv("AWS_CA_BUNDLE")
    close_pools()
    started = time.monotonic()
    with Fanout(b"x", started + 30) as posts:
        for number in range(1_000):
            posts.post([f"id-{number}"])
            assert time.monotonic() - started < 10
    assert posts.outcome.failed == 1_000 and "SSLCertVerificationError" in posts.outcome.error


def test_nobody_to_post_to_is_nothing_to_do(gateway):
    endpoint = gateway()
    with Fanout(b"x", time.monotonic() + 5) as posts:
        posts.post([])
    assert posts.outcome.connections == 0
    assert endpoint.report()["opened"] == 0


def test_a_long_broadcast_is_signed_anew(gateway, monkeypatch):
    gateway()
    made = []
    monkeypatch.setattr(sigv4, "LIFETIME_S", 0.1)
    sign = sigv4.Signer._sign
    monkeypatch.setattr(sigv4.Signer, "_sign", lambda signer: made.append(time.monotonic()) or sign(signer))
    posts, _ = broadcast(100, posts_per_second=200)
    assert posts.outcome.delivered == 100
    assert 3 <= len(made) <= 7


@pytest.mark.parametrize("connection_id", ["a/b", "a b", "ü%20", "?#&=+@:;,", "…" * 30], ids=ascii)
def test_an_id_of_any_characters_is_posted_to(gateway, connection_id):
    endpoint = gateway()
    with Fanout(b"x", time.monotonic() + 5) as posts:
        posts.post([connection_id])
    assert posts.outcome.delivered == endpoint.report()["delivered"] == 1
