"""`make up` leaves the chat running, and `make down` removes it."""

import subprocess
import sys
import urllib.request

import psutil
import pytest

from chatlab import Lab, list_resources, local_cloud
from chatlab.paths import ROOT
from tests.support.processes import environment_of_a_run

pytestmark = pytest.mark.slow


def test_up_leaves_the_chat_running_and_down_removes_it_and_no_other(tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("CHATLAB_HOME", str(home))

    def chatlab(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "chatlab", *arguments],
            cwd=ROOT, env=environment_of_a_run(home), capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        said = chatlab("up")
        url = next(word for word in said.split() if word.startswith("http") and word.endswith("/index.html"))
        cloud = psutil.Process(local_cloud.status()["pid"])
        chat = Lab.load()

        demo = Lab.choose("local", "demo")
        demo.client("logs").create_log_group(logGroupName=demo.log_groups["connect"], tags=demo.tags)
        said = chatlab("down", "--name", "demo")
        assert "The lab demo on the local cloud." in said
        assert "Still open: The lab chat on the local cloud" in said
        assert list_resources(demo).empty
        assert not list_resources(chat).empty
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"<!doctype html>" in answer.read().lower()

        assert "99_teardown" in chatlab("down")
        assert not cloud.is_running()
        assert not local_cloud.status()["running"]
        assert "There is no lab here that could be removed" in chatlab("down")
    finally:
        local_cloud.stop()
