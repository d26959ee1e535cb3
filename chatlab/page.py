"""The page: building it with npm, and serving it from this machine to this machine alone.

S3 serves the page, unless the account allows no public bucket. Then notebook 05 starts this server in the background,
and 99 stops it. After a restart of the machine, `python -m chatlab page` starts it.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import psutil

from chatlab import ledger
from chatlab.emulator.process import end_with_the_run
from chatlab.errors import LabError, poll
from chatlab.local_cloud import end_tree
from chatlab.paths import FRONTEND, ROOT, ensure_writable, state_dir
from chatlab.settings import Settings

HOST = "127.0.0.1"
PORT = 8000  # if it is taken, any free one
COMMAND = ("-m", "chatlab", "page")  # what the command line of the process that serves a page has in it
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
LAST_WORDS = 2_000  # characters of npm's output that an error repeats


def npm(*arguments: str, **variables: str) -> None:
    """Run npm of the lab's virtual environment in the folder of the page's source, with these environment variables.

    Raises LabError if there is no npm, or if it fails, with what npm says.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    executable = shutil.which("npm", path=path)
    if executable is None:
        raise LabError(
            "Node.js is missing: `make setup` installs it into .venv, and so does environment.yml for conda."
        )
    # An error repeats npm's output as text. A tool may colour it if FORCE_COLOR is set, whatever its value.
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    # Node would run compiled code that it finds in the folder for temporary files, even another user's.
    with tempfile.TemporaryDirectory() as temporary:
        own = {"PATH": path, "NO_COLOR": "1", "TMPDIR": temporary, "NODE_DISABLE_COMPILE_CACHE": "1"}
        done = subprocess.run(
            [executable, *arguments], cwd=FRONTEND, env=environment | own | variables,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    if done.returncode != 0:
        raise LabError(f"The page could not be built; npm says: {done.stdout[-LAST_WORDS:].strip()}")


def folder(lab: Settings) -> Path:
    """Where the lab's page is built. The WebSocket's address is in it, so no two labs can share one."""
    return state_dir() / "page" / f"{lab.target}.{lab.name}.{lab.region}"


def url(lab: Settings) -> str | None:
    """Where the page is served from this machine; None if it is not."""
    running = _running(lab)
    return f"http://{HOST}:{running[1]}/index.html" if running else None


def start(lab: Settings) -> str:
    """Serve the page that is built, in the background, unless it is served already; its URL.

    Raises LabError if the process does not become ready.
    """
    if served := url(lab):
        return served
    log = ensure_writable(folder(lab).parent) / f"{folder(lab).name}.log"
    with log.open("wb") as output:
        subprocess.Popen(
            [sys.executable, *COMMAND, str(folder(lab).resolve())], cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    what = f"the page to be served (its process writes into {log})"
    started: str = poll(lambda: url(lab), what, timeout_s=30, every_s=0.1)
    return started


def stop(lab: Settings) -> None:
    """End the process that serves the page, if there is one."""
    if running := _running(lab):
        end_tree(running[0])
    _state_file(folder(lab)).unlink(missing_ok=True)


def _state_file(served: Path) -> Path:
    """Where the process that serves the folder `served` writes its pid and port, once it listens."""
    return served.parent / f"{served.name}.json"


def _running(lab: Settings) -> tuple[psutil.Process, int] | None:
    """The process that serves the page, and its port; None if it has ended. Its pid may be another process's by now."""
    try:
        state = json.loads(_state_file(folder(lab)).read_text())
        process = psutil.Process(state["pid"])
        is_server = process.status() != psutil.STATUS_ZOMBIE and set(COMMAND) <= set(process.cmdline())
    except (OSError, ValueError, psutil.Error):
        return None
    return (process, state["port"]) if is_server else None


def main(arguments: Sequence[str]) -> None:
    """Serve until Ctrl-C; the pid and port are in the state file. Raises LabError if there is nothing to serve."""
    parser = argparse.ArgumentParser(prog="python -m chatlab page", description="Serve the page from this machine.")
    parser.add_argument("folder", nargs="?", type=Path, help="a built page (default: of the lab that 00 chose)")
    served: Path = parser.parse_args(arguments).folder or _chosen_folder()
    if not (served / "index.html").exists():
        raise LabError("The page is not built yet: run notebook 05_frontend_on_s3 first.")
    end_with_the_run()
    state = _state_file(served)
    with listen(served) as server:
        state.write_text(json.dumps({"pid": os.getpid(), "port": server.server_port}))
        print(f"The page is at http://{HOST}:{server.server_port}/index.html", flush=True)
        try:
            server.serve_forever()
        finally:
            state.unlink(missing_ok=True)


def _chosen_folder() -> Path:
    """Where the page of the lab in use is built."""
    entry = ledger.current()
    if entry is None:
        raise LabError("No lab is chosen yet: run notebook 00_start first.")
    if served_at := url(entry.settings):
        raise LabError(f"The page is served already: {served_at}")
    return folder(entry.settings)


def listen(served: Path) -> ThreadingHTTPServer:
    """A server of the files in the folder `served`, which listens already. Raises LabError if no port is free."""
    for port in (PORT, 0):
        try:
            return ThreadingHTTPServer((HOST, port), partial(Handler, directory=str(served)))
        except OSError:
            continue
    raise LabError("No port is free on this machine for the page: end something that listens.")


class Handler(SimpleHTTPRequestHandler):
    """Serves the page to itself, and to you where you follow a link to it, at this one address.

    Loopback is no fence: the page of any site that is open in a browser here can send requests, also under a name of
    its own that resolves to 127.0.0.1.
    """

    server: ThreadingHTTPServer
    timeout = 10  # seconds that a client may take to send its request
    extensions_map = CONTENT_TYPES

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """The requested file, or None after an error was sent."""
        if self.headers.get_all("Host") != [f"{HOST}:{self.server.server_port}"]:
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
