"""The broadcast at the limit: a quota of posts a second, and clients that do not read, both of which are a 429."""

import time

import pytest
from fanout import Fanout
from fanout.http_connections import INITIAL_WINDOW, connection_pool

from benchmarks.endpoint import Endpoint, Settings
from tests.support.gateway import broadcast


@pytest.mark.parametrize(("known", "number"), [(240, 500), (None, 900)])
def test_a_quota_costs_time_and_nobody_is_lost_to_it(gateway, known, number):
    endpoint = gateway(quotas=((300, 150),))
    posts, _ = broadcast(number, posts_per_second=known)
    report = endpoint.report()
    assert posts.outcome.delivered == report["delivered"] == number
    assert (report["doubled"], posts.outcome.error) == (0, None)
    assert posts.outcome.throttled == posts.outcome.retried == report["refused"]
    assert report["refused"] == 0 if known else 0 < report["refused"] < number / 3


def test_after_a_throttle_the_next_broadcast_begins_as_carefully_as_the_first(gateway):
    pool = connection_pool(gateway(quotas=((20, 110),)).url)
    broadcast(100)
    assert pool.first_window > INITIAL_WINDOW
    assert broadcast(30)[0].outcome.throttled
    assert pool.first_window == INITIAL_WINDOW


@pytest.mark.parametrize("share", [0.002, 0.03], ids=["one of 500", "some of 500"])
def test_clients_that_do_not_read_are_given_up_and_cost_the_others_no_time(gateway, monkeypatch, share):
    """API Gateway refuses a post to a full buffer as it does one beyond the quota."""
    monkeypatch.setattr("fanout.pacing.MAX_THROTTLE_BACKOFF_S", 0.05)
    full = [f"id-{n}" for n in range(500) if Endpoint(Settings(full=share)).kind(b"id-%d" % n) == "full"]
    gateway()
    broadcast(500)
    _, usual_s = broadcast(500)
    endpoint, started = gateway(full=share), time.monotonic()
    with Fanout(b"hello", started + 20) as posts:
        posts.post([f"id-{n}" for n in range(500)])
        while posts.outcome.delivered < 500 - len(full) and time.monotonic() < started + 20:
            time.sleep(0.001)
        reached_s = time.monotonic() - started
    assert posts.outcome.delivered == endpoint.report()["delivered"] == 500 - len(full)
    assert sorted(posts.outcome.slow_ids) == sorted(full) != []
    assert posts.outcome.failed == len(full) and "does not read" in posts.outcome.error
    assert endpoint.report()["refused"] <= 30 * len(full)
    assert reached_s < 5 * usual_s + 0.5  # connections included; if it slowed down as for a quota, 2 s and more


def test_invocations_share_what_is_known(gateway):
    gateway(delay_ms=0)
    _, seconds = broadcast(200, posts_per_second=800, invocations=2)
    assert 0.45 < seconds < 3  # 400 a second for each


def test_who_posts_waits_while_many_are_still_waiting(gateway, monkeypatch):
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
