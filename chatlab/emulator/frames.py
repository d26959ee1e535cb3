"""WebSocket frames as API Gateway takes them: of text, 32 KB at most, and 128 KB in all that belong to one message.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
"""

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from chatlab.emulator.asgi import App, Message, Receive, Scope, Send

MAX_MESSAGE_BYTES, MAX_FRAME_BYTES = 128 * 1024, 32 * 1024
MAX_STALLED_S = 20.0
"""How long a client may take nothing of what is there for it. Assumed."""

UNSUPPORTED_DATA, MESSAGE_TOO_BIG = 1003, 1009
"""Codes that close a WebSocket: https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1"""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, with a limit to what one client can make it keep."""

    _stalled: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """There is more for this client than it takes: end the connection if that lasts."""
        super().pause_writing()
        self._stalled = self.loop.call_later(MAX_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken it."""
        super().resume_writing()
        self._cancel_abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        super().connection_lost(exc)
        self._cancel_abort()

    def handle_ping(self) -> None:
        """Pongs would be collected for ever, too, where the client does not read them."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > MAX_MESSAGE_BYTES:
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        """Frames without a byte in them would be collected for ever."""
        if len(self.frames) < MAX_MESSAGE_BYTES:
            super().handle_cont(event)
        else:
            self.conn.fail(MESSAGE_TOO_BIG)
            self.handle_parser_exception()

    def _cancel_abort(self) -> None:
        if self._stalled:
            self._stalled.cancel()


def text_only(app: App) -> App:
    """The application, which no binary frame reaches: one closes its socket with 1003.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-binary-media-types.html
    """

    async def with_text_only(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_text() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and message.get("bytes") is not None:
                await send({"type": "websocket.close", "code": UNSUPPORTED_DATA})
                return {"type": "websocket.disconnect", "code": UNSUPPORTED_DATA}
            return message

        await app(scope, receive_text if scope["type"] == "websocket" else receive, send)

    return with_text_only
