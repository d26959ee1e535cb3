"""The account's quotas, and the forecast against what can be computed by hand.

One account answers with its quotas, another refuses. botocore's Stubber makes these answers: no machine here has an
account.
"""

import math
from dataclasses import replace
from importlib import import_module

import boto3
import pytest

from chatlab import limits
from tests.support.stubs import answering

REGION = "eu-south-1"


class Account:
    """A stand-in for a lab, whose clients give these answers."""

    region = REGION

    def __init__(self, **answers):
        self._answers = answers

    def client(self, service):
        client = boto3.client(service, region_name=REGION, aws_access_key_id="none", aws_secret_access_key="none")
        return answering(client, self._answers[service.replace("-", "_")])


def account(requests="AccessDeniedException", connects="AccessDeniedException", concurrency="AccessDeniedException"):
    return Account(
        apigateway=("get_account", requests),
        service_quotas=("get_service_quota", connects),
        **{"lambda": ("get_account_settings", concurrency)},
    )


def test_what_the_account_tells_is_taken():
    found = limits.read_quotas(
        account(
            {"throttleSettings": {"rateLimit": 40_000.0, "burstLimit": 20_000}},
            {"Quota": {"Value": 1_200.0}},
            {"AccountLimit": {"ConcurrentExecutions": 60, "UnreservedConcurrentExecutions": 50}},
        )
    )
    assert (found.requests_per_s, found.connects_per_s, found.concurrency) == (40_000, 1_200, 50)
    assert all(found.is_live(name) for name in found.sources)
    assert [row["value"] for row in found.rows] == ["40,000", "1,200", "50"]


def test_what_it_may_not_be_asked_is_awss_default_of_the_region_and_says_why():
    found = limits.read_quotas(account(requests={}))  # an answer without the figure
    assert (found.requests_per_s, found.connects_per_s, found.concurrency) == (2_500, 500, 10)
    assert limits.default_requests_per_s("us-east-1") == 10_000
    assert not any(found.is_live(name) for name in found.sources)
    assert [row["from"] for row in found.rows[:2]] == [
        "AWS's default (apigateway get_account: no answer)",
        "AWS's default (Service Quotas L-9ED1E49A: AccessDeniedException)",
    ]


def test_connects_a_second_are_half_of_concurrency_by_duration_and_less_than_api_gateway_takes():
    account = limits.Quotas(10_000, 500, 10, {})
    assert account.max_connects_per_s(0.05) == 100
    assert account.max_connects_per_s(0.001) == 450


# Nothing but the limit that a test is about: everything else takes no time.
PLAIN = replace(
    limits.DEFAULT, arrive_ms=0, page_ms=0, item_ms=0, invoke_ms=0, begin_ms=0, cold_ms=0, requests_per_s=1e15,
    timeout_s=1e6, in_flight=32, kept=32, cpu_ms=1e-12, opening_ms=1e-9, opening_wait_ms=0, check_ms=0, share=1.0,
)  # fmt: skip
COLD = replace(PLAIN, kept=0, in_flight=1_000)


def last_s(parameters, connections, shards=1):
    return limits.forecast(parameters, connections, shards).last_s


def test_posts_under_way_divided_by_the_round_trip_is_the_rate_and_shards_divide_the_posting():
    assert last_s(PLAIN, 32) == pytest.approx(0.01)
    assert last_s(replace(PLAIN, kept=64), 64) == pytest.approx(0.02), "no more at a time than in_flight"
    for shards in (1, 4):
        assert last_s(PLAIN, 32_000, shards) == pytest.approx(10 / shards)


def test_the_thread_makes_no_more_posts_than_its_cpu_allows_which_goes_with_memory():
    small = replace(PLAIN, memory_mb=256, cpu_ms=0.06, item_ms=0.04)
    assert small.posts_per_s == pytest.approx(256 / 1769 / 0.1 * 1000)
    assert last_s(small, 10_000) == pytest.approx(10_000 / small.posts_per_s, rel=0.01)
    assert replace(small, memory_mb=3_538).cpu == 1, "one thread can't use a second CPU"


def test_at_first_few_posts_are_under_way_and_each_round_trip_allows_twice_as_many():
    assert last_s(COLD, 32 + 64 + 128 + 256) == pytest.approx(4 * 0.01, rel=0.02)
    assert last_s(COLD, 4 * 8, shards=4) == pytest.approx(0.01, rel=0.02), "shards share the first window"
    assert last_s(COLD, 32 * (2 + 4 + 8 + 16), shards=32) == pytest.approx(4 * 0.01, rel=0.05), "two each, at least"


def test_connections_are_opened_as_long_as_one_more_pays_off():
    # 100 answers that wait for 10 ms, and for the first 32 connections' opening, are worth 4,200 ms: with k open, one
    # more saves 4,200/k(k + 1) of them, and costs 1.
    assert last_s(replace(COLD, opening_ms=1.0), 100) == pytest.approx(math.sqrt(4_200) / 1000 + 0.01, rel=0.01)
    assert last_s(replace(COLD, opening_ms=1.0), 10_000) == pytest.approx(math.sqrt(420_000) / 1000 + 0.01, rel=0.01)
    few = replace(COLD, opening_ms=1.0, in_flight=40)  # so round trips bind, and half of the opening
    assert last_s(few, 10_000) == pytest.approx(10_000 / 40 * 0.01 + 0.02, rel=0.01)
    half = limits.forecast(replace(few, memory_mb=1769 / 2), 10_000)
    assert half.parts_s[limits.OPENING] == pytest.approx(0.08), "with half of a CPU each takes twice as long"


