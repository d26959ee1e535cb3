"""`make up` leaves the chat running, and `make down` removes it."""

import subprocess
import sys
import urllib.request

import psutil
import pytest

from chatlab import local_cloud
from chatlab.paths import ROOT
from tests.conftest import environment_of_a_run

pytestmark = pytest.mark.slow


def test_up_leaves_the_chat_running_and_down_removes_it(tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("CHATLAB_HOME", str(home))

    def chatlab(command):
        return subprocess.run(
            [sys.executable, "-m", "chatlab", command],
            cwd=ROOT, env=environment_of_a_run(home), capture_output=True, text=True, timeout=200,
        )  # fmt: skip

    try:
        up = chatlab("up")
        assert up.returncode == 0, up.stdout + up.stderr
        url = next(word for word in up.stdout.split() if word.startswith("http") and word.endswith("/index.html"))
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"<!doctype html>" in answer.read().lower()
        cloud = psutil.Process(local_cloud.status()["pid"])

        for _ in range(2):  # the second time there is nothing to remove
            down = chatlab("down")
            assert down.returncode == 0, down.stdout + down.stderr
            assert "99_teardown" in down.stdout
            assert not cloud.is_running()
            assert not local_cloud.status()["running"]
    finally:
        local_cloud.stop()
