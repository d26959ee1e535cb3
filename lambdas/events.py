"""What the broadcast reads of its event, which is API Gateway's for a message, and of Lambda's context."""

import base64
from typing import NotRequired, Protocol, TypedDict


class RequestContext(TypedDict):
    connectionId: str
    eventType: NotRequired[str]
    messageId: NotRequired[str]


class Shard(TypedDict):
    """A segment of a parallel scan, of `total_segments`, from behind the connection id `start`, if there is one."""

    segment: int
    total_segments: int
    start: NotRequired[str | None]


class Event(TypedDict):
    """What the function reads of API Gateway's event for a message; with a `shard` it comes from `invoke_shards`."""

    requestContext: RequestContext
    body: str | None
    isBase64Encoded: bool
    shard: NotRequired[Shard]


class Context(Protocol):
    """What the function reads of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


def message_bytes(event: Event) -> bytes:
    """The message as bytes: text as UTF-8, a binary frame as API Gateway hands it over, in Base64."""
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()


def speaker(event: Event) -> list[str]:
    """The connection that has said it, as a list of ids: empty where the event is not API Gateway's (notebook 03)."""
    request = event["requestContext"]
    return [request["connectionId"]] if request.get("eventType") == "MESSAGE" else []