def test_a_connection_that_is_kept_need_not_be_opened_only_looked_at():
    slow = replace(COLD, opening_wait_ms=100, opening_ms=1.0, check_ms=0.1)
    assert limits.forecast(slow, 50).parts_s[limits.OPENING] > 0.14
    assert last_s(replace(slow, kept=50), 50) == pytest.approx(0.015, rel=0.01)
    assert limits.forecast(limits.DEFAULT, 1_000).binds == limits.OPENING, "of a room's first broadcast, it is most"


def test_posts_leave_at_the_broadcasts_share_of_the_quota():
    p = replace(PLAIN, requests_per_s=10_000, share=0.8, post_ms=1)
    for shards in (1, 10):
        assert last_s(p, 30_000, shards) == pytest.approx(30_000 / 8_000 + 0.001)
    assert limits.forecast(p, 30_000).binds == limits.QUOTA


def test_who_does_not_know_the_quota_empties_the_bucket_and_then_takes_what_flows_in():
    p = replace(PLAIN, requests_per_s=10_000, share=math.inf, post_ms=1)
    assert last_s(p, 30_000) == pytest.approx(2.5 + 0.001)
    assert last_s(p, 5_000) == pytest.approx(5_000 / 32 * 0.001), "the bucket has them all"


def test_a_time_out_leaves_the_rest_unreached():
    p = replace(PLAIN, timeout_s=5, hand_over_s=0, reserve_s=2)
    found = limits.forecast(p, 19_200)
    assert (found.last_s, found.unreached) == (3, 9_600)
    assert limits.forecast(p, 9_600).unreached == 0
    million = replace(p, requests_per_s=10_000, timeout_s=62)
    assert limits.forecast(million, 1_000_000, shards=100).unreached == pytest.approx(400_000, rel=0.001)


def test_who_is_handed_over_has_an_invocations_whole_time_and_shards_hand_over_nothing():
    p = replace(PLAIN, timeout_s=20, hand_over_s=10, reserve_s=2)
    assert limits.forecast(p, 3_200 * 28).unreached == 0
    assert limits.forecast(p, 3_200 * 30).unreached == pytest.approx(6_400)
    assert limits.forecast(p, 2 * 3_200 * 28, shards=2).unreached == pytest.approx(10 * 3_200)


def test_reading_binds_where_it_is_slow():
    p = replace(PLAIN, page_ms=100, largest_page=100, page_growth=1)
    assert last_s(p, 3_000) == pytest.approx(30 * 0.1 + 0.01)
    assert limits.forecast(p, 3_000).binds == limits.READING
    for connections, pages in ((100 + 400 + 1_600 + 2_500, 4), (100 + 400 + 1_600 + 2 * 2_500, 5)):
        assert last_s(replace(PLAIN, page_ms=100, post_ms=1), connections) == pytest.approx(pages * 0.1 + 0.001)
    # One page, and the posts of it that begin when it has been read.
    assert last_s(replace(PLAIN, page_ms=100), 100) == pytest.approx(0.1 + 100 / 32 * 0.01)


def test_shards_begin_when_they_were_asked_for_and_are_warm():
    p = replace(PLAIN, invoke_ms=20, begin_ms=50, cold_ms=600)
    assert limits.started_s(p, 0) == 0
    assert limits.started_s(p, 1) == limits.started_s(p, 16) == pytest.approx(0.67)
    assert limits.started_s(p, 17) == pytest.approx(0.69)
    assert limits.started_s(replace(p, page_ms=5, item_ms=0.01), 1) == pytest.approx(0.67 + 0.006), (
        "after the first page"
    )
    assert last_s(p, 64, shards=2) == pytest.approx(0.68)
    assert limits.forecast(p, 64, shards=2).binds == limits.STARTING


def test_beyond_lambdas_concurrency_the_next_thousand_wait_ten_seconds():
    assert [limits.started_s(PLAIN, shard) for shard in (999, 1_000, 2_000)] == [0, 10, 20]


def test_a_sweep_is_a_row_for_each_pair_with_a_band():
    table = limits.sweep(limits.DEFAULT, [100, 1_000], [1, 10])
    assert table[["connections", "shards"]].values.tolist() == [[100, 1], [100, 10], [1_000, 1], [1_000, 10]]
    assert not table["unreached"].any()
    for _, row in table.iterrows():
        low, own, high = (
            last_s(replace(limits.DEFAULT, post_ms=ms), row.connections, row.shards) for ms in (5, 10, 25)
        )
        assert (row["low_s"], row["last_s"], row["high_s"]) == (low, own, high)
        assert low < own < high
    assert limits.DEFAULT.table().loc["requests_per_s", "value"] == 10_000


def test_what_the_forecast_knows_of_the_function_is_what_the_function_does(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    broadcast, p = import_module("lambda_broadcast"), limits.DEFAULT
    pages = (broadcast.FIRST_PAGE_ITEMS, broadcast.PAGE_GROWTH, broadcast.MAX_PAGE_ITEMS)
    assert pages == (p.first_page, p.page_growth, p.largest_page)
    assert (p.hand_over_s, p.reserve_s) == (broadcast.HAND_OVER_S, broadcast.RESERVE_S)
    assert p.invokes_at_a_time == broadcast.MAX_CONCURRENCY
