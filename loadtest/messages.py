"""The messages that connections exchange: the `load` message of docs/protocol.md, and API Gateway's error frame."""

import json
from functools import lru_cache
from typing import Any, NamedTuple

from loadtest.errors import printable

MAX_BYTES = 32_768
"""The largest frame that API Gateway accepts (32 KB); it closes the connection with code 1009 on a larger one. A
message may have 128 KB in several frames, but no browser sends it so: a broadcast here is one frame, as a page sends
it."""
MAX_MESSAGE_BYTES = 131_072
"""The largest message of API Gateway, in either direction."""


class Load(NamedTuple):
    """A broadcast as its receivers read it."""

    run: str
    """The id of the test."""
    id: int
    """The number of the broadcast."""


def encode(run: str, broadcast: int, speaker: int, sent_ns: int, payload_bytes: int) -> str:
    """A broadcast as text of exactly `payload_bytes` bytes, or of its shortest form where that is longer."""
    message = {"type": "load", "run": run, "id": broadcast, "speaker": speaker, "sent_ns": sent_ns, "pad": ""}
    shortest = json.dumps(message, separators=(",", ":"))
    message["pad"] = "." * max(0, payload_bytes - len(shortest))
    return json.dumps(message, separators=(",", ":"))


def error_frame(payload: bytes) -> str | None:
    """The text of API Gateway's answer to a message that failed, such as "Internal server error"; else None.

    Only the sender gets this frame: a JSON object with `message`, `connectionId` and `requestId`. It does not say which
    message it answers.
    """
    frame = json_object(payload)
    if not all(isinstance(frame.get(name), str) for name in ("message", "connectionId", "requestId")):
        return None
    return printable(frame["message"])


def json_object(payload: str | bytes) -> dict[str, Any]:
    """The JSON object in a frame; empty if there is none."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def decode(payload: str | bytes) -> Load | None:
    """The broadcast in a message; None for any other one, and for one that is larger than `MAX_BYTES`."""
    return _decode(payload) if len(payload) <= MAX_BYTES else None


# All connections of a process receive the same bytes, so each delivery of a broadcast but the first is one look-up.
@lru_cache(maxsize=1024)
def _decode(payload: str | bytes) -> Load | None:
    message = json_object(payload)
    if message.get("type") != "load":
        return None
    run, broadcast = message.get("run"), message.get("id")
    # bool is an int in Python, not in JSON
    if type(run) is not str or type(broadcast) is not int:
        return None
    return Load(run, broadcast)
