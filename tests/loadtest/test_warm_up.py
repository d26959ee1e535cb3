"""The few connections before the many."""

import time

import numpy as np
import pytest

from loadtest import connection, warm_up
from loadtest.calibration import reference_server
from loadtest.errors import LoadTestError
from tests.support.load_tests import refusing


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(warm_up, "RETRY", connection.RETRY._replace(base_s=0.01))


def test_a_handshake_is_measured_after_everything_has_started_and_made_again_where_it_is_refused():
    with reference_server.run() as server:
        server.refusals = [500, 503]
        assert 0 < warm_up.handshake_s(server.url) < 1
        assert not server.refusals


def test_a_server_that_refuses_everybody_is_said_with_what_it_may_be():
    with (
        refusing(500) as url,
        pytest.raises(LoadTestError, match=r"Nobody can connect to ws://.*status 500\. .*Lambda"),
    ):
        warm_up.handshake_s(url, patience_s=0.1)


def test_a_refusal_for_another_reason_is_said_at_once():
    with refusing(403) as url, pytest.raises(LoadTestError, match=r"refused with status 403\.$"):
        warm_up.handshake_s(url)


def test_the_first_round_does_not_count(monkeypatch):
    tried = []

    class Slow:
        def __init__(self, url, timeout_s):
            tried.append(url)
            time.sleep(0.3 if len(tried) <= warm_up.PEOPLE else 0)

        def close(self):
            pass

    monkeypatch.setattr(warm_up, "Connection", Slow)
    assert warm_up.handshake_s("ws://here") < 0.2


def test_a_broadcast_is_measured_until_the_last_one_has_heard_it():
    slow = reference_server.Faults(delay_ms=lambda _, receivers: np.linspace(0, 50, receivers))
    with reference_server.run(slow) as server:
        assert 0.05 < warm_up.broadcast_s(server.url, people=3) < 1
        assert len(server.received) == 1 + warm_up.ROUNDS


def test_a_broadcast_that_cannot_be_measured_is_a_sentence():
    with refusing(500) as url, pytest.raises(LoadTestError, match=r"^A message to 3 people at ws://.*status 500"):
        warm_up.broadcast_s(url, people=3)
    deaf = reference_server.Faults(drop=1.0)
    with (
        reference_server.run(deaf) as server,
        pytest.raises(LoadTestError, match=r"could not be measured: .*timed out"),
    ):
        warm_up.broadcast_s(server.url, people=3, timeout_s=0.2)


def test_pauses_grow_from_half_a_second_to_eight_at_random(monkeypatch):
    monkeypatch.undo()
    for refusals, most_s in ((1, 0.5), (2, 1), (4, 4), (9, 8)):
        pauses_s = [connection.RETRY.pause_s(refusals) for _ in range(300)]
        assert min(pauses_s) < 0.1 * most_s and 0.9 * most_s < max(pauses_s) <= most_s
