"""Results: who should receive what, and what happened to each delivery."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest import records, results
from loadtest.records import BOUND, KERNEL, USER, BroadcastRecord, ConnectionRecord

MS = 1_000_000
NOW = 1_800_000_000_000 * MS


def at(milliseconds):
    return NOW + round(milliseconds * MS)


def broadcast(number, due, sent="on time", phase=0, warm_up=False, error=None):
    """Due at `due` ms, sent at `sent` ms."""
    sent_ns = None if sent is None else at(due if sent == "on time" else sent)
    return BroadcastRecord(number, phase, warm_up, speaker=0, intended_ns=at(due), sent_ns=sent_ns, error=error)


def connection(number, opened=0.0, closed=None, **more):
    """Opened and closed at this many ms."""
    return ConnectionRecord(
        number,
        started_ns=at((opened or 0) - 5),
        opened_ns=None if opened is None else at(opened),
        closed_ns=None if closed is None else at(closed),
        **more,
    )


def assemble(deliveries, broadcasts, connections, requested=None, problem=None):
    """Deliveries are (connection, broadcast, ms of arrival), and the source of that time if it is not the kernel."""
    log = records.DeliveryLog()
    for number, of, arrived, *source in deliveries:
        log.append(number, of, at(arrived), at(arrived) + MS // 2, *(source or [KERNEL]))
    return results.assemble(
        log.take(),
        records.table("broadcasts", broadcasts),
        records.table("connections", connections),
        requested=sum(not row.warm_up for row in broadcasts) if requested is None else requested,
        users=len(connections),
        drain_s=10,
        metadata={"problem": problem},
    )


def test_a_complete_test():
    result = assemble(
        [(0, 0, 103), (1, 0, 105), (0, 1, 202), (1, 1, 204, BOUND)],
        [broadcast(0, due=100), broadcast(1, due=200)],
        [connection(0), connection(1)],
    )
    summary = result.summary
    assert summary["complete"]
    assert [summary[key] for key in ("connections", "broadcasts", "expected", "delivered")] == [2, 2, 4, 4]
    assert [summary[key] for key in ("missing", "dropped", "duplicate", "out_of_order", "unexpected")] == [0] * 5
    assert summary["latency_ms"] == {"p50": 3.5, "p90": 4.7, "p99": 4.97, "max": 5.0}
    assert summary["last_delivery_ms"] == {"p50": 4.5, "p99": 4.99}
    assert summary["harness_lag_ms"]["p50"] == 0.5
    assert (summary["clock"], summary["upper_bounds"]) == ("kernel", 1)
    assert assemble([(0, 0, 103, USER)], [broadcast(0, due=100)], [connection(0)]).summary["clock"] == "user"


def test_latency_counts_from_when_the_broadcast_was_due_not_from_when_it_was_sent():
    result = assemble([(0, 0, 130)], [broadcast(0, due=100, sent=120)], [connection(0)])
    assert result.deliveries["latency_ms"].tolist() == [30]
    assert result.broadcasts["send_late_ms"].tolist() == [20]


def test_the_position_is_the_order_of_arrival():
    result = assemble(
        [(0, 0, 103), (1, 0, 101), (2, 0, 102)], [broadcast(0, due=100)], [connection(k) for k in range(3)]
    )
    assert result.deliveries["position"].tolist() == [2, 0, 1]


def test_what_is_lost_not_sent_or_not_connected_is_named():
    result = assemble(
        [(0, 0, 101)],
        [broadcast(0, due=100), broadcast(1, due=200, sent=None)],
        [connection(0), connection(1), connection(2, opened=None, error="refused"), connection(3, opened=150)],
    )
    summary = result.summary
    # Connection 3 opened while the broadcast was on its way.
    assert [summary[key] for key in ("broadcasts", "expected", "delivered", "missing", "dropped")] == [1, 2, 1, 1, 0]
    assert (summary["connections"], summary["connections_failed"], summary["complete"]) == (3, 1, False)
    assert result.connections["missing"].tolist() == [0, 1, 0, 0]
    assert results.shortfall(summary) == (
        "The test is not complete: 1 of 4 connections could not be made, 1 of 2 broadcasts were not sent, "
        "1 of 2 deliveries are missing."
    )


def test_a_further_copy_is_a_duplicate_a_late_opener_expects_nothing_and_what_is_overtaken_is_out_of_order():
    result = assemble(
        [(0, 1, 201), (0, 0, 202), (0, 0, 900), (1, 0, 150)],
        [broadcast(0, due=100), broadcast(1, due=200)],
        [connection(0), connection(1, opened=140, closed=160, left=True)],
    )
    summary = result.summary
    assert [summary[key] for key in ("delivered", "duplicate", "out_of_order", "unexpected")] == [2, 1, 1, 1]
    assert summary["latency_ms"]["max"] == 102
    assert result.deliveries["copy"].tolist() == [0, 0, 1, 0]
    assert result.broadcasts["out_of_order"].tolist() == [1, 0]
    assert summary["complete"]


def test_a_connection_that_drops_is_told_apart_from_a_lost_delivery():
    result = assemble(
        [(0, 0, 101), (0, 1, 201)],
        [broadcast(0, due=100), broadcast(1, due=200), broadcast(2, due=300)],
        [connection(0, closed=250, error="closed by the server with code 1001"), connection(1, closed=150)],
    )
    # To 0 the third was not due any more; to 1 the first was, and it dropped before it came.
    assert result.summary["expected"] == 3
    assert (result.summary["delivered"], result.summary["dropped"], result.summary["missing"]) == (2, 1, 0)
    assert result.summary["connections_dropped"] == 2
    assert "2 connections dropped" in results.shortfall(result.summary)


def test_a_connection_that_leaves_as_it_was_asked_to_is_no_loss_unless_it_had_the_time_to_hear():
    result = assemble(
        [(0, 0, 101), (1, 0, 102), (1, 1, 15_001), (1, 2, 20_001)],
        [broadcast(0, due=100), broadcast(1, due=15_000), broadcast(2, due=20_000)],
        [connection(0, closed=15_002, left=True), connection(1), connection(2, closed=15_002, left=True)],
    )
    # The second was on its way to both when they left; the first to 2 was sent 15 s before, with a drain time of 10 s.
    assert result.summary["expected"] == 7
    assert [result.summary[key] for key in ("delivered", "departed", "missing", "dropped")] == [4, 2, 1, 0]
    assert result.connections["departed"].tolist() == [1, 0, 1]
    assert (result.summary["connections_left"], result.summary["connections_dropped"]) == (2, 0)
    assert not result.summary["complete"]


def test_what_arrives_after_the_drain_time_of_its_phase_is_missing_and_unexpected():
    result = assemble(
        [(0, 0, 12_999), (0, 1, 13_001), (0, 2, 25_000)],
        [broadcast(0, due=100), broadcast(1, due=3_000), broadcast(2, due=15_000, phase=1)],
        [connection(0)],
    )
    assert result.deliveries["expected"].tolist() == [True, False, True]
    assert [result.summary[key] for key in ("delivered", "missing", "unexpected")] == [2, 1, 1]
    assert result.summary["latency_ms"]["max"] == 12_899


def test_a_broadcast_that_was_answered_with_an_error_is_named_and_not_missing():
    answered = broadcast(0, due=100, error='answered with "Internal server error"')
    result = assemble([(0, 1, 201)], [answered, broadcast(1, due=200)], [connection(0)])
    assert result.broadcasts["refused"].tolist() == [True, False]
    assert (result.summary["broadcasts"], result.summary["broadcasts_refused"]) == (1, 1)
    assert (result.summary["expected"], result.summary["missing"]) == (1, 0)
    assert "1 of 2 broadcasts were answered with an error." in results.shortfall(result.summary)


def test_an_error_although_the_broadcast_went_on_excuses_nobody_s_missing():
    """After 29 s API Gateway says "Endpoint request timed out", and the function goes on."""
    late = broadcast(0, due=100, error='answered with "Endpoint request timed out"')
    result = assemble([(0, 0, 9_000)], [late], [connection(0), connection(1)])
    assert not result.broadcasts["refused"].any()
    assert (result.summary["broadcasts"], result.summary["expected"], result.summary["missing"]) == (1, 2, 1)


def test_the_warm_up_is_recorded_but_left_out_of_the_figures():
    result = assemble(
        [(0, 0, 600), (0, 1, 1_001)], [broadcast(0, due=100, warm_up=True), broadcast(1, due=1_000)], [connection(0)]
    )
    assert (result.summary["broadcasts"], result.summary["expected"], result.summary["latency_ms"]["max"]) == (1, 1, 1)
    assert result.summary["warm_up"]["latency_ms"]["max"] == 500
    assert [phase["expected"] for phase in result.summary["phases"]] == [1]
    assert result.deliveries["warm_up"].tolist() == [True, False]


def test_a_test_in_which_nothing_happened_has_a_summary():
    result = assemble([], [], [], requested=20, problem="None of the first 20 connections could be made.")
    assert result.summary["latency_ms"]["p50"] is None
    assert not result.summary["complete"]
    json.dumps(result.summary, allow_nan=False)


@given(st.data())
@settings(max_examples=settings.default.max_examples // 2)  # each takes 50 ms
def test_every_delivery_that_was_due_is_accounted_for(data):
    lives = st.tuples(st.none() | st.integers(0, 500), st.none() | st.integers(1, 500), st.booleans())
    connections = [
        connection(k, opened=at, closed=None if stay is None else (at or 0) + stay, left=stay is not None and leaves)
        for k, (at, stay, leaves) in enumerate(data.draw(st.lists(lives, min_size=1, max_size=6)))
    ]
    sent = data.draw(st.lists(st.none() | st.integers(0, 900), min_size=1, max_size=5))
    broadcasts = [broadcast(k, due=0, sent=time) for k, time in enumerate(sent)]
    some = st.tuples(st.integers(0, len(connections) - 1), st.integers(0, len(sent) - 1), st.integers(0, 2_000))
    result = assemble(data.draw(st.lists(some, max_size=30)), broadcasts, connections)
    summary = result.summary
    assert summary["expected"] == sum(summary[name] for name in ("delivered", "missing", "dropped", "departed"))
    first = result.deliveries["expected"] & (result.deliveries["copy"] == 0)
    assert first.sum() == summary["delivered"]
    assert len(result.deliveries) == summary["delivered"] + summary["duplicate"] + summary["unexpected"]
    for table in (result.broadcasts, result.connections):
        for name in results.COUNTS:
            assert table[name].sum() == summary[name]


def test_results_are_read_as_they_were_written_and_removed_before_the_next_test(tmp_path):
    written = assemble([(0, 0, 101)], [broadcast(0, due=100)], [connection(0)])
    results.prepare(tmp_path)
    results.write(tmp_path, written.tables(), written.summary)
    read = results.load(tmp_path)
    assert read.summary == written.summary
    for name in results.TABLES:
        pd.testing.assert_frame_equal(getattr(read, name), getattr(written, name))
    results.prepare(tmp_path)
    with pytest.raises(FileNotFoundError, match="There are no results in"):
        results.load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"The folder .* cannot be written"):
        results.prepare(tmp_path / "file" / "folder")
