"""Locust's own web page starts the test and shows it."""

import json
import urllib.error
import urllib.parse
import urllib.request

from chatlab import poll
from loadtest.benchmarks import reference
from tests.conftest import listening
from tests.loadtest.conftest import free_port


class WebPage:
    """What a browser asks of Locust's web page."""

    def __init__(self, start, server, *words):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.host = server.url
        self.test = start("--web-port", port, "--host", server.url, *words, headless=False)
        self.html = poll(lambda: self.get("/"), "the page to come", timeout_s=30, ignoring=urllib.error.URLError)

    def get(self, path, form=None):
        data = form and urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(self.url + path, data, timeout=10) as answer:
            return answer.read().decode()

    def swarm(self, **form):
        """Press the button, with the form filled in."""
        self.get("/swarm", {"spawn_rate": 50, "host": self.host, "broadcast_rate": 10, "warm_up": 1} | form)

    def figures(self):
        (table,) = json.loads(self.get("/stats/requests"))["extended_stats"]
        return {row["name"]: row["value"] for row in table["data"]}

    def until(self, state):
        poll(lambda: self.figures()["State"] == state, f"the test to be {state}", timeout_s=30)


def test_a_test_is_started_and_followed_on_the_web_page(start):
    with reference.run() as server:
        page = WebPage(start, server)
        assert "broadcast_rate" in page.html
        assert "extended_tabs" in page.html
        assert {host for host, _ in listening(page.test.process.pid)} == {"127.0.0.1"}

        page.swarm(user_count=20, broadcasts=5, broadcast_rate=-2)
        page.until("refused")
        assert page.figures()["Message"] == "--broadcast-rate must be more than 0, not -2.0."

        page.swarm(user_count=20, broadcasts=5)
        page.until("complete")
        assert page.figures()["Broadcasts sent, without the warm-up"] == 5
        assert page.figures()["Deliveries"] == 120
        assert page.figures()["Deliveries missing (known at the end)"] == 0
    assert page.test.summary["delivered"] == 100


def test_steps_begin_with_the_first_again_when_the_test_is_started_again(start):
    with reference.run() as server:
        page = WebPage(start, server, "--shape", "steps", "--steps", "3,6")
        runs = set()
        for _ in range(2):
            page.swarm(broadcasts=2)
            poll(lambda: page.figures()["State"] not in ("", "complete"), "the test to begin", every_s=0.1)
            page.until("complete")
            summary = page.test.summary
            runs.add(summary["run"])
            assert [phase["expected"] for phase in summary["phases"]] == [6, 12], summary
            assert summary["connections"] == 6
    assert len(runs) == 2
