"""What master and workers tell each other, by way of msgpack."""

from dataclasses import fields, is_dataclass
from types import SimpleNamespace

import msgpack
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import protocol, records
from loadtest.protocol import ProtocolError, decode, encode

KINDS = [kind for kind in vars(protocol).values() if is_dataclass(kind)]
COUNT = st.integers(0, 2**40)
TEXT = st.text(max_size=20)
TIME_NS = st.integers(0, 2**62)

PLANS = st.builds(
    protocol.Plan,
    phase=COUNT, first=COUNT, start_ns=TIME_NS, offsets_ns=st.lists(TIME_NS, max_size=5), warm_up=st.integers(0, 5),
    speakers=COUNT, own_speakers=st.dictionaries(TEXT, st.lists(COUNT, max_size=3), max_size=3),
    payload_bytes=COUNT, churn=st.floats(0, 1), seed=COUNT,
)  # fmt: skip


def rows(name, row):
    drawn = st.lists(st.fixed_dictionaries(row).map(lambda values: SimpleNamespace(**values)), max_size=4)
    return drawn.map(lambda rows: records.table(name, rows))


DELIVERIES = rows(
    "deliveries",
    {
        "connection": st.integers(0, 2**31 - 1), "broadcast": st.integers(0, 2**31 - 1),
        "arrived_ns": TIME_NS, "handled_ns": TIME_NS, "timestamp_source": st.integers(0, 2),
    },
)  # fmt: skip
CONNECTIONS = rows(
    "connections",
    {
        "connection": st.integers(0, 2**31 - 1), "started_ns": TIME_NS, "local_port": st.none() | st.integers(1, 65535),
        "opened_ns": st.none() | TIME_NS, "closed_ns": st.none() | TIME_NS, "left": st.booleans(),
        "error": st.none() | TEXT, "refused": st.integers(0, 9), "foreign": st.integers(0, 9),
    },
)  # fmt: skip
BROADCASTS = rows(
    "broadcasts",
    {
        "broadcast": st.integers(0, 2**31 - 1), "phase": st.integers(0, 9), "warm_up": st.booleans(),
        "speaker": st.integers(-1, 9), "intended_ns": TIME_NS, "sent_ns": st.none() | TIME_NS,
        "error": st.none() | TEXT,
    },
)  # fmt: skip
MESSAGES = st.one_of(
    PLANS,
    st.builds(protocol.Start, run=TEXT, connection_rate=st.floats(0.1, 1e3), plans=st.lists(PLANS, max_size=2)),
    *(st.builds(kind) for kind in (protocol.Halt, protocol.Collect, protocol.Leave)),
    st.builds(protocol.Ping, client_id=TEXT, sent_ns=TIME_NS),
    st.builds(protocol.Pong, ping_sent_ns=TIME_NS, master_ns=TIME_NS),
    st.builds(
        protocol.Progress,
        run=TEXT, client_id=TEXT, synchronised=st.booleans(), open=COUNT, opened=COUNT, departed=COUNT, failed=COUNT,
        refused=COUNT, errors=st.lists(TEXT, max_size=3), refusals=st.dictionaries(TEXT, COUNT, max_size=3),
        due=COUNT, sending=COUNT, sent=COUNT, expected=COUNT, delivered=COUNT, outstanding=st.integers(-9, 9),
    ),
    st.builds(protocol.Deliveries, run=TEXT, client_id=TEXT, rows=DELIVERIES, offset_ns=st.integers(-(2**40), 2**40)),
    st.builds(
        protocol.WorkerReport,
        run=TEXT, client_id=TEXT, final=st.booleans(), reported_ns=TIME_NS, connections=CONNECTIONS,
        broadcasts=BROADCASTS, exchanges=st.lists(st.lists(TIME_NS, min_size=3, max_size=3), max_size=3),
        refusals=st.dictionaries(TEXT, COUNT, max_size=3), error_frames=st.dictionaries(TEXT, COUNT, max_size=3),
        cpu=st.lists(st.floats(0, 1), max_size=3), bytes_per_connection=st.floats(-1e6, 1e6),
    ),
    st.builds(protocol.Failed, run=TEXT, client_id=TEXT, reason=TEXT),
)  # fmt: skip


def over_the_wire(data):
    """As Locust sends it (`locust.rpc.protocol`)."""
    return msgpack.loads(msgpack.dumps(data), raw=False, strict_map_key=False)


@given(MESSAGES)
def test_a_message_arrives_as_it_was_sent(message):
    arrived = decode(type(message), over_the_wire(encode(message)))
    for each in fields(message):
        sent, found = getattr(message, each.name), getattr(arrived, each.name)
        if isinstance(sent, pd.DataFrame):
            pd.testing.assert_frame_equal(found, sent)
        else:
            assert found == sent


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_whatever_else_arrives_is_an_error_in_one_sentence(kind, data):
    names = [each.name for each in fields(kind)]
    anything = data.draw(ANYTHING | st.fixed_dictionaries({name: ANYTHING for name in names}))
    try:
        message = decode(kind, anything)
    except ProtocolError as error:
        assert "\n" not in str(error).strip()
    else:
        assert encode(message).keys() == set(names)


def test_another_versions_message_says_what_is_to_be_done():
    with pytest.raises(ProtocolError, match="master and workers need the same version"):
        decode(protocol.Ping, {"client_id": "a", "sent_ns": 1, "more": 2})


def test_a_plan_knows_when_each_of_its_broadcasts_leaves():
    plan = protocol.Plan("a", 0, 0, 100, [0, 5, 9], 1, 1, {}, 200, 0.0, 1)
    assert plan.intended_ns == [100, 105, 109]
    assert plan.is_warm_up == [True, False, False]
