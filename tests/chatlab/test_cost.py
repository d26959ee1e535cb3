"""Quantities times prices, checked against sums that can be done by hand."""

import inspect
import re

import pytest

from chatlab import cost, limits
from chatlab.paths import ROOT
from tests.support.cells import cells


def test_ten_broadcasts_a_second_to_a_thousand_connections_are_36_million_messages_an_hour():
    bill = cost.estimate(connections=1000, broadcasts=36_000, minutes=60)
    assert bill.quantities["WebSocket messages"] == 36_036_000
    assert bill.quantities["connection minutes"] == 60_000
    assert bill.table.loc["WebSocket messages", "dollars"] == pytest.approx(36.036)


def test_a_bill_is_the_sum_of_its_rows():
    bill = cost.estimate(connections=100, broadcasts=10, payload_bytes=200, minutes=1)
    by_hand = {
        "WebSocket messages": 1010 * 1.00e-6,
        "connection minutes": 100 * 0.25e-6,
        "Lambda requests": 210 * 0.20e-6,
        # 100 calls of 10 ms each with 0.5 and 0.25 GB, and ten that post to 100 connections at 8,000 a second
        "Lambda GB-seconds": (100 * 0.010 * 0.75 + 10 * 0.0125 * 1769 / 1024) * 0.0000133334,
        "DynamoDB read units": 10 * 3 / 2 * 0.125e-6,  # 11 KB are three units, and half are charged
        "DynamoDB write units": 200 * 0.625e-6,
        "log GB": 210 * 700 / 1e9 * 0.50,
        "metric months": 10 / 730 * 0.30,  # ten metrics for one hour
        "GB out": 1000 * 240 / 1e9 * 0.09,
    }
    rows = bill.table["dollars"]
    assert rows.drop("in all").to_dict() == pytest.approx(by_hand)
    assert rows["in all"] == pytest.approx(bill.dollars) == pytest.approx(sum(by_hand.values()))


@pytest.mark.parametrize(("payload_bytes", "steps"), [(1, 1), (32_768, 1), (32_769, 2), (131_072, 4)])
def test_messages_are_metered_in_steps_of_32_kb(payload_bytes, steps):
    bill = cost.estimate(connections=9, broadcasts=1, payload_bytes=payload_bytes)
    assert bill.quantities["WebSocket messages"] == 10 * steps


def test_a_begun_minute_of_a_connection_counts():
    assert cost.estimate(connections=7, broadcasts=1, minutes=1.01).quantities["connection minutes"] == 14


def test_each_metric_of_the_log_line_costs_for_each_hour_that_has_begun():
    assert cost.estimate(connections=1, broadcasts=1, minutes=61).quantities["metric months"] == 2 * 10 / 730


def test_shards_cost_calls_and_no_more_time_of_posting():
    one, ten = (cost.estimate(connections=100_000, broadcasts=1, shards=shards).quantities for shards in (1, 10))
    assert ten["Lambda requests"] - one["Lambda requests"] == 9
    assert ten["Lambda GB-seconds"] == pytest.approx(one["Lambda GB-seconds"])


def test_a_broadcast_is_assumed_to_post_as_fast_as_notebook_03_lets_it():
    parameters = limits.DEFAULT
    assert min(parameters.posts_per_s, parameters.shared_per_s) == cost.POSTS_PER_SECOND
    assert (parameters.share, parameters.requests_per_s) == (cost.POSTS_SHARE, cost.REQUESTS_PER_S)
    assert (parameters.hand_over_s, parameters.timeout_s) == (cost.HAND_OVER_S, cost.TIMEOUT_S)


def test_bills_are_added():
    one = cost.estimate(connections=10, broadcasts=2)
    assert (one + one).dollars == pytest.approx(2 * one.dollars)


WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.mark.parametrize("page", ["README.md", "docs/aws.md"])  # notebook 00 computes it
def test_the_pages_say_what_the_whole_lab_costs_as_it_is_computed(page):
    """The sum, of it notebook 07's and 06's part, and what a busy room costs."""
    text = " ".join((ROOT / page).read_text().split())
    costs = [
        cost.estimate_whole_lab().dollars,
        cost.estimate_comparison(cost.COMPARISON_STEPS, cost.COMPARISON_BROADCASTS_PER_S).dollars,
        cost.estimate(**cost.LOAD_TEST).dollars,
    ]
    whole, comparison, load_test = (WORDS[round(100 * dollars)] for dollars in costs)
    parts = f"{comparison} for the comparison in notebook 07, {load_test} for the load test"
    assert f"about {whole} cents: {parts}" in text
    hour = cost.estimate(connections=1_000, broadcasts=36_000, minutes=60).quantities["WebSocket messages"]
    assert f"{1e-6 * hour:.0f} dollars an hour" in text


def code_of(name):
    """All code of a notebook."""
    return "\n".join(cells(name))


def value(code, pattern):
    """The number that stands behind a pattern in the code."""
    return float(re.search(rf"^ *{pattern}([\d.]+)", code, re.MULTILINE)[1])


