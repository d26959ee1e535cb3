"""Serve the local cloud: `python chatlab/emulator <file descriptor of a listening socket> <file for the key>`.

Run by its folder and not as a part of `chatlab`, so that it imports nothing of what notebooks need.
"""

import os
import socket
import sys
from pathlib import Path

import frames
import uvicorn
from cloud import cloud
from guard import Guard
from keys import is_issued
from lifetime import end_with_the_run
from ministack.core import tls
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024


class Protocol(HttpToolsProtocol):
    """HTTP, with an end to how long a request's line and headers may be: the parser would collect them for ever."""

    _unanswered_bytes = 0

    def data_received(self, data):
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:  # nothing to answer yet
            self._unanswered_bytes += len(data)
            if self._unanswered_bytes > MAX_HEAD_BYTES:
                self.transport.close()
        else:
            self._unanswered_bytes = 0


def main(descriptor, key_file):
    """Serve until SIGTERM."""
    end_with_the_run()
    listener = socket.socket(fileno=int(descriptor))
    host, port = listener.getsockname()
    # MiniStack's own settings, since the URL that it gives to the functions has to be the one that is served.
    certificate, key = tls.resolve_tls_material() if tls.use_ssl_enabled() else (None, None)
    scheme = "https" if certificate else "http"
    # uvloop and httptools are twice as fast as MiniStack's own server. uvicorn's --fd would take the socket for a Unix
    # one and not set TCP_NODELAY: 40 ms more a connection.
    config = uvicorn.Config(
        Guard(cloud(Path(key_file), os.environ["CHATLAB_TRAITS"]), f"{scheme}://{host}:{port}", is_issued),
        lifespan="on",  # without a key there is nothing to serve
        loop="uvloop",
        http=Protocol,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        **frames.SERVER,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,  # an idle client does not answer when TLS ends: it would be waited for
        access_log=False,
        log_level="warning",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
