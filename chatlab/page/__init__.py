"""The page, served from this machine to this machine: for accounts whose buckets may not be public.

Notebook 05 starts it in the background, and 99 stops it. After a restart of the machine, `python -m chatlab.page` does.
Each function takes a lab, or its Settings.
"""

import json
import subprocess
import sys

import psutil

from chatlab.paths import ROOT, ensure_writable, state_dir
from chatlab.polling import poll

HOST = "127.0.0.1"
SERVER = "chatlab.page"


def folder(lab):
    """Where the lab's page is built. The WebSocket's address is in it, so no two labs can share one."""
    return state_dir() / "page" / f"{lab.target}.{lab.name}.{lab.region}"


def url(lab):
    """Where the page is served from this machine; None if it is not."""
    state = _state(lab)
    return f"http://{HOST}:{state['port']}/index.html" if state and _process(state) else None


def start(lab):
    """Serve the page that is built, in the background, unless it is served already; its URL.

    Raises LabError if the process does not become ready.
    """
    if not url(lab):
        log = ensure_writable(folder(lab).parent) / f"{folder(lab).name}.log"
        with log.open("wb") as output:
            subprocess.Popen(
                [sys.executable, "-m", SERVER, str(folder(lab).resolve())], cwd=ROOT,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        poll(lambda: url(lab), f"the page to be served (its process writes into {log})", timeout_s=30, every_s=0.1)
    return url(lab)


def stop(lab):
    """End that process, if there is one."""
    if process := _process(_state(lab)):
        process.terminate()
        _, alive = psutil.wait_procs([process], timeout=5)
        for each in alive:
            each.kill()
    state_file(folder(lab)).unlink(missing_ok=True)


def state_file(served):
    """Where the process that serves the folder `served` writes its pid and port, once it listens."""
    return served.parent / f"{served.name}.json"


def _state(lab):
    try:
        return json.loads(state_file(folder(lab)).read_text())
    except (OSError, ValueError):
        return None


def _process(state):
    """The process that serves, or None. A pid alone may be somebody else's by now."""
    try:
        process = psutil.Process(state["pid"]) if state else None
        ours = process and process.status() != psutil.STATUS_ZOMBIE and SERVER in process.cmdline()
        return process if ours else None
    except psutil.Error:
        return None