def test_the_load_that_is_priced_beforehand_is_that_of_the_notebooks():
    load_test, scaling = code_of("06_load_test"), code_of("07_scaling")
    connections, broadcasts, warm_up = (value(load_test, f"{of} = ") for of in ("CONNECTIONS", "BROADCASTS", "WARM_UP"))
    assert (connections, broadcasts + warm_up) == (cost.LOAD_TEST["connections"], cost.LOAD_TEST["broadcasts"])
    each = inspect.signature(cost.estimate_comparison).parameters["broadcasts_each"].default
    assert value(scaling, "BROADCASTS = ") + 1 == each
    assert "for part in (16, 8, 4, 2, 1)" in scaling
    assert cost.COMPARISON_STEPS["fanout"] == [1_000 // part for part in (16, 8, 4, 2, 1)]
    assert cost.COMPARISON_STEPS["sequential"] == cost.COMPARISON_STEPS["fanout"][:3]
    assert 'RATE = {"fanout": 3, "sequential": 0.25}' in scaling


def test_the_load_is_well_below_what_the_stage_takes():
    stage, load_test, scaling = (code_of(name) for name in ("04_websocket_api", "06_load_test", "07_scaling"))
    limit = 'ThrottlingRateLimit": '
    messages, connects = (value(stage, rf'{route} = {{"{limit}') for route in ("messages", "connects"))
    at_once = value(stage, rf'connects = {{"{limit}[\d.]+, "ThrottlingBurstLimit": ')
    assert (
        2 * value(load_test, r"BROADCAST_RATE = min\(") < messages
        and 2 * max(cost.COMPARISON_BROADCASTS_PER_S.values()) < messages
    )
    assert (
        2 * value(load_test, r"SPAWN_RATE = min\(") <= connects
        and 2 * value(scaling, r"SPAWN_RATE = min\(") <= connects
    )
    assert cost.COMPARISON_STEPS["fanout"][-1] <= at_once, "everybody leaves at once"


def test_a_stranger_is_bounded_by_what_the_stage_takes():
    bill = cost.estimate_abuse(connections=10, messages_per_s=20, connects_per_s=0)
    assert bill.quantities["WebSocket messages"] == pytest.approx(3600 * 20 * 11)
    assert bill.quantities["connection minutes"] == pytest.approx(600)
    same = cost.estimate(connections=10, broadcasts=3600 * 20, minutes=60)  # but they connect, and leave, only once
    what = bill.table["dollars"].drop(["Lambda GB-seconds", "in all"])
    assert what.sum() == pytest.approx(same.table["dollars"].drop(["Lambda GB-seconds", "in all"]).sum(), rel=0.02)
    # And some do not read: each broadcast may try until its time is over.
    assert bill.quantities["Lambda GB-seconds"] == pytest.approx(3600 * 20 * cost.TIMEOUT_S * 1769 / 1024)


def test_coming_and_going_is_a_function_two_writes_and_a_minute_each():
    bill = cost.estimate_abuse(connections=0, messages_per_s=0, connects_per_s=200)
    assert bill.quantities["Lambda requests"] == 2 * 720_000 == bill.quantities["DynamoDB write units"]
    assert bill.quantities["connection minutes"] == 720_000
    assert bill.quantities["WebSocket messages"] == 0


@pytest.mark.parametrize(("requests_per_s", "concurrency"), [(10_000, 1_000), (2_500, 1_000), (10_000, 10)])
@pytest.mark.parametrize("connections", [1_000, 100_000])
def test_above_the_quota_it_is_the_quota_and_functions_that_wait_for_it(connections, requests_per_s, concurrency):
    bill = cost.estimate_abuse(connections, 20, 0, requests_per_s=requests_per_s, concurrency=concurrency)
    assert bill.quantities["WebSocket messages"] == 3600 * requests_per_s
    waiting = min(concurrency, 20 * (18 + 30))
    assert bill.quantities["Lambda GB-seconds"] == pytest.approx(3600 * waiting * 1769 / 1024)


def test_a_strangers_bill_grows_with_whatever_he_is_given():
    def dollars(**more):
        return cost.estimate_abuse(**{"connections": 100, "messages_per_s": 20, "connects_per_s": 200} | more).dollars

    least = dollars()
    for more in ({"connections": 200}, {"messages_per_s": 40}, {"connects_per_s": 400}, {"payload_bytes": 131_072}):
        assert dollars(**more) > least, more
    ascending = [dollars(connections=number) for number in (10, 100, 400, 499, 500, 501, 1_000, 10_000)]
    assert ascending == sorted(ascending)


def test_a_shown_bill_has_no_more_digits_than_are_known():
    shown = cost.estimate(**cost.LOAD_TEST).shown
    assert shown.loc["WebSocket messages"].tolist() == ["4,422", "1 a million", "0.0044"]
    assert shown.loc["metric months"].tolist() == ["0.0137", "0.30", "0.0041"]
    assert shown.loc["Lambda GB-seconds", "price in US dollars"] == "13.3 a million"
    assert shown.loc["DynamoDB read units", "US dollars"] == "under 0.0001"
    assert shown.loc["in all"].tolist() == ["", "", f"{cost.estimate(**cost.LOAD_TEST).dollars:.4f}"]
