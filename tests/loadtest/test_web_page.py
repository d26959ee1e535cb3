"""Locust's own web page starts the test and shows it."""

import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request

from loadtest.benchmarks import reference


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_test_is_started_and_followed_on_the_web_page(start):
    with reference.run() as server:
        port = free_port()
        test = start("--web-host", "127.0.0.1", "--web-port", port, "--host", server.url, headless=False)

        def get(path, form=None):
            data = form and urllib.parse.urlencode(form).encode()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=10) as answer:
                return answer.read().decode()

        def figures():
            (table,) = json.loads(get("/stats/requests"))["extended_stats"]
            return {row["name"]: row["value"] for row in table["data"]}

        def until(state):
            deadline = time.monotonic() + 30
            while figures()["State"] != state:
                assert time.monotonic() < deadline
                time.sleep(0.2)

        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                page = get("/")
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        assert "broadcast_rate" in page
        assert "extended_tabs" in page

        form = {"user_count": 20, "spawn_rate": 50, "host": server.url, "broadcasts": 5, "warm_up": 1}
        get("/swarm", form | {"broadcast_rate": -2})
        until("refused")
        assert figures()["Message"] == "--broadcast-rate must be more than 0, not -2.0."

        get("/swarm", form | {"broadcast_rate": 10})
        until("complete")
        assert figures()["Broadcasts sent, without the warm-up"] == 5
        assert figures()["Deliveries"] == 120
        assert figures()["Deliveries missing (known at the end)"] == 0
    assert test.summary["delivered"] == 100
