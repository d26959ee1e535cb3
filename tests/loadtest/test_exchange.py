"""What master and workers say to each other, by way of msgpack."""

from dataclasses import fields

import msgpack
import pandas as pd
import pytest

from loadtest import exchange, records
from loadtest.exchange import ExchangeError, decode, encode
from loadtest.records import BroadcastRecord, ConnectionRecord

NOW_NS = 1_800_000_000_000_000_001
CONNECTIONS = records.table(
    "connections",
    [ConnectionRecord(0, NOW_NS, 5, NOW_NS + 2, left=True), ConnectionRecord(1, NOW_NS, error="refused", refused=3)],
)
BROADCASTS = records.table(
    "broadcasts", [BroadcastRecord(0, 0, True, 1, NOW_NS), BroadcastRecord(1, 0, False, 1, 5, 6)]
)
DELIVERIES = records.DeliveryLog()
DELIVERIES.append(1_000_001, 0, NOW_NS, NOW_NS + 1, records.KERNEL)
MESSAGES = [
    exchange.Plan("a", 0, 0, NOW_NS, [0, 5, 9], 1, 2, {"client": [0], "é": []}, 200, 0.0, 1),
    exchange.Deliveries("a", "client", DELIVERIES.table(), -(2**40)),
    exchange.Snapshot(
        "a", "client", True, NOW_NS, CONNECTIONS, BROADCASTS, [[NOW_NS, -5, 7]], {"status 500": 1}, {}, [0.5], -0.5
    ),
]


def over_the_wire(data):
    """As Locust sends it (`locust.rpc.protocol`)."""
    return msgpack.loads(msgpack.dumps(data), raw=False, strict_map_key=False)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message):
    arrived = decode(type(message), over_the_wire(encode(message)))
    for each in fields(message):
        sent, found = getattr(message, each.name), getattr(arrived, each.name)
        if isinstance(sent, pd.DataFrame):
            pd.testing.assert_frame_equal(found, sent)
        else:
            assert found == sent


@pytest.mark.parametrize("data", [None, [], {}, {"client_id": "a", "sent_ns": 1}, {"version": "another"}])
def test_a_message_of_another_version_says_what_to_do(data):
    with pytest.raises(ExchangeError, match=r"A loadtest\.ping message is of another version: master and workers need"):
        decode(exchange.Ping, data)


def test_a_plan_knows_when_each_of_its_broadcasts_is_due():
    plan = exchange.Plan("a", 0, 0, 100, [0, 5, 9], 1, 1, {}, 200, 0.0, 1)
    assert plan.intended_ns == [100, 105, 109]
    assert plan.is_warm_up == [True, False, False]
