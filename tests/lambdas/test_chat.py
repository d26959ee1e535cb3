"""The chat as its clients know it: real sockets, the real functions, permissions enforced. Also with clients that
vanish without a word, and clients that never stop talking.

`python -m pytest -m long tests/lambdas/test_chat.py` prints what is measured of both.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import websocket

from benchmarks.broadcasts import open_connections
from chatlab import cost, poll
from chatlab.lab import STAGE
from tests.support.chat import delete_item, ids, people, put_items, say
from tests.support.hostile import meanwhile
from tests.support.hostile_messages import text_frames
from tests.support.labs import chat_in

MESSAGES = [
    "hello from a terminal", '{"type":"chat","text":"hi"}', "{}", "[]", "null", "🎉 Grüße, 你好, مرحبا", " ", "\x00",
    "<b>", '{"action":"nothing-that-is-routed"}', "ü" * (60 * 1024),
]  # fmt: skip


def test_everyone_hears_every_message_byte_for_byte_in_order_and_nothing_else(chat):
    with people(chat, 3) as sockets:
        for message in MESSAGES:
            sockets[0].sock.sendall(text_frames(message))
        for socket in sockets:
            assert [socket.recv() for _ in MESSAGES] == MESSAGES


def test_an_item_lives_as_long_as_its_connection_and_has_a_time_to_live(chat):
    before = ids(chat)
    with people(chat, 2) as (ada, grace):
        items = chat.client("dynamodb").scan(TableName=chat.table)["Items"]
        items = [item for item in items if item["connection_id"]["S"] not in before]
        assert len(items) == 2
        for item in items:
            assert 2 * 3600 < int(item["expires_at"]["N"]) - time.time() <= 3 * 3600
            assert abs(time.time() - int(item["connected_at"]["N"])) < 60
        grace.close()
        poll(lambda: len(ids(chat) - before) == 1, "the item to be removed", every_s=0.02)
        ada.send("still here")
        assert ada.recv() == "still here"


def test_a_table_of_many_pages_is_read_to_its_end_and_what_is_stale_in_it_is_removed(chat):
    """2 MB of items that nobody is connected to: a scan's page ends at 1 MB, and the sockets may be on any page.

    An item that was made just now stays: perhaps its connection is not open yet, since `$connect` writes it before.
    """
    dynamodb = chat.client("dynamodb")
    put_items(chat, ["just-connecting"], age_s=0)
    stale = {f"page-{number}" for number in range(6)}
    for name in stale:
        padding = {"padding": {"S": "x" * 390_000}, "connected_at": {"N": str(int(time.time()) - 3600)}}
        dynamodb.put_item(TableName=chat.table, Item={"connection_id": {"S": name}} | padding)
    pages = dynamodb.get_paginator("scan").paginate(TableName=chat.table)
    assert sum(1 for _ in pages) > 1
    with people(chat, 3) as sockets:
        sockets[0].send("to the last page")
        assert [socket.recv() for socket in sockets] == ["to the last page"] * 3
        poll(lambda: stale.isdisjoint(ids(chat)), "the stale items to be removed", every_s=0.02)
    assert "just-connecting" in ids(chat)
    delete_item(chat, "just-connecting")


def test_the_stage_limits_how_often_each_route_is_taken(chat):
    """What a limit does is tested with the trait `stage-limits`: the local cloud itself has none."""
    stage = chat.client("apigatewayv2").get_stage(ApiId=chat.require_api(), StageName=STAGE)
    other, messages = stage["DefaultRouteSettings"], stage["RouteSettings"]["$default"]
    assert 0 < messages["ThrottlingRateLimit"] <= messages["ThrottlingBurstLimit"] <= 100
    assert 0 < other["ThrottlingRateLimit"] <= other["ThrottlingBurstLimit"] <= 1000


# --- clients that vanish ---------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_thousand_clients_vanish_and_nobody_else_notices(chat, report):
    """A process that is killed is no such case: the kernel closes its sockets, and API Gateway runs `$disconnect`. A
    laptop that falls asleep says nothing. API Gateway notices after ten minutes without traffic, if it posts nothing
    before, and `$disconnect` is best effort. What is left is an item whose connection answers 410: that is put into the
    table here. https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
    """
    vanished, living, rounds = 1_000, 20, 5

    def broadcast(text):
        """Milliseconds until the last of the living has heard it; the log line."""
        with ThreadPoolExecutor(1) as pool:
            began = time.perf_counter()
            invoked = pool.submit(say, chat, text)
            for socket in sockets:
                while socket.recv() != text:
                    pass
            return (time.perf_counter() - began) * 1000, invoked.result()

    with people(chat, living) as sockets:
        broadcast("the first is a cold start")
        with open_connections(chat.websocket_url(chat.require_api()), vanished):
            usual = [broadcast(f"as ever {number}")[0] for number in range(rounds)]
        poll(lambda: len(ids(chat)) == living, "the others to have left", timeout_s=120, every_s=0.02)
        found = []
        for number in range(rounds):
            put_items(chat, [f"vanished-{number}-{n}" for n in range(vanished)])
            took_ms, first = broadcast(f"is anybody left? {number}")
            _, second = broadcast(f"once more {number}")
            found.append(took_ms)
            assert (first["gone"], first["delivered"], first["failed"]) == (vanished, living, 0)
            assert (second["gone"], second["delivered"], second["failed"]) == (0, living, 0)
            assert len(ids(chat)) == living
    reached_ms, usual_ms = statistics.median(found), statistics.median(usual)
    report({
        "vanished": vanished, "living": living, "reached within, ms": f"{reached_ms:.0f}",
        "with all of them alive, ms": f"{usual_ms:.0f}", "ratio": f"{reached_ms / usual_ms:.2f}",
    })  # fmt: skip


# --- clients that never stop talking ---------------------------------------------------------------------------------
# A flood, and two clients that repeat what they hear, which doubles each message for ever. Nothing ends that but the
# stage's limits, which are the same for everybody: so others can say what is left.

RATE, BURST = 5, 10  # notebook 04 sets 20 and 100; with less, the local cloud is no limit itself
SECONDS = 12


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A chat whose stage takes `RATE` messages a second, and `BURST` at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_TRAITS", "stage-limits")
        with chat_in(tmp_path_factory.mktemp("limited")) as lab:
            messages = {"ThrottlingRateLimit": float(RATE), "ThrottlingBurstLimit": BURST}
            lab.client("apigatewayv2").update_stage(
                ApiId=lab.require_api(), StageName=STAGE, RouteSettings={"$default": messages}
            )
            yield lab


def heard_until(socket, until):
    """What the socket hears until then, by time.monotonic()."""
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
                storm += heard_until(grace, time.monotonic() + 0.25)
            seconds = time.monotonic() - began
        mine = {text for text in storm if text.startswith("ada")}
        hour = cost.estimate_abuse(connections=4, messages_per_s=20, connects_per_s=0).dollars
        report({
            "meanwhile": name.replace("_", " "), "heard a second": f"{len(storm) / seconds:.1f}",
            "others say 4 a second: heard of these": f"{len(mine)} of {said}",
            "an hour of 20 a second, dollars": f"{hour:.2f}",
        })  # fmt: skip
        assert RATE * seconds / 2 < len(storm) <= RATE * (seconds + 1) + BURST
        list(heard_until(grace, time.monotonic() + 2))  # what was under way
        assert not list(heard_until(grace, time.monotonic() + 1))
        ada.send("and now it is quiet")
        grace.settimeout(10)
        assert grace.recv() == "and now it is quiet"
