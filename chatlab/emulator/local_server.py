"""Serve the local cloud: `python chatlab/emulator chatlab.emulator.local_server DESCRIPTOR KEY_FILE`.

DESCRIPTOR is that of a socket which listens already. KEY_FILE gets the access key of the person who uses the cloud.
"""

import faulthandler
import io
import logging
import os
import socket
import sys
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path

import uvicorn
from ministack.core import tls

from chatlab.emulator.asgi import App
from chatlab.emulator.cloud import cloud
from chatlab.emulator.guard import Guard
from chatlab.emulator.lifetime import end_with_the_run
from chatlab.emulator.server import configuration

STDOUT, STDERR = 1, 2


def main(descriptor: str, key_file: str) -> None:
    """Serve until SIGTERM."""
    serve(cloud, descriptor, key_file)


def serve(make_cloud: Callable[[Path, str], App], descriptor: str, key_file: str) -> None:
    """Serve what `make_cloud`, called as `cloud` is, returns, until SIGTERM."""
    log_into(Path(key_file).with_name("cloud.log"), int(os.environ["MAX_LOG_BYTES"]))
    end_with_the_run()
    # uvicorn's --fd would take the socket for a Unix one and not set TCP_NODELAY: 40 ms more a connection.
    listener = socket.socket(fileno=int(descriptor))
    host, port = listener.getsockname()
    # MiniStack's own settings, since the URL that it gives to the functions has to be the one that is served.
    certificate, private_key = tls.resolve_tls_material() if tls.use_ssl_enabled() else (None, None)
    scheme = "https" if certificate else "http"
    app = make_cloud(Path(key_file), os.environ["CHATLAB_TRAITS"])
    guarded = Guard(app, f"{scheme}://{host}:{port}")
    config = configuration(guarded, host=host, port=port, certificate=certificate, private_key=private_key)
    uvicorn.Server(config).run(sockets=[listener])


class Log(RotatingFileHandler):
    """A log in two files of at most `maxBytes` each; the name of the older one ends with ".1".

    What this process writes by itself, such as the last words of a crash, goes into the newer one, too.
    """

    def _open(self) -> io.TextIOWrapper:
        file = super()._open()
        for descriptor in (STDOUT, STDERR):
            os.dup2(file.fileno(), descriptor)
        return file

    def format(self, record: logging.LogRecord) -> str:
        """The record in ASCII, where a character is a byte, and not longer than a file may be."""
        return super().format(record).encode("ascii", "backslashreplace").decode()[: self.maxBytes - 1]


class Printed(io.TextIOBase):
    """A file whose lines become log records."""

    def write(self, text: str) -> int:
        """Log it, without the newline that `print` writes apart."""
        if text.strip():
            logging.getLogger("printed").info(text.rstrip())
        return len(text)


def log_into(file: Path, max_bytes: int) -> None:
    """From now on, in this process: whatever is logged or printed goes into the file, as `Log` says."""
    log = Log(file, maxBytes=max_bytes, backupCount=1)
    line = "%(asctime)s %(levelname)s [%(name)s] %(message)s"
    logging.basicConfig(level=logging.INFO, handlers=[log], format=line, force=True)  # the emulator has its own handler
    logging.raiseExceptions = False  # on a full disk they would be printed, and so logged again
    sys.stdout = sys.stderr = Printed()
    faulthandler.enable(STDERR)
