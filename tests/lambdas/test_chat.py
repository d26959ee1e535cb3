"""The chat as its clients know it: real sockets, the real functions, permissions enforced."""

import time

import websocket

from chatlab import poll
from chatlab.lab import STAGE
from loadtest import messages
from tests.support.chat import delete_items, ids, people, put_items

FRAME_BYTES = messages.MAX_BYTES  # 32 KB
MESSAGES = [
    "hello from a terminal", '{"type":"chat","text":"hi"}', "{}", "[]", "null", "🎉 Grüße, 你好, مرحبا", " ", "\x00",
    "<b>", '{"action":"nothing-that-is-routed"}', "ü" * (60 * 1024),
]  # fmt: skip


def say(socket, message):
    """Send a message, in frames of 32 KB."""
    data = message.encode()
    parts = [data[i : i + FRAME_BYTES] for i in range(0, len(data), FRAME_BYTES)] or [b""]
    codes = [websocket.ABNF.OPCODE_TEXT] + [websocket.ABNF.OPCODE_CONT] * (len(parts) - 1)
    for number, (code, part) in enumerate(zip(codes, parts, strict=True), start=1):
        socket.send_frame(websocket.ABNF.create_frame(part, code, fin=int(number == len(parts))))


def close_code(socket):
    frame = socket.recv_frame()
    assert frame.opcode == websocket.ABNF.OPCODE_CLOSE
    socket.shutdown()
    return int.from_bytes(frame.data[:2], "big")


def test_everyone_hears_every_message_byte_for_byte(chat):
    with people(chat, 3) as sockets:
        for message in MESSAGES:
            say(sockets[0], message)
            assert [socket.recv() for socket in sockets] == [message] * 3


def test_an_item_lives_as_long_as_its_connection_and_has_a_time_to_live(chat):
    before = ids(chat)
    with people(chat, 2) as (ada, grace):
        items = chat.client("dynamodb").scan(TableName=chat.table)["Items"]
        items = [item for item in items if item["connection_id"]["S"] not in before]
        assert len(items) == 2
        for item in items:
            assert 2 * 3600 < int(item["expires_at"]["N"]) - time.time() <= 3 * 3600
        grace.close()
        poll(lambda: len(ids(chat) - before) == 1, "the item to be removed", every_s=0.02)
        ada.send("still here")
        assert ada.recv() == "still here"


def test_messages_of_one_person_arrive_in_order(chat):
    with people(chat, 2) as (ada, grace):
        for number in range(20):
            ada.send(str(number))
        assert [grace.recv() for _ in range(20)] == [str(number) for number in range(20)]


def test_an_item_without_a_connection_is_removed_and_nobody_else_suffers(chat):
    put_items(chat, ["gone-long-ago"])
    with people(chat, 2) as (ada, grace):
        ada.send("anybody?")
        assert (ada.recv(), grace.recv()) == ("anybody?", "anybody?")
        poll(lambda: "gone-long-ago" not in ids(chat), "the stale item to be removed", every_s=0.02)


def test_an_item_that_is_only_just_made_is_kept(chat):
    """Its connection is perhaps not open yet: `$connect` writes it before its answer opens the socket."""
    put_items(chat, ["just-connecting"], age_s=0)
    with people(chat, 1) as (ada,):
        ada.send("anybody?")
        assert ada.recv() == "anybody?"
        assert "just-connecting" in ids(chat)
    delete_items(chat, ["just-connecting"])


def test_a_table_of_many_pages_is_read_to_its_end(chat):
    """2 MB of items that nobody is connected to: a scan's page ends at 1 MB, and the sockets may be on any page."""
    dynamodb = chat.client("dynamodb")
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


def test_a_frame_of_32_kb_is_taken_and_one_byte_more_closes_the_socket_with_1009(chat):
    with people(chat, 2) as (ada, grace):
        ada.send("x" * FRAME_BYTES)
        assert len(grace.recv()) == len(ada.recv()) == FRAME_BYTES
        ada.send("x" * (FRAME_BYTES + 1))
        assert close_code(ada) == 1009
        grace.send("I am still here")
        assert grace.recv() == "I am still here"


def test_a_message_over_128_kb_closes_the_socket_with_1009_whatever_its_frames(chat):
    with people(chat, 1) as (ada,):
        say(ada, "x" * (128 * 1024 + 1))
        assert close_code(ada) == 1009


def test_a_binary_frame_closes_the_socket_with_1003(chat):
    with people(chat, 1) as (ada,):
        ada.send_binary(b"hello")
        assert close_code(ada) == 1003


def test_functions_answer_nothing_to_the_sender(chat):
    with people(chat, 1) as (ada,):
        for text in ("once", "again", "and again"):  # an answer would come in between: one function is called at a time
            ada.send(text)
            assert ada.recv() == text


def test_the_stage_limits_how_often_each_route_is_taken(chat):
    """What a limit does is tested in test_stage_limits.py: the local cloud itself has none."""
    stage = chat.client("apigatewayv2").get_stage(ApiId=chat.require_api(), StageName=STAGE)
    other, messages = stage["DefaultRouteSettings"], stage["RouteSettings"]["$default"]
    assert 0 < messages["ThrottlingRateLimit"] <= messages["ThrottlingBurstLimit"] <= 100
    assert 0 < other["ThrottlingRateLimit"] <= other["ThrottlingBurstLimit"] <= 1000
