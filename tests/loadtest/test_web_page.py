"""Locust's own web page starts the test and shows it."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request

import pytest

from chatlab import poll
from loadtest.calibration import reference_server
from tests.support.load_tests import free_port
from tests.support.processes import listening


class WebPage:
    """What a browser asks of Locust's web page."""

    def __init__(self, start, server, *words, **options):
        self.host = server.url
        self.test = start("--web-port", free_port(), "--host", server.url, *words, headless=False, **options)
        (self.url,) = poll(self._said, "the page's address", timeout_s=30)
        self.html = poll(lambda: self.get("/"), "the page to come", timeout_s=30, ignoring=urllib.error.URLError)

    def _said(self):
        return re.findall(r"Starting web interface at (\S+),", self.test.output)

    def get(self, path, form=None, url=None):
        data = form and urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen((url or self.url) + path, data, timeout=10) as answer:
            return answer.read().decode()

    def swarm(self, **form):
        """Press the button, with the form filled in."""
        filled_in = {"spawn_rate": 50, "host": self.host, "broadcast_rate": 10, "warm_up": 1} | form
        self.get("/swarm", filled_in)

    def metrics(self):
        (table,) = json.loads(self.get("/stats/requests"))["extended_stats"]
        return {row["name"]: row["value"] for row in table["data"]}

    def until(self, state):
        poll(lambda: self.metrics()["State"] == state, f"the test to be {state}", timeout_s=30)


def test_a_test_is_started_and_followed_on_the_web_page_by_people_who_were_told_its_address(start, server):
    page = WebPage(start, server, forked=False)
    stranger = page.url.rpartition("/")[0]
    for path in ("/", "/swarm", "/stop", "/exit", "/stats/requests", "/guessed/swarm"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            page.get(path, {"user_count": 5, "host": server.url}, url=stranger)
    assert page.metrics()["State"] == ""
    assert not server.ports
    assert "broadcast_rate" in page.html
    assert "extended_tabs" in page.html
    assert {host for host, _ in listening(page.test.process.pid)} == {"127.0.0.1"}

    page.swarm(user_count=20, broadcasts=5, broadcast_rate=-2)
    page.until("refused")
    assert page.metrics()["Message"] == "--broadcast-rate must be more than 0 and at most 1,000,000, not -2.0."

    page.swarm(user_count=20, broadcasts=5)
    page.until("complete")
    assert page.metrics()["Broadcasts sent, without the warm-up"] == 5
    assert page.metrics()["Deliveries"] == 120
    assert page.metrics()["Deliveries missing (known at the end)"] == 0
    assert page.test.summary["delivered"] == 100


def test_steps_begin_with_the_first_again_when_the_test_is_started_again(start, server):
    page = WebPage(start, server, "--shape", "steps", "--steps", "3,6")
    runs = set()
    for _ in range(2):
        page.swarm(broadcasts=2)
        poll(lambda: page.metrics()["State"] not in ("", "complete"), "the test to begin", every_s=0.1)
        page.until("complete")
        summary = page.test.summary
        runs.add(summary["run"])
        assert [phase["expected"] for phase in summary["phases"]] == [6, 12], summary
        assert summary["connections"] == 6
    assert len(runs) == 2


def test_the_rooms_key_goes_to_no_host_that_somebody_types_into_the_page(start):
    with reference_server.run() as server, reference_server.run() as another:
        page = WebPage(start, server, environment={"LOADTEST_QUERY": "key=of-the-room"})
        page.swarm(user_count=5, host=another.url)
        page.until("refused")
        assert page.metrics()["Message"].startswith("LOADTEST_QUERY goes to the --host of the command line only")
        page.swarm(user_count=5, broadcasts=1)
        page.swarm(user_count=10, broadcasts=1, host=another.url)  # while the first one runs
        page.until("complete")
        assert not another.ports
    assert page.test.summary["connections"] == 10
