"""uvicorn, the web server in front of MiniStack, configured and limited so that it takes what API Gateway takes.

WebSocket frames are of text and hold 32 KB at most, and all frames of one message 128 KB:
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
"""

import asyncio
import logging
from pathlib import Path
from typing import Any, Literal

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from chatlab.emulator.calls import REALTIME_PATH, App, Message, Receive, Scope, Send

MAX_HEAD_BYTES = 64 * 1024
MAX_MESSAGE_BYTES, MAX_FRAME_BYTES = 128 * 1024, 32 * 1024
MAX_PUBLISH_BYTES = 1_200 * 1024
"""AppSync Events takes as much in a message: https://docs.aws.amazon.com/general/latest/gr/appsync.html"""
MAX_STALLED_S = 20.0
"""How long a client may read nothing of what is there for it. Assumed."""
MAX_WRITE_BYTES = 1024 * 1024
"""More than this is kept for no client: posts are refused before that, but not the answers to its own messages."""
BUFFERED_BYTES = "chatlab.buffered_bytes"
"""The extension of a WebSocket's scope that returns how much its client has not read yet."""
UNSUPPORTED_DATA, MESSAGE_TOO_BIG = 1003, 1009
"""Codes that close a WebSocket: https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1"""
UNREMARKABLE = (
    "ASGI callable returned without completing handshake.",  # ASGI allows to refuse a handshake with a status
    "Invalid UTF-8 sequence received from client.",  # uvicorn closes the socket with 1007, as RFC 6455 has it
)
"""What uvicorn logs, the second with a traceback, although nothing is wrong here."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, with a limit to the size of a request's line and headers, which its parser collects without end."""

    _unanswered_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Close the connection if the head of a request is too large."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:  # nothing to answer yet
            self._unanswered_bytes += len(data)
            if self._unanswered_bytes > MAX_HEAD_BYTES:
                self.transport.close()
        else:
            self._unanswered_bytes = 0


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, where whoever sends does not wait for the client, with limits to what it keeps for one client."""

    _stalled: asyncio.TimerHandle | None = None

    def handle_connect(self, event: Request) -> None:
        """Add to the scope how much the client has not read yet."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][BUFFERED_BYTES] = self.transport.get_write_buffer_size  # type: ignore[assignment]  # any type in fact
            if self.scope["path"].endswith(REALTIME_PATH):
                self.conn.max_message_size, self.conn.max_fragment_size = MAX_PUBLISH_BYTES, None

    async def send(self, message: Any) -> None:
        """End the connection of a client for which too much is kept."""
        await super().send(message)
        if self.transport.get_write_buffer_size() > MAX_WRITE_BYTES:
            self.transport.abort()

    # uvicorn's own two would let `send` wait.

    def pause_writing(self) -> None:
        """The client takes less than there is for it: end the connection if that lasts."""
        self._stalled = self.loop.call_later(MAX_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken it."""
        self._cancel_abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        super().connection_lost(exc)
        self._cancel_abort()

    def handle_ping(self) -> None:
        """End the connection of a client that does not read its pongs: they would pile up without end."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > MAX_MESSAGE_BYTES:
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        """Refuse a message of too many frames: frames without a byte in them would pile up without end."""
        if len(self.frames) < MAX_MESSAGE_BYTES:
            super().handle_cont(event)
        else:
            self.conn.fail(MESSAGE_TOO_BIG)
            self.handle_parser_exception()

    def _cancel_abort(self) -> None:
        if self._stalled:
            self._stalled.cancel()


def text_only(app: App) -> App:
    """The application without binary frames: one closes its socket with 1003.

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


def configuration(
    app: App,
    *,
    port: int = 0,
    lifespan: Literal["on", "off"] = "on",
    certificate: Path | None = None,
    private_key: Path | None = None,
) -> uvicorn.Config:
    """uvicorn's settings. With a certificate and its key it serves HTTPS.

    uvloop and httptools are twice as fast as MiniStack's own server. A message that is too large closes its socket with
    1009. API Gateway sends no pings; uvicorn's would close the socket of a client that is late with its pong (1011).
    """
    logging.getLogger("uvicorn.error").addFilter(_is_remarkable)
    return uvicorn.Config(
        app,
        port=port,  # of 127.0.0.1, uvicorn's default; not used where it is given a socket
        lifespan=lifespan,
        loop="uvloop",
        http=HttpProtocol,
        ssl_certfile=certificate,
        ssl_keyfile=None if private_key is None else str(private_key),
        ws=WebSocketProtocol,
        # websockets, to which uvicorn hands it on, takes one number for messages and frames, or these two.
        ws_max_size=(MAX_MESSAGE_BYTES, MAX_FRAME_BYTES),  # type: ignore[arg-type] # uvicorn knows one
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,  # an idle client does not answer when TLS ends: the server would wait for it
        access_log=False,
        log_level="warning",
        log_config=None,  # this process has a log of its own
    )


def _is_remarkable(record: logging.LogRecord) -> bool:
    return record.getMessage() not in UNREMARKABLE
