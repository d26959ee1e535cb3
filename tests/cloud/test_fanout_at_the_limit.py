"""The broadcast against an endpoint as AWS's looks: TLS, a delay, a quota, peers that misbehave.

What was delivered and refused is what the endpoint has counted.
"""

import socket
import threading
import time

import event_loop
import http_pool
import pytest
from fanout import Fanout

from benchmarks import api_gateway
from benchmarks.endpoint import Endpoint, Settings

SCHEMES = pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])


@pytest.fixture
def sender(monkeypatch):
    """`sender(url, ca_file)`: the environment of an invocation that has posted nothing yet."""
    for name, value in {"ACCESS_KEY_ID": "A" * 20, "SECRET_ACCESS_KEY": "none", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)

    def at(url, ca_file=None):
        monkeypatch.setenv("APIGatewayEndpoint", url)
        if ca_file:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(ca_file))
        http_pool.connection_pool.cache_clear()

    yield at
    http_pool.connection_pool.cache_clear()


@pytest.fixture
def gateway(sender):
    """`gateway(quotas=...)`: an endpoint with these settings, to which the environment points."""
    running = []

    def begin(**settings):
        context = api_gateway.run(Settings(**{"delay_ms": 2.0, "spread_ms": 0.5} | settings))
        running.append(context)
        opened = context.__enter__()
        sender(opened.url, opened.ca_file)
        return opened

    yield begin
    for context in running:
        context.__exit__(None, None, None)


def broadcast(number, seconds=20.0, name="id", **options):
    """Post to so many ids; the `Fanout`, and the seconds that it took."""
    started = time.monotonic()
    with Fanout(b"hello", started + seconds, **options) as posts:
        posts.post([f"{name}-{n}" for n in range(number)])
    counts = posts.outcomes.counts
    outcomes = counts["delivered"] + counts["gone"] + counts["failed"] + counts["unreached"]
    assert outcomes == counts["connections"] == number
    return posts, time.monotonic() - started


@SCHEMES
def test_everyone_is_reached_once_over_connections_that_are_kept(gateway, tls):
    endpoint = gateway(tls=tls)
    for _ in range(4):
        posts, _ = broadcast(300)
        assert posts.outcomes.counts["delivered"] == 300 and posts.outcomes.error is None
    report = endpoint.report()
    assert (report["posts"], report["delivered"], report["doubled"]) == (1_200, 300, 300)
    assert report["opened"] <= 300
    kept = http_pool.connection_pool(endpoint.url).idle
    assert 0 < len(kept) <= report["opened"]
    if tls:  # one handshake in full, or a few that began together
        assert sum(connection.socket.session_reused for connection in kept) > len(kept) / 2


@pytest.mark.parametrize("known", [240, None])
def test_a_quota_costs_time_and_nobody_is_lost_to_it(gateway, known):
    endpoint = gateway(quotas=((300, 150),))
    posts, _ = broadcast(900, posts_per_second=known)
    report = endpoint.report()
    assert posts.outcomes.counts["delivered"] == report["delivered"] == 900
    assert (report["doubled"], posts.outcomes.error) == (0, None)
    assert posts.outcomes.counts["throttled"] == posts.outcomes.counts["retried"] == report["refused"]
    assert report["refused"] == 0 if known else 0 < report["refused"] < 300


@pytest.mark.parametrize("share", [0.002, 0.03], ids=["one of 500", "some of 500"])
def test_clients_that_do_not_read_are_given_up_and_cost_the_others_no_time(gateway, share):
    """API Gateway refuses a post to a full buffer as it does one beyond the quota."""
    full = [f"id-{n}" for n in range(500) if Endpoint(Settings(full=share)).kind(b"id-%d" % n) == "full"]
    gateway()
    broadcast(500)
    _, usual_s = broadcast(500)
    endpoint, started = gateway(full=share), time.monotonic()
    with Fanout(b"hello", started + 20) as posts:
        posts.post([f"id-{n}" for n in range(500)])
        while posts.outcomes.counts["delivered"] < 500 - len(full) and time.monotonic() < started + 20:
            time.sleep(0.001)
        reached_s = time.monotonic() - started
    assert posts.outcomes.counts["delivered"] == endpoint.report()["delivered"] == 500 - len(full)
    assert sorted(posts.outcomes.slow_consumers) == sorted(full) != []
    assert posts.outcomes.counts["failed"] == len(full) and "does not read" in posts.outcomes.error
    assert endpoint.report()["refused"] <= 30 * len(full)
    assert reached_s < 5 * usual_s + 0.5  # connections included; if it slowed down as for a quota, 2 s and more


