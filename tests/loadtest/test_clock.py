"""Timestamps, and clocks that differ."""

import socket
import sys
import time

import numpy as np
import pytest

from loadtest import clock
from loadtest.clock import Offset

S = 1_000_000_000
NOW = 1_800_000_000 * S


def exchanges(offset_ns, seconds=60, drift_ppm=0.0, queue_us=2_000):
    """Pings twice a second to a master that is `offset_ns` ahead, over a way with a random queue in each direction."""
    random, found = np.random.default_rng(1), Offset()
    for k in range(seconds * 2):
        there, back = (100_000 + random.exponential(queue_us * 1_000, 2)).astype(int).tolist()
        asked = NOW + k * S // 2
        ahead = offset_ns + round(drift_ppm * 1e-6 * (asked - NOW))
        found.add(asked, asked + there + ahead, asked + there + back)
    return found


@pytest.mark.parametrize("offset_ns", [-3 * S, 40_000_000])
def test_an_offset_is_found_within_its_uncertainty(offset_ns):
    found = exchanges(offset_ns)
    assert abs(found.at(NOW + 30 * S) - offset_ns) <= found.uncertainty_ns
    assert found.uncertainty_ns < 1_000_000
    again = Offset(map(tuple, found.exchanges))  # as the master takes them up
    assert again.at(NOW) == found.at(NOW)
    assert len(found.exchanges) <= 7  # one for each window, however long the test


def test_a_drift_is_followed():
    found = exchanges(2 * S, seconds=600, drift_ppm=100, queue_us=300)
    times = NOW + np.arange(5, 595, 10) * S
    truth = 2 * S + 1e-4 * (times - NOW)
    assert np.abs(found.at(times) - truth).max() < 1_000_000  # it drifts by 60 ms


def test_one_clock_is_not_corrected():
    found = exchanges(0)
    assert found.is_zero
    assert found.at(NOW) == 0
    assert not found.at(np.array([NOW, NOW + S])).any()
    assert (Offset().at(NOW), Offset().uncertainty_ns) == (0, 0)  # without exchanges


@pytest.mark.skipif(sys.platform != "linux", reason="Linux gives arrivals a timestamp")
def test_the_kernel_gives_an_arrival_its_timestamp_before_it_is_read():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        with receiver:
            receiver.setsockopt(socket.SOL_SOCKET, clock.SO_TIMESTAMPNS, 1)
            # The kernel begins to give timestamps a moment after the first socket of all has asked for them, and ends
            # when the last one has closed: whether it does so now depends on what else runs.
            for _ in range(100):
                before = clock.now_ns()
                sender.send(b"x")
                after = clock.now_ns()
                _, ancillary, _, _ = receiver.recvmsg(1, clock.ANCILLARY_BYTES)
                if clock.timestamp_ns(ancillary):
                    break
                time.sleep(0.01)
    assert before <= clock.timestamp_ns(ancillary) <= after + 1_000_000
    assert clock.timestamp_ns([]) == 0
