"""Serve the built page on this machine, to this machine: `python -m chatlab page`, until Ctrl-C."""

import argparse
import io
import json
import os
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from chatlab import ledger, page
from chatlab.emulator.lifetime import end_with_the_run
from chatlab.errors import LabError

PORT = 8000  # where something else has it, any free one
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve, and write the pid and port into the state file. Raises LabError if there is nothing to serve."""
    parser = argparse.ArgumentParser(prog="python -m chatlab page", description="Serve the page from this machine.")
    parser.add_argument("folder", nargs="?", type=Path, help="a built page (default: of the lab that 00 chose)")
    folder: Path = parser.parse_args(arguments).folder or _chosen_folder()
    if not (folder / "index.html").exists():
        raise LabError("The page is not built yet: run notebook 05_frontend_on_s3 first.")
    end_with_the_run()
    state_file = page.state_file(folder)
    with listen(folder) as server:
        state_file.write_text(json.dumps({"pid": os.getpid(), "port": server.server_port}))
        print(f"The page is at http://{page.HOST}:{server.server_port}/index.html", flush=True)
        try:
            server.serve_forever()
        finally:
            state_file.unlink(missing_ok=True)


def _chosen_folder() -> Path:
    """Where the page of the lab in use is built."""
    entry = ledger.current()
    if entry is None:
        raise LabError("No lab is chosen yet: run notebook 00_start first.")
    if url := page.url(entry.settings):
        raise LabError(f"The page is served already: {url}")
    return page.folder(entry.settings)


def listen(folder: Path) -> ThreadingHTTPServer:
    """A server of the files in `folder`, which listens already. Raises LabError if no port is free."""
    for port in (PORT, 0):
        try:
            return ThreadingHTTPServer((page.HOST, port), partial(Handler, directory=str(folder)))
        except OSError:
            continue
    raise LabError("No port is free on this machine for the page: end something that listens.")


class Handler(SimpleHTTPRequestHandler):
    """Serves the page to itself, and to whoever follows a link to it, at this one address.

    Loopback is no fence: the page of any site that is open in a browser here can send requests, also under a name of
    its own that resolves to 127.0.0.1.
    """

    server: ThreadingHTTPServer
    timeout = 10  # seconds that a client may take to send its request
    extensions_map = CONTENT_TYPES

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """The requested file, or None after an error was sent."""
        if self.headers.get_all("Host") != [f"{page.HOST}:{self.server.server_port}"]:
            self.send_error(403, "The page is at another address")
            return None
        site = self.headers.get("Sec-Fetch-Site", "none")
        is_link = (self.headers.get("Sec-Fetch-Mode"), self.headers.get("Sec-Fetch-Dest")) == ("navigate", "document")
        if site not in ("none", "same-origin") and not is_link:
            self.send_error(403, "Another site may ask for nothing here")
            return None
        return super().send_head()

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        """Nobody may see what is in a folder."""
        self.send_error(404)

    def end_headers(self) -> None:
        """Add caching as on S3; and let no other site's page show this one in a frame, or load a part of it."""
        is_named_by_its_hash = self.path.startswith("/assets/")
        self.send_header("Cache-Control", "public, max-age=31536000, immutable" if is_named_by_its_hash else "no-cache")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""
