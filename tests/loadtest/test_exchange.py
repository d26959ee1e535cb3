"""What generators write down, and what master and workers say to each other, by way of msgpack."""

from dataclasses import fields

import msgpack
import pandas as pd
import pytest

from loadtest import exchange, records
from loadtest.clock import Offset
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


# --- records ---------------------------------------------------------------------------------------------------------


def test_a_log_gives_out_each_delivery_once_and_another_one_keeps_them_exactly():
    log, other = records.DeliveryLog(), records.DeliveryLog()
    for number in (1, 2):
        log.append(number, 0, 1_800_000_000_000_000_000 + number, 13, records.BOUND)
        log.append(number + 1_000_000, 0, 12, 13, records.KERNEL)
        assert len(log) == 2
        other.extend(records.unpack(records.pack(log.take())))
        assert log.take().empty
    assert other.table()["connection"].tolist() == [1, 1_000_001, 2, 1_000_002]
    assert other.table()["arrived_ns"].tolist()[::2] == [1_800_000_000_000_000_001, 1_800_000_000_000_000_002]
    assert len(other) == 4  # it keeps them


@pytest.mark.parametrize("name", records.TYPES)
def test_no_rows_are_a_table_too(name):
    rows = records.DeliveryLog().table() if name == "deliveries" else records.table(name, [])
    packed = records.unpack(records.pack(rows))
    assert {column: str(kind) for column, kind in packed.dtypes.items()} == records.TYPES[name]


def test_times_are_put_on_the_masters_clock():
    ahead = Offset([(0, 5_000, 10)])
    row = {"broadcast": 0, "phase": 0, "warm_up": False, "speaker": 1, "intended_ns": 7}
    sent, failed = BroadcastRecord(**row, sent_ns=1), BroadcastRecord(**row)
    rows = records.on_masters_clock(records.table("broadcasts", [sent, failed]), ahead)
    assert rows["sent_ns"].tolist() == [5_001, pd.NA]
    assert rows["intended_ns"].tolist() == [7, 7]
