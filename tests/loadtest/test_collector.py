"""What the coordinator knows of a test while it runs, from the generators' messages; and what a generator counts."""

from argparse import Namespace

import pytest
from gevent.event import Event

from loadtest import exchange, records
from loadtest.collector import Collector
from loadtest.connections import Connections
from loadtest.records import KERNEL, ConnectionRecord, DeliveryLog

MS = 1_000_000
NOW = 1_800_000_000_000 * MS
PLAN = exchange.Plan("test", 0, 0, NOW, [0, 1_000 * MS, 2_000 * MS], 1, 1, {"a": [0]}, 200, 0.0, 1)


def progress(client_id, **counts):
    zero = dict.fromkeys("open opened departed failed refused due sending sent delivered in_flight".split(), 0)
    more = {"synchronised": True, "errors": [], "refusals": {}}
    return exchange.Progress(**{"test_id": "test", "client_id": client_id} | zero | more | counts)


@pytest.fixture
def running():
    return {"a", "b"}


@pytest.fixture
def collector(running):
    collector = Collector(running.__contains__)
    collector.add_plan(PLAN)
    return collector


def test_a_phase_is_drained_when_all_that_was_due_is_sent_and_has_arrived_at_each_generator_that_runs(
    collector, running
):
    collector.add_progress(progress("a", due=2, open=1))
    collector.add_progress(progress("b", due=1))
    assert not collector.is_drained(NOW + 1_000 * MS)  # b does not know of the second
    running.remove("b")
    assert collector.is_drained(NOW + 1_000 * MS)
    assert not collector.is_drained(NOW + 2_000 * MS)
    assert not collector.have_departed()
    for unfinished in ({"sending": 1}, {"in_flight": 1}):
        collector.add_progress(progress("a", due=2, **unfinished))
        assert not collector.is_drained(NOW + 1_000 * MS)
    assert collector.have_departed()
    assert collector.clients_with_connections() == []


def test_live_latencies_are_by_the_masters_clock_and_without_the_warm_up(collector):
    assert collector.latency_ms(50) is None
    log = DeliveryLog()
    for broadcast, latency_ms in ((0, 500), (1, 20), (2, 40)):
        arrived_ns = NOW + (broadcast * 1_000 + latency_ms - 7) * MS
        log.append(0, broadcast, arrived_ns, arrived_ns, KERNEL)
    collector.add_deliveries(exchange.Deliveries("test", "a", log.take(), 7 * MS))
    assert collector.latency_ms(50) == pytest.approx(20, rel=0.01)
    assert collector.latency_ms(99) == pytest.approx(40, rel=0.01)


def test_the_connections_of_a_lost_worker_are_closed_at_its_last_snapshot(collector, running):
    for client_id, final in (("a", True), ("b", False)):
        collector.add_progress(progress(client_id, errors=[client_id], refusals={"status 500": 2}))
        connections = [ConnectionRecord(0, NOW, 1, NOW + 1), ConnectionRecord(1, NOW, error="refused")]
        tables = [records.table("connections", connections), records.table("broadcasts", [])]
        collector.add_snapshot(exchange.Snapshot("test", client_id, final, NOW + 9, *tables, [], {}, {}, [], 0.0))
    assert (collector.is_complete(), collector.unfinished()) == (False, {"b"})
    running.remove("b")
    assert collector.is_complete()
    assert (collector.why(), collector.refusals()) == (": a; b", {"status 500": 4})
    rows = collector.tables()["connections"]
    assert rows["closed_ns"].fillna(0).tolist() == [0, 0, NOW + 9, 0]
    assert rows["error"].fillna("").tolist() == ["", "refused", "its worker was lost", "refused"]


class Open:
    """A connection that is open until it is closed."""

    local_port, is_closed = 1, False

    def close(self):
        self.is_closed = True


def test_a_connection_expects_what_is_due_while_it_is_open_and_each_broadcast_once(monkeypatch):
    connections = Connections(None, Namespace(retry_time=0), 3, "ws://here", 1e9, Event())
    monkeypatch.setattr(connections, "_handshake", lambda record: Open())
    connections.broadcast_due()
    (one, early), (_, late) = connections.connect(), connections.connect()
    assert (early.connection, late.connection) == (3_000_000, 3_000_001)
    connections.broadcast_due()
    assert (connections.due, connections.in_flight) == (2, 2)
    assert [connections.arrived(early, broadcast) for broadcast in (0, 1, 1)] == [False, True, False]
    assert (connections.delivered, connections.in_flight) == (1, 1)
    connections.broadcast_due()
    assert (connections.due, connections.in_flight) == (3, 3)
    connections.leave(one, early)
    assert (one.is_closed, early.left, connections.departed) == (True, True, 1)
    assert connections.in_flight == 2  # both of the late one's: the early one expects nothing more
    connections.dropped(Open(), late, "closed")
    assert (connections.in_flight, late.error, late.left, connections.open) == (0, "closed", False, {})
