"""What waits for a client that does not read: API Gateway's buffer has an end, the emulator's has none.

Where the buffer is full, a post is answered 429. How much it holds is not documented; assumed is what a few of the
largest messages need.
https://docs.aws.amazon.com/botocore/latest/reference/services/apigatewaymanagementapi/client/exceptions/LimitExceededException.html
"""

import json
from typing import Any, Protocol, TypeAlias

from ministack.services import apigateway

MAX_BYTES, MAX_MESSAGES = 512 * 1024, 1_000
Response: TypeAlias = tuple[int, dict[str, str], bytes]  # status, headers, body: as MiniStack's handlers return it
FULL: Response = (
    429, {"x-amzn-ErrorType": "LimitExceededException"}, json.dumps({"message": "Too Many Requests"}).encode(),
)  # fmt: skip


class _Outbox(Protocol):
    """The asyncio.Queue in which MiniStack keeps a connection's messages; None ends it."""

    _queue: "list[str | None]"

    def qsize(self) -> int: ...


def limit_send_buffers() -> None:
    """Let posts to a connection whose buffer is full be refused, from now on, in this process."""
    handle = apigateway.handle_connections_api

    async def handle_connections_api(
        method: str, api_id: str, stage: str, connection_id: str, body: bytes, headers: dict[str, str]
    ) -> Response:
        connection: dict[str, Any] | None = apigateway._ws_connections.get(connection_id)
        if method == "POST" and connection and _is_full(connection["outbox"]):
            return FULL
        response: Response = await handle(method, api_id, stage, connection_id, body, headers)
        return response

    apigateway.handle_connections_api = handle_connections_api


def _is_full(outbox: _Outbox) -> bool:
    waiting = outbox.qsize()
    if waiting < MAX_MESSAGES:
        return waiting > 1 and sum(len((text or "").encode()) for text in outbox._queue) > MAX_BYTES
    return True
