"""The web server in front of the emulator, uvicorn, configured to behave as API Gateway does."""

import logging
from pathlib import Path
from typing import Literal

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chatlab.emulator import frames
from chatlab.emulator.asgi import App

MAX_HEAD_BYTES = 64 * 1024
UNREMARKABLE = (
    "ASGI callable returned without completing handshake.",  # it was refused with a status, which ASGI allows
    "Invalid UTF-8 sequence received from client.",  # whose socket it closes with 1007, as RFC 6455 has it
)
"""What uvicorn logs, the second with a traceback, although nothing is wrong here."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, with a limit to the size of a request's line and headers: its parser would collect them for ever."""

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


def configuration(
    app: App,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    lifespan: Literal["on", "off"] = "on",
    certificate: Path | None = None,
    private_key: Path | None = None,
) -> uvicorn.Config:
    """uvicorn's settings. With a certificate and its key it serves HTTPS.

    uvloop and httptools are twice as fast as MiniStack's own server. A message that is too large closes its socket with
    1009. API Gateway sends no pings; uvicorn would close with 1011 whoever is late with a pong.
    """
    logging.getLogger("uvicorn.error").addFilter(_is_remarkable)
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan=lifespan,
        loop="uvloop",
        http=HttpProtocol,
        ssl_certfile=certificate,
        ssl_keyfile=None if private_key is None else str(private_key),
        ws=frames.WebSocketProtocol,
        # websockets, to which uvicorn hands it on, takes one number for messages and frames, or these two.
        ws_max_size=(frames.MAX_MESSAGE_BYTES, frames.MAX_FRAME_BYTES),  # type: ignore[arg-type] # uvicorn knows one
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,  # an idle client does not answer when TLS ends: the server would wait for it
        access_log=False,
        log_level="warning",
        log_config=None,  # as whatever else is logged in this process
    )


def _is_remarkable(record: logging.LogRecord) -> bool:
    return record.getMessage() not in UNREMARKABLE
