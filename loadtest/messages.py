"""The `load` message of docs/protocol.md."""

import json
from functools import lru_cache
from typing import NamedTuple

MAX_BYTES = 32_768
"""The largest frame that API Gateway takes (32 KB); it closes the socket with code 1009 on a larger one. A message may
have 128 KB, in several frames, but no browser's has: a broadcast here is one frame, as a page sends it."""


class Load(NamedTuple):
    run: str
    id: int
    speaker: int


def encode(run: str, broadcast: int, speaker: int, sent_ns: int, payload_bytes: int) -> str:
    """A broadcast as text of exactly `payload_bytes` bytes, or of its shortest form where that is longer."""
    message = {"type": "load", "run": run, "id": broadcast, "speaker": speaker, "sent_ns": sent_ns, "pad": ""}
    shortest = json.dumps(message, separators=(",", ":"))
    message["pad"] = "." * max(0, payload_bytes - len(shortest))
    return json.dumps(message, separators=(",", ":"))


def error_frame(payload: bytes) -> str | None:
    """What API Gateway says of a message that it could not have handled, such as "Internal server error"; else None.

    Only the sender gets it: a JSON object with `message`, `connectionId` and `requestId`, and which message is meant it
    does not say.
    """
    try:
        frame = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(frame, dict):
        return None
    texts = [frame.get(name) for name in ("message", "connectionId", "requestId")]
    return texts[0] if all(isinstance(text, str) for text in texts) else None


# All connections of a process receive the same bytes, so all but the first delivery of a broadcast are one look-up.
# That it hits also proves that the forwarded bytes are the same.
@lru_cache(maxsize=1024)
def decode(payload: bytes) -> Load | None:
    """The broadcast in a frame; None for anything else, whatever it is."""
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("type") != "load":
        return None
    run, broadcast, speaker = message.get("run"), message.get("id"), message.get("speaker")
    # bool is an int in Python, not in JSON
    if type(run) is not str or type(broadcast) is not int or type(speaker) is not int:
        return None
    return Load(run, broadcast, speaker)
