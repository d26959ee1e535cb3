"""A local cloud that is restarted in the middle of a load test: everything in it is gone."""

import json

import pytest

from chatlab import Lab, local_cloud, poll
from tests.support.chat import is_heard
from tests.support.labs import build_chat, chat_in


@pytest.mark.long
def test_the_load_test_ends_with_what_it_has_measured_and_the_chat_can_be_built_anew(tmp_path, start):
    with chat_in(tmp_path) as lab:
        test = start(
            "--host", lab.websocket_url(lab.require_api()), "--users", 20, "--broadcasts", 1_000,
            "--broadcast-rate", 10, "--speakers", 3, "--warm-up", 1, "--run-time", 50,
        )  # fmt: skip
        poll(lambda: delivered(test.folder) > 100, "some deliveries", every_s=0.1, ignoring=(OSError, ValueError))
        local_cloud.stop()
        local_cloud.start()
        test.wait()
        assert test.status == 1
        assert test.errors[-1].startswith("Every connection was closed before the last broadcast: ")
        assert "Traceback" not in test.output
        assert test.summary["delivered"] > 100 and test.summary["connections_dropped"] == 20
        assert len(test.result.deliveries) >= test.summary["delivered"]
        build_chat()
        assert is_heard(Lab.load())


def delivered(folder):
    return json.loads((folder / "progress.json").read_text()).get("delivered", 0)
