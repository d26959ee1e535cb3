"""WebSocket frames as API Gateway takes them: of text, 32 KB at most, and 128 KB in all that belong to one message.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
"""

MAX_MESSAGE_BYTES, MAX_FRAME_BYTES = 128 * 1024, 32 * 1024

SERVER = {"ws_max_size": (MAX_MESSAGE_BYTES, MAX_FRAME_BYTES), "ws_per_message_deflate": False}
"""uvicorn's settings. What is larger closes its socket with 1009. It hands `ws_max_size` on to websockets, which takes
one number for both, or these two."""

UNSUPPORTED_DATA = 1003


def text_only(app):
    """The application, to which a binary frame does not get: it closes its socket with 1003.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-binary-media-types.html
    """

    async def closing(scope, receive, send):
        async def listen():
            message = await receive()
            if message["type"] == "websocket.receive" and message.get("bytes") is not None:
                await send({"type": "websocket.close", "code": UNSUPPORTED_DATA})
                return {"type": "websocket.disconnect", "code": UNSUPPORTED_DATA}
            return message

        await app(scope, listen if scope["type"] == "websocket" else receive, send)

    return closing
