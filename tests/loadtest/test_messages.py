"""The `load` message of docs/protocol.md, and API Gateway's error frame."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.emulator import protocols
from chatlab.paths import ROOT
from loadtest import messages
from tests.support.strategies import ANY_JSON, objects


@given(st.text(), st.integers(0, 2**31), st.integers(0, 2**31), st.integers(0, 2**63), st.integers(0, 2_000))
def test_whatever_is_sent_is_read_back_and_is_as_long_as_asked(run, broadcast, speaker, sent_ns, size):
    shortest = len(messages.encode(run, broadcast, speaker, sent_ns, 0).encode())
    payload = messages.encode(run, broadcast, speaker, sent_ns, size).encode()
    assert messages.decode(payload) == messages.Load(run, broadcast)
    assert len(payload) == max(size, shortest)


@pytest.mark.parametrize(
    "payload",
    [
        b"hello",
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"type":"chat","run":"r","id":7,"speaker":3}',
        b'{"type":"load","run":"r","id":"7","speaker":3}',
        b'{"type":"load","run":"r","id":true,"speaker":3}',
        b'{"type":"load","run":1,"id":7,"speaker":3}',
        b'{"message":"hi"}',
        b'{"message":1,"connectionId":"","requestId":""}',
    ],
)
def test_anything_else_is_no_broadcast_and_no_error(payload):
    assert messages.decode(payload) is None
    assert messages.error_frame(payload) is None


FRAMES = st.one_of(
    st.binary(),
    ANY_JSON.map(json.dumps).map(str.encode),
    objects(type=st.just("load"), run=st.text(), id=st.integers(), speaker=st.integers())
    .map(json.dumps)
    .map(str.encode),
    objects(message=st.text(), connectionId=st.text(), requestId=st.text()).map(json.dumps).map(str.encode),
)


@given(FRAMES)
def test_any_frame_is_a_broadcast_an_error_or_neither(payload):
    message, error = messages.decode(payload), messages.error_frame(payload)
    if message is not None:
        assert [type(value) for value in message] == [str, int]
    assert error is None or isinstance(error, str)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Geändert: \x1b[31m\n", r"Geändert: \x1b[31m\n"),  # the terminal does not turn red
        ("very long" * 1_000_000, ("very long" * 23)[:200]),
    ],
)
def test_what_api_gateway_says_of_a_message_that_failed_is_known(text, shown):
    frame = json.dumps({"message": text, "connectionId": "Zm9v", "requestId": "YmFy"}).encode()
    assert messages.error_frame(frame) == shown
    assert messages.decode(frame) is None


def test_the_largest_frame_is_the_same_for_page_load_test_and_local_cloud():
    constants = {
        "frontend/src/protocol.ts": r"MAX_FRAME_BYTES = ([\d_]+);",
        "docs/protocol.md": r"at most 32 KB \(([\d,]+) bytes\)",
    }
    for file, pattern in constants.items():
        assert int(re.search(pattern, (ROOT / file).read_text())[1].replace(",", "")) == messages.MAX_BYTES
    assert protocols.MAX_FRAME_BYTES == messages.MAX_BYTES
