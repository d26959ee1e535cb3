"""Running the notebooks in order, with progress, and without leaving a process behind."""

import ast
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from chatlab.paths import NOTEBOOKS, write_atomically
from chatlab.privacy import redact, redact_notebook
from loadtest import live

BUILD = ["00_start", "01_dynamodb_table", "02_iam_role", "03_lambda_functions", "04_websocket_api", "05_frontend_on_s3"]
MEASURE = ["06_load_test", "07_scaling"]
TEARDOWN = "99_teardown"
INJECTED = "injected-parameters"
SENTENCES = ("LabError", "LoadTestError", "NotOurs")  # the exceptions that say all there is to say

CELL_TIMEOUT_S = 3 * 60 * 60  # the longest that a cell may take, which is the largest load test: nothing runs for ever
START_TIMEOUT_S = 120  # for a kernel to be ready: it takes one second on an idle machine
GRACE_S = live.STOP_S + 5  # for an interrupted cell to stop what it started: the longest to stop is a load test


@dataclass
class Outcome:
    """How one notebook went. `reason` is one sentence, empty when `ok`."""

    name: str
    seconds: float
    ok: bool
    reason: str = ""


def execute(name, save_as, parameters=MappingProxyType({}), on_progress=lambda text: None, health_check=lambda: None):
    """Run the notebook `name` in a kernel of its own, and save it with its outputs, whole or not; an Outcome.

    Of `parameters` (a dict), the notebook takes those that it has: see `inject`.
    `on_progress(text)` gets each new last line of what the running cell shows. `health_check()` is called twice a
    second: a sentence from it ends the notebook, and becomes its reason. So does Ctrl-C, which is raised again
    afterwards.
    What the kernel itself has to say, beside the cells' outputs, is in a `.log` beside `save_as`, if it is anything.
    """
    notebook = without_outputs(inject(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4), parameters))
    client = _Client(
        notebook,
        on_progress=on_progress,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # otherwise each kernel logs that loopback is not encrypted
        timeout=CELL_TIMEOUT_S,
        startup_timeout=CELL_TIMEOUT_S,  # of the wall clock, which may be set meanwhile: START_TIMEOUT_S is not
        record_timing=False,  # a notebook that is run twice is the same twice
        coalesce_streams=True,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    started = time.monotonic()
    reason = ""
    # In a thread of its own, nbclient leaves the signals alone, and this one is free to watch.
    with _log_of_the_kernel(save_as) as log, ThreadPoolExecutor(1) as pool:
        try:
            running = pool.submit(client.execute, stderr=log)
            while wait([running], timeout=0.5).not_done and not reason:
                is_late = not client.has_begun and time.monotonic() - started > START_TIMEOUT_S
                reason = f"the kernel did not start within {START_TIMEOUT_S} s." if is_late else health_check() or ""
        finally:
            _stop(client)
            unsaved = _save(notebook, save_as)
    cell = _failed_cell(notebook, client.cell_index)
    try:
        running.result()
        reason = reason or unsaved
    except CellExecutionError as error:
        said = " ".join(error.evalue.split())
        said = said if error.ename in SENTENCES else f"{error.ename}: {said}"
        reason = reason or f"{cell}: {said}"
    except CellTimeoutError:
        reason = reason or f"{cell}: it was not done after {CELL_TIMEOUT_S / 3600:g} hours, and was ended."
    except DeadKernelError:
        reason = reason or f"{cell}: the kernel died."
    except (RuntimeError, OSError) as error:  # OSError: a full disk, too many files
        reason = reason or f"the kernel did not start: {getattr(error, 'strerror', None) or error}."
    return Outcome(name, round(time.monotonic() - started, 1), not reason, redact(reason))


def inject(notebook, parameters):
    """`notebook`, with a cell after the one that is tagged `parameters`, which sets those of the dict that it assigns.

    The convention is papermill's: https://papermill.readthedocs.io/en/latest/usage-parameterize.html
    """
    for place, cell in enumerate(notebook.cells):
        if "parameters" in cell.metadata.get("tags", []):
            assigned = {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}
            lines = [f"{name} = {value!r}" for name, value in parameters.items() if name in assigned]
            if lines:
                source = "\n".join(["# Parameters of this run", *lines])
                injected = nbformat.v4.new_code_cell(source, id=INJECTED, metadata={"tags": [INJECTED]})
                notebook.cells.insert(place + 1, injected)
            break
    return notebook


def without_outputs(notebook):
    """`notebook` as if it had never been run, so that what is in a cell then is of this run."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def without_injected(notebook):
    """An executed `notebook` as if nothing had been injected."""
    notebook.cells = [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", [])]
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    for number, cell in enumerate(code, start=1):
        for part in (cell, *cell.outputs):
            if "execution_count" in part:
                part.execution_count = number
    return notebook


def _save(notebook, path):
    """Write it, masked; a sentence if that can't be done, because the disk is full, for example."""
    try:
        write_atomically(Path(path), nbformat.writes(redact_notebook(notebook)).rstrip() + "\n")
    except OSError as error:
        return f"it ran, but can't be saved: {error.strerror}."
    return ""


@contextmanager
def _log_of_the_kernel(save_as):
    """A file for a kernel's standard error: a kernel that is ended may say on it that it could not end as it wanted."""
    path = Path(save_as).with_suffix(".log")
    try:
        path.touch()
    except OSError:  # the notebook can't be saved there either, and that is said
        path = Path(os.devnull)
    try:
        with path.open("wb") as log:
            yield log
    finally:
        with suppress(OSError):
            if path.is_file() and not path.stat().st_size:
                path.unlink()


class _Client(NotebookClient):
    def __init__(self, notebook, on_progress, **options):
        super().__init__(notebook, on_cell_start=self._begun, **options)
        self._on_progress = on_progress
        self.has_begun = self.is_stopped = False
        self.cell_index = 0
        """Of the cell that runs, or ran last, among all cells."""
        self.kernel = None
        """Its pid, once it has one."""
        self.ended = threading.Event()

    def execute(self, **launch_options):
        try:
            return super().execute(**launch_options)
        finally:
            self.ended.set()

    async def async_start_new_kernel(self, **options):
        await super().async_start_new_kernel(**options)
        self.kernel = self.km.provisioner.pid

    def _cleanup_kernel(self):
        """What nbclient calls at the end of this process, failing if the kernel is gone. `_stop` has seen to it."""

    def _begun(self, cell, cell_index):
        if self.is_stopped:  # before there was a kernel to end
            raise DeadKernelError("stopped")
        self.has_begun, self.cell_index = True, cell_index

    def process_message(self, msg, cell, cell_index):
        content = msg["content"]
        data = content.get("data", {})  # of what has richer forms, a table or a picture, a line of text says nothing
        text = content.get("text") or (data["text/plain"] if data.keys() == {"text/plain"} else "")
        lines = text.replace("\r", "\n").split("\n")
        if last := next((line.strip() for line in reversed(lines) if line.strip()), ""):
            self._on_progress(last)
        return super().process_message(msg, cell, cell_index)


def _stop(client):
    """End the kernel and all that it started, politely first: an interrupted cell stops its own child processes."""
    client.is_stopped = True
    try:
        if client.has_begun and not client.ended.is_set():  # one that is only starting would answer with a traceback
            with suppress(ProcessLookupError):
                os.kill(client.kernel, signal.SIGINT)
            client.ended.wait(GRACE_S)
    finally:
        if client.kernel:
            _kill_session(client.kernel)


def _kill_session(leader):
    """Kill what is left of the session that the kernel `leader` began.

    What a cell started is in it, even when the kernel was killed. The local cloud and the page's server, which are to
    outlive the kernel, have sessions of their own.
    """
    killed = set()
    while members := {pid for pid in psutil.pids() if _session_of(pid) == leader} - killed:
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= members


def _session_of(pid):
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _failed_cell(notebook, cell_index):
    """The cell at this place, as "cell 5 (Verify)": its number among the code cells and the heading above it."""
    above = notebook.cells[: cell_index + 1]
    texts = [line for cell in above if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    heading = next((line.lstrip("# ") for line in reversed(texts) if line.startswith("#")), "")
    return f"cell {sum(cell.cell_type == 'code' for cell in above)} ({heading})"
