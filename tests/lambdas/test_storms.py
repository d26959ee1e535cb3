"""Clients that never stop talking: a flood, and two that say again whatever they hear, which doubles each message for
ever. Nothing ends that but the stage's limits, which are the same for everybody: so others can say what is left.

`python -m pytest tests/lambdas/test_storms.py` prints how much that is, and what an hour of it would cost on AWS.
"""

import time

import pytest
import websocket

from chatlab import cost
from chatlab.lab import STAGE
from tests.support.chat import people
from tests.support.hostile import meanwhile
from tests.support.labs import chat_in
from tests.support.tables import reported

RATE, BURST = 5, 10  # notebook 04 sets 20 and 100; with less, the local cloud is no limit itself
SECONDS = 12


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A chat whose stage takes so many messages a second, and so many at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_TRAITS", "stage-limits")
        with chat_in(tmp_path_factory.mktemp("limited")) as lab:
            messages = {"ThrottlingRateLimit": float(RATE), "ThrottlingBurstLimit": BURST}
            lab.client("apigatewayv2").update_stage(
                ApiId=lab.require_api(), StageName=STAGE, RouteSettings={"$default": messages}
            )
            yield lab


@pytest.fixture(scope="module")
def report(request):
    """Rows of the table that is printed at the end."""
    yield from reported(
        request,
        "meanwhile",
        "heard a second",
        "others say 4 a second: heard of these",
        "an hour of 20 a second, dollars",
    )


def heard(socket, until):
    """What is heard until then, by time.monotonic()."""
    while (left := until - time.monotonic()) > 0:
        socket.settimeout(left)
        try:
            yield socket.recv()
        except websocket.WebSocketTimeoutException:
            return


@pytest.mark.long
@pytest.mark.parametrize("name", ["flood", "echo", "echo_everything"])
def test_a_storm_is_as_fast_as_the_stage_allows_and_ends_with_its_clients(limited, report, name):
    with people(limited, 2) as (ada, grace):
        time.sleep(BURST / RATE)  # until the bucket is full again
        with meanwhile(limited.websocket_url(limited.require_api()), name):
            began, said, storm = time.monotonic(), 0, []
            while time.monotonic() < began + SECONDS:
                ada.send(f"ada {said}")
                said += 1
                storm += heard(grace, time.monotonic() + 0.25)
            seconds = time.monotonic() - began
        mine = {text for text in storm if text.startswith("ada")}
        hour = cost.estimate_abuse(connections=4, messages_per_s=20, connects_per_s=0).dollars
        report.append([name.replace("_", " "), f"{len(storm) / seconds:.1f}", f"{len(mine)} of {said}", f"{hour:.2f}"])
        assert RATE * seconds / 2 < len(storm) <= RATE * (seconds + 1) + BURST
        list(heard(grace, time.monotonic() + 2))  # what was under way
        assert not list(heard(grace, time.monotonic() + 1))
        ada.send("and now it is quiet")
        grace.settimeout(10)
        assert grace.recv() == "and now it is quiet"
