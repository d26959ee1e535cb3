"""Serve the local cloud: `python chatlab/emulator chatlab.emulator.local_server DESCRIPTOR KEY_FILE`.

DESCRIPTOR is that of a socket which listens already. KEY_FILE gets the access key of the person who uses the cloud.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from ministack.core import tls

from chatlab.emulator.access_keys import is_issued
from chatlab.emulator.asgi import App
from chatlab.emulator.cloud import cloud
from chatlab.emulator.guard import Guard
from chatlab.emulator.lifetime import end_with_the_run
from chatlab.emulator.server import configuration


def main(descriptor: str, key_file: str) -> None:
    """Serve until SIGTERM."""
    serve(cloud, descriptor, key_file)


def serve(make_cloud: Callable[[Path, str], App], descriptor: str, key_file: str) -> None:
    """Serve what `make_cloud`, called as `cloud` is, returns, until SIGTERM."""
    end_with_the_run()
    # uvicorn's --fd would take the socket for a Unix one and not set TCP_NODELAY: 40 ms more a connection.
    listener = socket.socket(fileno=int(descriptor))
    host, port = listener.getsockname()
    # MiniStack's own settings, since the URL that it gives to the functions has to be the one that is served.
    certificate, private_key = tls.resolve_tls_material() if tls.use_ssl_enabled() else (None, None)
    scheme = "https" if certificate else "http"
    app = make_cloud(Path(key_file), os.environ["CHATLAB_TRAITS"])
    guarded = Guard(app, f"{scheme}://{host}:{port}", is_issued)
    config = configuration(guarded, host=host, port=port, certificate=certificate, private_key=private_key)
    uvicorn.Server(config).run(sockets=[listener])