def test_invocations_share_what_is_known(gateway):
    gateway(delay_ms=0)
    _, seconds = broadcast(200, posts_per_second=400, invocations=2)
    assert 0.9 < seconds < 3  # 200 a second for each


@SCHEMES
def test_a_peer_that_says_nothing_holds_nobody_and_the_deadline_is_kept(gateway, tls):
    settings = {"tls": tls, "silent": 0.05}
    endpoint = gateway(**settings)
    silent = sum(Endpoint(Settings(**settings)).kind(b"id-%d" % n) == "silent" for n in range(300))
    posts, seconds = broadcast(300, seconds=1.5)
    assert posts.outcomes.counts["delivered"] == endpoint.report()["delivered"] == 300 - silent
    assert posts.outcomes.counts["failed"] == silent > 0
    assert "TimeoutError" in posts.outcomes.error
    assert 1.5 <= seconds < 2.5


@SCHEMES
def test_who_left_and_who_fails_is_told_apart(gateway, tls, monkeypatch):
    monkeypatch.setattr(event_loop, "backoff_s", lambda attempt: 0)
    settings = {"tls": tls, "gone": 0.1, "error": 0.03, "reset": 0.03}
    endpoint = gateway(**settings)
    kinds = {f"id-{n}": Endpoint(Settings(**settings)).kind(b"id-%d" % n) for n in range(400)}
    of = {kind: [name for name, its in kinds.items() if its == kind] for kind in ("gone", "error", "reset", "here")}
    posts, _ = broadcast(400)
    assert sorted(posts.outcomes.gone) == sorted(of["gone"])
    assert posts.outcomes.counts["failed"] == len(of["error"]) + len(of["reset"])
    assert posts.outcomes.counts["delivered"] == endpoint.report()["delivered"] == len(of["here"])
    assert endpoint.report()["statuses"]["500"] == 4 * len(of["error"])


@pytest.mark.parametrize("settings", [{"close_after": 3}, {"idle_s": 0.2}], ids=str)
def test_a_connection_that_the_server_closes_costs_nobody_a_message(gateway, settings):
    endpoint = gateway(**settings)
    for _ in range(2):
        posts, _ = broadcast(200)
        assert posts.outcomes.counts["delivered"] == 200
        assert posts.outcomes.counts["retried"] == 0
        time.sleep(0.5)
    assert endpoint.report()["posts"] == 400


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_server_that_accepts_and_says_nothing_is_given_up(sender, monkeypatch, scheme):
    monkeypatch.setattr(event_loop, "CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(event_loop, "READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr(event_loop, "backoff_s", lambda attempt: 0)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as nobody:
        sender(f"{scheme}://127.0.0.1:{nobody.getsockname()[1]}/production")
        posts, seconds = broadcast(3, seconds=10)
    assert posts.outcomes.counts["failed"] == 3
    assert "TimeoutError" in posts.outcomes.error
    assert seconds < 8


def test_a_peer_that_sends_drop_by_drop_is_given_up(sender, monkeypatch):
    """Each byte is an answer's part, and no reason to wait any longer."""
    monkeypatch.setattr(event_loop, "READ_TIMEOUT_S", 0.5)
    monkeypatch.setattr(event_loop, "MAX_ATTEMPTS", 1)

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
    assert posts.outcomes.counts["failed"] == 1 and seconds < 3


def test_where_no_connection_can_be_begun_each_post_has_its_attempts(gateway, monkeypatch):
    """As without a network, or without a file descriptor."""
    gateway()
    monkeypatch.setattr(event_loop, "backoff_s", lambda attempt: 0)
    tried = []

    def refuse(pool):
        tried.append(pool)
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(http_pool.ConnectionPool, "open", refuse)
    posts, _ = broadcast(3)
    assert posts.outcomes.counts["failed"] == 3 and len(tried) == 3 * 4
    assert "Network is unreachable" in posts.outcomes.error


def test_credentials_that_are_gone_half_way_are_told(gateway, monkeypatch):
    gateway()
    monkeypatch.setattr(event_loop, "SIGNATURE_LIFETIME_S", 0.2)
    with Fanout(b"x", time.monotonic() + 10, posts_per_second=100) as posts:
        posts.post([f"id-{n}" for n in range(100)])
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert posts.outcomes.counts["delivered"] > 0 and posts.outcomes.counts["failed"] > 0
    assert posts.outcomes.counts["delivered"] + posts.outcomes.counts["failed"] == 100
    assert "credentials" in posts.outcomes.error


def test_a_name_that_nobody_has_is_one_line(sender):
    sender("https://nobody.invalid/production")
    posts, _ = broadcast(50, seconds=5)
    assert posts.outcomes.counts["failed"] == 50
    assert posts.outcomes.error.startswith("no answer ")


def test_without_credentials_nothing_is_begun(gateway, monkeypatch):
    endpoint = gateway()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Exception, match="redential"), Fanout(b"x", time.monotonic() + 5) as posts:
        posts.post(["a"])
    assert endpoint.report()["posts"] == 0


