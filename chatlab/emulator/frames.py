"""WebSocket frames as API Gateway takes them: of text, 32 KB at most, and 128 KB in all that belong to one message.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
"""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_MESSAGE_BYTES, MAX_FRAME_BYTES = 128 * 1024, 32 * 1024
STUCK_S = 20.0
"""How long a client may take nothing of what is there for it. Assumed."""

UNSUPPORTED_DATA, TOO_BIG = 1003, 1009


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's, with an end to what one client can make it keep."""

    _stuck = None

    def pause_writing(self):
        """There is more for this client than it takes: that is not waited for without end."""
        super().pause_writing()
        self._stuck = self.loop.call_later(STUCK_S, self.transport.abort)

    def resume_writing(self):
        super().resume_writing()
        self._stuck.cancel()

    def connection_lost(self, exc):
        super().connection_lost(exc)
        if self._stuck:
            self._stuck.cancel()

    def handle_ping(self):
        """A pong for each ping would be collected for ever, too, where they are not read."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > MAX_MESSAGE_BYTES:
            self.transport.abort()

    def handle_cont(self, event):
        """Frames without a byte in them would be collected for ever."""
        if len(self.frames) < MAX_MESSAGE_BYTES:
            super().handle_cont(event)
        else:
            self.conn.fail(TOO_BIG)
            self.handle_parser_exception()


SERVER = {
    "ws": Protocol,
    "ws_max_size": (MAX_MESSAGE_BYTES, MAX_FRAME_BYTES),
    "ws_per_message_deflate": False,
    "ws_ping_interval": None,
}
"""uvicorn's settings. What is larger closes its socket with 1009. It hands `ws_max_size` on to websockets, which takes
one number for both, or these two. API Gateway sends no pings; uvicorn would close whoever is late with a pong."""


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
