"""Begin a load test in a process of its own, and watch it."""

import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from loadtest.arguments import STOP_S
from loadtest.errors import LoadTestError
from loadtest.task import read_progress

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

ROOT = Path(__file__).resolve().parent.parent

POLL_S = 0.5

Process = subprocess.Popen[bytes] | subprocess.Popen[str]
Progress = dict[str, Any]
"""The content of progress.json, which docs/loadtest.md describes."""


def words(url: str, folder: Path, **options: object) -> list[str]:
    """The words after `locust` for the load test of a chat, with these options; its results go into `folder`."""
    own = ["-f", "loadtest/locustfile.py", "--headless", "--host", url, "--results", f"{folder}"]
    return own + [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", f"{value}")]


def begin(url: str, folder: Path, **options: object) -> subprocess.Popen[bytes]:
    """Begin that load test. It ends by itself."""
    command = [sys.executable, "-m", "locust", *words(url, folder, **options)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def watch(process: Process, folder: str | Path, show: Callable[..., None] | None = None) -> None:
    """Show the progress of a load test until it ends: in a notebook as one display that changes, elsewhere as one line.

    Args:
        process: the running `locust`. If its output is a pipe, it is read here, so that the pipe cannot fill up.
        folder: its --results.
        show: what shows a line, if not a `Display`; it is called with `last=True` at the end.

    Raises:
        LoadTestError: in one sentence, if the test failed or is not complete. What it measured is in `folder`.
        KeyboardInterrupt: after the process and its children have ended.
    """
    output = [_Tail(stream) for stream in (process.stdout, process.stderr) if stream]
    show = show or Display()
    try:
        while process.poll() is None:
            show(describe(_progress(folder, process.pid)))
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
    except KeyboardInterrupt:
        stop(process)
        raise
    finally:
        progress = _progress(folder, process.pid)
        show(describe(progress), last=True)
        for tail in output:
            tail.thread.join(1)
    if process.returncode:
        raise LoadTestError(reason(progress, [line for tail in output for line in tail.lines], process.returncode))


def describe(progress: Progress) -> str:
    """A test's progress.json in one line."""
    if not progress:
        return "starting"
    parts = [f"{progress['open']:,}/{progress['users']:,} connected"]
    if progress["missing"] is not None and not progress["open"]:  # it is over
        parts = [f"{progress['users'] - progress['failed']:,}/{progress['users']:,} were connected"]
    if progress["failed"]:
        parts.append(f"{progress['failed']:,} failed")
    if progress["refused"]:
        parts.append(f"{progress['refused']:,} refused for now")
    if progress["state"] != "connecting":
        parts.append(f"{progress['sent']:,}/{progress['broadcasts']:,} broadcasts")
        parts.append(f"{progress['delivered']:,} deliveries")
    if progress["p50_ms"] is not None:
        parts.append(f"p50 {_ms(progress['p50_ms'])}, p99 {_ms(progress['p99_ms'])}")
    if progress["missing"] is not None:
        parts.append(f"{progress['missing']:,} missing")
    elif progress["state"] != "connecting":
        parts.append(f"{progress['in_flight']:,} on their way")
    return ", ".join(parts)


def stop(process: Process) -> None:
    """End a load test with SIGTERM, so that it writes its results; after `STOP_S` kill it and its children."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    process.kill()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    psutil.wait_procs(family, timeout=2)


class Display:
    """One text that changes in place."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._shown: str | None = None
        try:
            from IPython import get_ipython
            from IPython.display import display

            self._display = display if hasattr(get_ipython(), "kernel") else None
        except ImportError:
            self._display = None

    def __call__(self, text: str, last: bool = False) -> None:
        if self._display:
            if self._handle is None:
                content = {"text/plain": text}
                self._handle = self._display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython's, without types
            elif text != self._shown:
                self._handle.update({"text/plain": text}, raw=True)
        elif sys.stdout.isatty():
            print(f"\r\x1b[K{text}", end="\n" if last else "", flush=True)
        elif last:
            print(text, flush=True)
        self._shown = text


class _Tail:
    """The last lines of a pipe, read in a thread."""

    def __init__(self, stream: IO[bytes] | IO[str]) -> None:
        self.lines: deque[str] = deque(maxlen=50)
        lines = (line.decode(errors="replace") if isinstance(line, bytes) else line for line in stream)
        self.thread = threading.Thread(target=self.lines.extend, args=(lines,), daemon=True)
        self.thread.start()


def _progress(folder: str | Path, pid: int) -> Progress:
    """The progress of the test in the process `pid`; empty if the file is an earlier test's."""
    progress = read_progress(Path(folder))
    return progress if progress.get("pid") == pid else {}


def reason(progress: Progress, output: list[str], status: int) -> str:
    """Why a load test with this exit status is not complete, in one sentence; `output` are lines that it printed."""
    if message := progress.get("message"):
        return str(message)
    for line in reversed(output):
        # Locust's log, `[time] host/ERROR/logger: message`, and argparse's message about an argument.
        if found := re.search(r"(?:/ERROR/[^:]*|^\S+: error): (.+)", line):
            return found[1].strip()
    return f"The load test ended with exit status {status}; its output says why."


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"
