"""What the load test takes from Locust and gevent beyond what they document, and no other test here would notice.

pyproject.toml has the versions that may be installed.
"""

from importlib.util import find_spec
from pathlib import Path

import gevent

RUNNERS = (Path(find_spec("locust").origin).parent / "runners.py").read_text()  # its import would patch this process


def test_an_error_in_the_listener_of_a_message_does_not_get_out_of_a_master_or_a_worker():
    assert RUNNERS.count("Uncaught exception in handler") == 2


def test_a_worker_sends_its_statistics_when_it_is_told_to_and_its_master_waits_half_a_second_for_the_last():
    assert 'Message("stats", data, self.client_id)' in RUNNERS
    master_quits = RUNNERS.partition("class MasterRunner")[2].partition("def quit")[2].partition("    def ")[0]
    assert "gevent.sleep(0.5)" in master_quits


def test_idle_waits_until_nothing_else_is_to_be_done():
    order = []

    def busy():
        for _ in range(3):
            order.append("busy")
            gevent.sleep(0)

    def idle():
        gevent.idle()
        order.append("idle")

    gevent.joinall([gevent.spawn(idle), gevent.spawn(busy)])
    assert order == [*["busy"] * 3, "idle"]
