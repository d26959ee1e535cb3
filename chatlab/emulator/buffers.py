"""What waits for a client that does not read: API Gateway keeps a buffer of it, the emulator as much as there is.

Where the buffer is full, a post is answered 429. How much it holds is not documented; assumed is what a few of the
largest messages need.
https://docs.aws.amazon.com/botocore/latest/reference/services/apigatewaymanagementapi/client/exceptions/LimitExceededException.html
"""

import json

from ministack.services import apigateway

MAX_BYTES, MAX_MESSAGES = 512 * 1024, 1_000
FULL = 429, {"x-amzn-ErrorType": "LimitExceededException"}, json.dumps({"message": "Too Many Requests"}).encode()


def bound():
    """Let posts to a connection whose buffer is full be refused, from now on, in this process."""
    handle = apigateway.handle_connections_api

    async def handle_connections_api(method, api_id, stage, connection_id, body, headers):
        connection = apigateway._ws_connections.get(connection_id)
        if method == "POST" and connection and _is_full(connection["outbox"]):
            return FULL
        return await handle(method, api_id, stage, connection_id, body, headers)

    apigateway.handle_connections_api = handle_connections_api


def _is_full(outbox):
    waiting = outbox.qsize()
    if waiting < MAX_MESSAGES:
        return waiting > 1 and sum(len(text or "") for text in outbox._queue) > MAX_BYTES
    return True
