"""What the load test relies on is still there."""

import subprocess
import sys

from chatlab.paths import ROOT


def test_locust_gevent_and_websocket_client_still_do_what_we_rely_on():
    # In a process of its own: Locust patches the sockets and threads of its importers.
    command = [sys.executable, "-W", "ignore", "-m", "tests.loadtest.contracts"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, f"{found.stdout.splitlines()[-1:]} no longer holds:\n{found.stderr}"
    assert len(found.stdout.splitlines()) == 11
