"""What generators write down, and how it travels."""

import pandas as pd
import pytest

from loadtest import records
from loadtest.clock import Offset
from loadtest.records import BroadcastRecord, DeliveryLog


def test_a_log_gives_out_each_delivery_once_and_another_one_keeps_them_exactly():
    log, other = DeliveryLog(), DeliveryLog()
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
    rows = DeliveryLog().table() if name == "deliveries" else records.table(name, [])
    packed = records.unpack(records.pack(rows))
    assert {column: str(kind) for column, kind in packed.dtypes.items()} == records.TYPES[name]


def test_times_are_put_on_the_masters_clock():
    ahead = Offset([(0, 5_000, 10)])
    row = {"broadcast": 0, "phase": 0, "warm_up": False, "speaker": 1, "intended_ns": 7}
    sent, failed = BroadcastRecord(**row, sent_ns=1), BroadcastRecord(**row)
    rows = records.on_masters_clock(records.table("broadcasts", [sent, failed]), ahead)
    assert rows["sent_ns"].tolist() == [5_001, pd.NA]
    assert rows["intended_ns"].tolist() == [7, 7]