def test_after_the_deadline_nothing_is_begun(gateway):
    endpoint = gateway()
    posts, seconds = broadcast(50, seconds=0.0)
    assert posts.outcomes.counts["unreached"] == 50
    assert endpoint.report()["posts"] == 0
    assert seconds < 1


def test_a_page_that_is_read_after_the_deadline_is_not_reached_and_no_error(gateway):
    endpoint = gateway()
    with Fanout(b"x", time.monotonic() + 0.3) as posts:
        for page in range(4):
            posts.post([f"{page}-{n}" for n in range(10)])
            time.sleep(0.2)
    assert (posts.outcomes.counts["delivered"], posts.outcomes.counts["unreached"]) == (20, 20)
    assert endpoint.report()["delivered"] == 20


def test_who_posts_waits_while_many_are_still_waiting(gateway, monkeypatch):
    gateway(delay_ms=0)
    monkeypatch.setattr("post_queue.MAX_READY", 50)
    started = time.monotonic()
    with Fanout(b"x", started + 10, posts_per_second=200) as posts:
        posts.post([f"a-{n}" for n in range(40)])
        assert time.monotonic() - started < 0.15
        posts.post([f"b-{n}" for n in range(150)])
        assert posts.outcomes.counts["delivered"] >= 100
        assert time.monotonic() - started < 8, "it has waited for the deadline"
    assert posts.outcomes.counts["delivered"] == 190


def test_nobody_waits_for_a_broadcast_that_has_ended(gateway, monkeypatch):
    endpoint = gateway()
    monkeypatch.setattr("post_queue.MAX_READY", 0)
    monkeypatch.delenv("AWS_CA_BUNDLE")
    http_pool.connection_pool.cache_clear()
    started = time.monotonic()
    with Fanout(b"x", started + 30) as posts:
        for page in range(3):
            posts.post([f"{page}-{n}" for n in range(10)])
    assert posts.outcomes.counts["failed"] == 30 and "SSLCertVerificationError" in posts.outcomes.error
    assert endpoint.report()["posts"] == 0
    assert time.monotonic() - started < 10


def test_nobody_to_post_to_is_nothing_to_do(gateway):
    endpoint = gateway()
    with Fanout(b"x", time.monotonic() + 5) as posts:
        posts.post([])
    assert posts.outcomes.counts["connections"] == 0
    assert endpoint.report()["opened"] == 0


def test_a_long_broadcast_is_signed_anew(gateway, monkeypatch):
    gateway()
    made = []
    monkeypatch.setattr(event_loop, "SIGNATURE_LIFETIME_S", 0.2)
    monkeypatch.setattr(event_loop, "Signer", lambda *arguments: made.append(time.monotonic()) or SIGNER(*arguments))
    posts, _ = broadcast(100, posts_per_second=100)
    assert posts.outcomes.counts["delivered"] == 100
    assert 3 <= len(made) <= 7


SIGNER = event_loop.Signer


def test_after_a_throttle_the_next_broadcast_begins_as_carefully_as_the_first(gateway):
    pool = http_pool.connection_pool(gateway(quotas=((300, 150),)).url)
    broadcast(100)
    assert pool.window > http_pool.INITIAL_WINDOW
    assert broadcast(300)[0].outcomes.counts["throttled"]
    assert pool.window == http_pool.INITIAL_WINDOW


@pytest.mark.parametrize("connection_id", ["a/b", "a b", "ü%20", "?#&=+@:;,", "…" * 30], ids=ascii)
def test_an_id_of_any_characters_is_posted_to(gateway, connection_id):
    endpoint = gateway()
    with Fanout(b"x", time.monotonic() + 5) as posts:
        posts.post([connection_id])
    assert posts.outcomes.counts["delivered"] == endpoint.report()["delivered"] == 1
