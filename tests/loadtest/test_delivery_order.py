"""In which order a broadcast reaches its connections: one half of the broadcasts foresees the other."""

import numpy as np
import pytest

from loadtest import delivery_order
from tests.support.measured import result_of

CONNECTIONS = 60


def result(order_of, broadcasts=20, speaker_first=False):
    """Broadcasts that reach a connection each 1 ms, in the order that `order_of(broadcast)` says."""
    latency_ms = np.empty((broadcasts, CONNECTIONS))
    speakers = [number % 3 for number in range(broadcasts)]
    for number in range(broadcasts):
        connections = list(order_of(number))
        if speaker_first:
            connections.remove(speakers[number])
            connections.insert(0, speakers[number])
        latency_ms[number, connections] = 10 + np.arange(CONNECTIONS)
    return result_of(latency_ms, warm_up=0, speaker=speakers)


def backwards(_):
    return range(CONNECTIONS - 1, -1, -1)


def at_random(number):
    return np.random.default_rng(number).permutation(CONNECTIONS)


def test_an_order_that_is_kept_shows_in_the_other_half():
    found = delivery_order.usual_order(result(backwards))
    assert found.kept == pytest.approx(1)
    assert found.listening["connection"].tolist() == list(backwards(0))
    assert found.listening["later_ms"].is_monotonic_increasing
    assert "is 1.00" in delivery_order.explain(found)


def test_an_order_that_is_another_one_each_time_shows_nothing():
    """Though the latencies grow with the place at which a delivery came, as they always do."""
    found = delivery_order.usual_order(result(at_random))
    assert abs(found.kept) < 0.4
    early, late = (part["later_ms"].median() for part in (found.listening.head(20), found.listening.tail(20)))
    assert abs(late - early) < 15
    assert "another one each time" in delivery_order.explain(found)


def test_a_speaker_that_is_served_first_waits_less_than_its_place_would_have_it():
    found = delivery_order.usual_order(result(backwards, speaker_first=True))
    assert found.speaking["connection"].tolist() == [2, 1, 0]
    assert found.speaking["later_ms"].tolist() == [0.0] * 3
    said = (
        "Connection 0 hears it 59.0 ms after the first one, in place 60, and when it speaks itself after 0.0 ms, in "
        "place 1."
    )
    assert said in delivery_order.explain(found)


@pytest.mark.parametrize("broadcasts", [0, 3])
def test_of_too_little_there_is_a_sentence_and_no_order(broadcasts):
    found = delivery_order.usual_order(result(backwards, broadcasts))
    assert found.listening.empty
    assert delivery_order.explain(found) == "There are too few broadcasts or connections to see an order."
