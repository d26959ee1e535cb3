"""The page, served from this machine to this machine: for accounts whose buckets may not be public.

Notebook 05 starts it in the background, and 99 stops it. After a restart of the machine, `python -m chatlab page` does.
Each function takes a lab, or its Settings.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Protocol, TypedDict

import psutil

from chatlab.paths import ROOT, ensure_writable, state_dir
from chatlab.polling import poll
from chatlab.processes import end_tree

HOST = "127.0.0.1"
SERVER = ("-m", "chatlab", "page")
"""What the command line of the process that serves a page has in it."""


class LabSettings(Protocol):
    """What tells one lab's page from another's: a Lab and its Settings have it."""

    @property
    def target(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def region(self) -> str: ...


class _State(TypedDict):
    """What the process that serves a page writes into its state file."""

    pid: int
    port: int


def folder(lab: LabSettings) -> Path:
    """Where the lab's page is built. The WebSocket's address is in it, so no two labs can share one."""
    return state_dir() / "page" / f"{lab.target}.{lab.name}.{lab.region}"


def url(lab: LabSettings) -> str | None:
    """Where the page is served from this machine; None if it is not."""
    state = _state(lab)
    return f"http://{HOST}:{state['port']}/index.html" if state and _process(state) else None


def start(lab: LabSettings) -> str:
    """Serve the page that is built, in the background, unless it is served already; its URL.

    Raises LabError if the process does not become ready.
    """
    if running := url(lab):
        return running
    log = ensure_writable(folder(lab).parent) / f"{folder(lab).name}.log"
    with log.open("wb") as output:
        subprocess.Popen(
            [sys.executable, *SERVER, str(folder(lab).resolve())], cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    what = f"the page to be served (its process writes into {log})"
    served: str = poll(lambda: url(lab), what, timeout_s=30, every_s=0.1)
    return served


def stop(lab: LabSettings) -> None:
    """End the process that serves the page, if there is one."""
    state = _state(lab)
    if state and (process := _process(state)):
        end_tree(process)
    state_file(folder(lab)).unlink(missing_ok=True)


def state_file(served: Path) -> Path:
    """Where the process that serves the folder `served` writes its pid and port, once it listens."""
    return served.parent / f"{served.name}.json"


def _state(lab: LabSettings) -> _State | None:
    try:
        state: _State = json.loads(state_file(folder(lab)).read_text())
    except (OSError, ValueError):
        return None
    return state


def _process(state: _State) -> psutil.Process | None:
    """The process that serves the page; None if it has ended. Its pid may belong to another process by now."""
    try:
        process = psutil.Process(state["pid"])
        is_server = process.status() != psutil.STATUS_ZOMBIE and set(SERVER) <= set(process.cmdline())
    except psutil.Error:
        return None
    return process if is_server else None
