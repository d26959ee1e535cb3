"""What generators write down, and how it travels."""

import pandas as pd
import pytest

from loadtest import records
from loadtest.clock import Offset
from loadtest.records import BroadcastRecord, ConnectionRecord, DeliveryLog


def test_a_log_gives_out_each_delivery_once_and_in_order():
    log = DeliveryLog()
    log.append(1, 0, 10, 11, records.KERNEL)
    log.append(2, 0, 12, 13, records.BOUND)
    assert len(log) == 2
    assert log.take()["connection"].tolist() == [1, 2]
    assert log.take().empty
    log.append(3, 1, 14, 15, records.USER)
    assert log.take().iloc[0].tolist() == [3, 1, 14, 15, records.USER]


def test_a_log_takes_up_what_another_one_gave_out():
    log, other = DeliveryLog(), DeliveryLog()
    for number in (1, 2):
        log.append(number, 0, 1_800_000_000_000_000_000 + number, 13, records.BOUND)
        other.extend(records.unpack(records.pack(log.take())))
    assert other.table()["arrived_ns"].tolist() == [1_800_000_000_000_000_001, 1_800_000_000_000_000_002]
    assert len(other) == 2  # it keeps them
    assert {column: str(kind) for column, kind in other.table().dtypes.items()} == records.TYPES["deliveries"]


def test_rows_survive_the_journey():
    log = DeliveryLog()
    log.append(1_000_001, 0, 1_800_000_000_000_000_001, 1_800_000_000_000_000_002, records.KERNEL)
    rows = log.take()
    pd.testing.assert_frame_equal(records.unpack(records.pack(rows)), rows)
    assert records.unpack(rows) is rows


def test_tables_keep_what_is_not_known_and_long_times_exact():
    opened = ConnectionRecord(0, started_ns=1, local_port=5, opened_ns=1_800_000_000_000_000_001, seen=1 << 200)
    refused = ConnectionRecord(1, started_ns=2, error="Connection refused")
    rows = records.unpack(records.pack(records.table("connections", [opened, refused])))
    assert rows["opened_ns"].tolist() == [1_800_000_000_000_000_001, pd.NA]
    assert rows["error"].tolist() == [pd.NA, "Connection refused"]


def test_a_broadcast_that_did_not_leave_has_no_time_of_sending():
    row = {"broadcast": 0, "phase": 0, "warm_up": False, "speaker": 1, "intended_ns": 1_800_000_000_000_000_001}
    sent = BroadcastRecord(**row, sent_ns=1_800_000_000_000_000_003)
    rows = records.table("broadcasts", [sent, BroadcastRecord(**row, error="Broken pipe")])
    assert rows["sent_ns"].tolist() == [1_800_000_000_000_000_003, pd.NA]


@pytest.mark.parametrize("name", records.TYPES)
def test_no_rows_are_a_table_too(name):
    rows = records.unpack(records.pack(records.table(name, [])))
    assert {column: str(kind) for column, kind in rows.dtypes.items()} == records.TYPES[name]


def test_a_log_is_the_table_of_deliveries():
    rows = DeliveryLog().take()
    assert {column: str(kind) for column, kind in rows.dtypes.items()} == records.TYPES["deliveries"]


def test_times_are_put_on_the_masters_clock():
    ahead = Offset([(0, 5_000, 10)])
    row = {"broadcast": 0, "phase": 0, "warm_up": False, "speaker": 1, "intended_ns": 7}
    sent, failed = BroadcastRecord(**row, sent_ns=1), BroadcastRecord(**row)
    rows = records.on_masters_clock(records.table("broadcasts", [sent, failed]), ahead)
    assert rows["sent_ns"].tolist() == [5_001, pd.NA]
    assert rows["intended_ns"].tolist() == [7, 7]
