"""What else could carry the chat, and what an hour of it costs there."""

import pytest

from chatlab import cost


def test_an_hour_of_a_busy_room_elsewhere():
    hour = cost.compare_alternatives(connections=1000, broadcasts_per_s=10)["dollars_per_hour"]
    out = 36e6 * 240 / 1e9 * 0.09
    assert hour["IoT Core"] == pytest.approx(36.036 + 60_000 * 0.08e-6 + out)
    assert hour["servers of your own"] == pytest.approx(2 * 0.145 + out)
    assert hour["API Gateway (this chat)"] == cost.estimate(1000, 36_000, minutes=60).dollars


def test_the_chats_own_line_is_the_bill_of_the_same_hour_at_whatever_prices():
    dear = {what: 1.7 * price for what, price in cost.PRICES.items()}
    options = {"payload_bytes": 300, "shards": 3, "posts_per_second": 777, "prices": dear}
    hour = cost.compare_alternatives(1000, 1, **options)["dollars_per_hour"]
    bill = cost.estimate(1000, 3600, minutes=60, **options)
    assert hour["API Gateway (this chat)"] == bill.dollars
    out = bill.table.loc["GB out", "dollars"]
    assert hour["IoT Core"] == pytest.approx(3600 * 1001 * 1.00e-6 + 60_000 * 0.08e-6 + out)
    assert hour["servers of your own"] == pytest.approx(2 * 0.145 + out)


def test_this_chat_delivers_what_the_accounts_quota_lets_it():
    assert cost.compare_alternatives(10, 1).loc["API Gateway (this chat)", "deliveries_per_s"] == 10_000
    low = cost.compare_alternatives(10, 1, requests_per_s=2_500)
    assert low.loc["API Gateway (this chat)", "deliveries_per_s"] == 2_500


def test_larger_messages_cost_more_where_the_steps_are_smaller():
    small, large = (cost.compare_alternatives(1000, 1, payload)["dollars_per_hour"] for payload in (5_000, 6_000))
    assert large["IoT Core"] > 1.9 * small["IoT Core"] - 10
    assert large["API Gateway (this chat)"] < 1.2 * small["API Gateway (this chat)"]


@pytest.mark.parametrize(
    ("connections", "broadcasts_per_s", "servers"),
    [
        (1, 1, 2),
        (7 * cost.SERVER_CONNECTIONS, 0.01, 7),
        (1000, 3 * cost.SERVER_DELIVERIES_PER_S / 1000, 3),
    ],
)
def test_servers_are_as_many_as_connections_and_deliveries_need(connections, broadcasts_per_s, servers):
    hour = cost.compare_alternatives(connections, broadcasts_per_s)
    assert hour.loc["servers of your own", "deliveries_per_s"] == servers * cost.SERVER_DELIVERIES_PER_S
