"""Run notebooks, with a line of progress for each, and without leaving a process behind."""

import ast
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from chatlab import local_cloud
from chatlab.local_cloud import kill_session
from chatlab.paths import NOTEBOOKS, write_atomically
from chatlab.privacy import redact, redact_notebook
from chatlab.signals import discard_output, postponed

BUILD = ["00_start", "01_dynamodb_table", "02_iam_role", "03_lambda_functions", "04_websocket_api", "05_frontend_on_s3"]
FASTER = "07_faster"
MEASURE = ["06_load_test", FASTER, "08_how_many"]
CAPSTONE = "09_your_turn"  # for learners alone: a run leaves it out
OPTIONAL = {"region_load": "10_inside_the_region", "appsync": "11_beside_appsync_events"}
"""Notebooks that a run takes along only if it is asked to: by the option that does so, such as `--region-load yes`."""
TEARDOWN = "99_teardown"
INJECTED = "injected-parameters"
# Where a kernel's sockets are: their path may have 107 characters at most, and the lab's folder may lie deep.
SOCKETS = "/tmp"
PRACTICE = "practice"  # the tag of cells that break something, or are exercises
DEPLOY = (
    "deploy"  # the tag of the cells of FASTER that deploy the fast broadcast, which run without the others in `make up`
)
SELF_EXPLANATORY = ("LabError", "LoadTestError", "NotOurs")  # the exceptions whose sentence is enough

CELL_TIMEOUT_S = 3 * 60 * 60  # the cell that takes longest is the largest load test
WARM_UP = "_ = [__import__(name) for name in ('boto3', 'pandas', 'chatlab.lab', 'loadtest.plots')]"
"""What most notebooks import: a kernel does it while it waits for the notebook before it to end."""
START_TIMEOUT_S = 120  # for a kernel to be ready: on an idle machine it takes a second
GRACE_S = 35  # for an interrupted cell to stop what it started: longest takes a load test, loadtest.arguments.STOP_S


@dataclass
class Outcome:
    """How one notebook went. `reason` is one sentence, empty when `ok`."""

    name: str
    seconds: float
    ok: bool
    reason: str = ""


def read(path: Path) -> NotebookNode:
    """A notebook from a file."""
    read_file: Callable[..., NotebookNode] = nbformat.read  # which has no types
    return read_file(path, as_version=4)


def to_text(notebook: NotebookNode) -> str:
    """What the file of a notebook contains."""
    write_text: Callable[..., str] = nbformat.writes  # which has no types
    return write_text(notebook).rstrip() + "\n"


def execute_all(
    names: Sequence[str], folder: Path, parameters: Mapping[str, object], practice: bool = False, only: str = ""
) -> Iterator[Outcome]:
    """Run the notebooks until one fails, and save them into `folder`; yields the outcome of each, and prints a line.

    While one runs, the kernel of the next one starts: that takes as long as some notebooks. `only` is that of
    `execute`.

    Raises BrokenPipeError if nobody reads the lines.
    """
    if not local_cloud.status()["running"]:
        local_cloud.stop()  # clean up after one that died before this began, which is no reason to stop now

    def begin(name: str) -> _Execution:
        return _Execution(name, folder / f"{name}.ipynb", parameters, practice, only)

    with ExitStack() as running:
        following = running.enter_context(begin(names[0]))
        for name, next_name in zip_longest(names, names[1:]):
            current = following
            if next_name:
                following = running.enter_context(begin(next_name))
            line = _Line(f"{name} ({only})" if only else name)
            health_check = (lambda: None) if name == TEARDOWN else _cloud_is_alive  # the teardown ends it itself
            outcome = current.finish(line.update, health_check)
            yield outcome
            line.end(outcome)
            if not outcome.ok:
                break


def _cloud_is_alive() -> str | None:
    """None; a sentence if the local cloud was started and has died."""
    if local_cloud.has_died():
        return "the local cloud died, and everything in it is gone with it: run it again."
    return None


def print_line(text: str) -> None:
    """Print a line. Raises BrokenPipeError, once, if nobody reads it: the pipe or the terminal is closed."""
    try:
        print(text, flush=True)
    except OSError as error:
        discard_output()
        raise BrokenPipeError from error


class _Line:
    """One notebook's line: rewritten in place on a terminal; in a pipe, printed every few seconds and at the end."""

    WIDTH = 100
    EVERY_S = 5

    def __init__(self, name: str) -> None:
        self._name, self._is_terminal, self._printed_at = name, sys.stdout.isatty(), time.monotonic()
        self.update("")

    def update(self, text: str) -> None:
        line = f"  {self._name:<24} {text[: self.WIDTH - 27]}"
        with suppress(OSError):  # `end` meets the same error, and handles it
            if self._is_terminal:
                print(f"\r{line}".ljust(self.WIDTH), end="", flush=True)
            elif time.monotonic() - self._printed_at > self.EVERY_S:
                self._printed_at = time.monotonic()
                print(line, flush=True)

    def end(self, outcome: Outcome) -> None:
        blank = "\r".ljust(self.WIDTH) + "\r" if self._is_terminal else ""
        verdict = "ok" if outcome.ok else f"FAILED: {outcome.reason}"
        print_line(f"{blank}  {self._name:<24} {outcome.seconds:>6.1f} s  {verdict}")


def execute(
    name: str,
    save_as: Path,
    parameters: Mapping[str, object] = MappingProxyType({}),
    practice: bool = False,
    on_progress: Callable[[str], object] = lambda text: None,
    health_check: Callable[[], str | None] = lambda: None,
    only: str = "",
) -> Outcome:
    """Run the notebook `name` in a kernel of its own, and save it with its outputs, finished or not.

    Args:
        parameters: the values of the notebook's parameters; it ignores those that it does not have. See `inject`.
        practice: whether the cells with the tag `practice` run, too.
        on_progress: is given the last line that the running cell shows, each time that it changes.
        health_check: is called twice a second. If it returns a sentence, that ends the notebook and is its reason.
        only: if given, only the code cells with this tag run, and no others are saved.

    Ctrl-C ends the notebook, too, and is raised again afterwards. If the kernel itself prints something, beside the
    cells' outputs, that is in a `.log` beside `save_as`.
    """
    with _Execution(name, save_as, parameters, practice, only) as execution:
        return execution.finish(on_progress, health_check)


class _Execution:
    """A notebook whose kernel starts, and whose cells run once `finish` is called; at the end of `with` it is over."""

    def __init__(self, name: str, save_as: Path, parameters: Mapping[str, object], practice: bool, only: str) -> None:
        notebook = read(NOTEBOOKS / f"{name}.ipynb")
        if only:
            notebook.cells = [cell for cell in notebook.cells if only in cell.metadata.get("tags", [])]
        self._notebook = inject(notebook, parameters)
        for cell in notebook.cells:  # each output that is there later is of this run
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        self._name, self._save_as = name, save_as
        self._client = _Client(
            notebook,
            kernel_name="python3",
            timeout=CELL_TIMEOUT_S,
            startup_timeout=CELL_TIMEOUT_S,  # by the wall clock, which may be set meanwhile; START_TIMEOUT_S is not
            skip_cells_with_tag="" if practice else PRACTICE,
            record_timing=False,  # so a notebook that is run twice is the same
            coalesce_streams=True,
            shutdown_kernel="immediate",  # its memory is all that it holds: leaving politely takes a second
            extra_arguments=[f"--IPKernelApp.exec_lines={WARM_UP}"],
            resources={"metadata": {"path": str(NOTEBOOKS)}},
        )

    def __enter__(self) -> "_Execution":
        with ExitStack() as stack:
            sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="chatlab-", dir=SOCKETS))
            log = stack.enter_context(_kernel_log(self._save_as))
            # In a thread of its own, nbclient leaves the signals alone, and this thread is free to watch. It waits by
            # `join` alone: Ctrl-C, which can come between any two steps, would leave another lock closed for ever.
            self._thread = threading.Thread(target=self._client.run, args=(sockets, log))
            stack.callback(self._stop)
            with postponed():
                self._thread.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def finish(self, on_progress: Callable[[str], object], health_check: Callable[[], str | None]) -> Outcome:
        """Run the cells, and save the notebook; see `execute`."""
        client, started, reason = self._client, time.monotonic(), ""
        client.on_progress = on_progress
        client.may_begin = True
        try:
            while self._thread.is_alive() and not reason:
                self._thread.join(0.5)
                is_late = not client.has_begun and time.monotonic() - started > START_TIMEOUT_S
                reason = f"the kernel did not start within {START_TIMEOUT_S} s." if is_late else health_check() or ""
        finally:
            self._stop()
            unsaved = _save(self._notebook, self._save_as)
        reason = reason or _why_failed(client.error, _failed_cell(self._notebook, client.cell_index)) or unsaved
        return Outcome(self._name, round(time.monotonic() - started, 1), not reason, redact(reason))

    def _stop(self) -> None:
        """End the kernel and all that it started, politely first: an interrupted cell stops its own child processes.

        The processes that a cell started are in the kernel's session, even if the kernel was killed. The local cloud
        and the page's server outlive the kernel, since they have sessions of their own.
        """
        client = self._client
        client.is_stopped = True
        kernel_pid, client.kernel_pid = client.kernel_pid, None  # its number is another process's, one day
        try:
            if kernel_pid and client.has_begun and self._thread.is_alive():  # one that starts would print a traceback
                with suppress(ProcessLookupError):
                    os.kill(kernel_pid, signal.SIGINT)
                self._thread.join(GRACE_S)
        finally:
            if kernel_pid:
                kill_session(kernel_pid)
            if self._thread.ident:
                self._thread.join()


def _why_failed(error: BaseException | None, cell: str) -> str:
    """Why a notebook failed at this cell, in a sentence; "" without an error. Raises an error of another kind."""
    match error:
        case None:
            return ""
        case CellExecutionError():
            message = " ".join(error.evalue.split())
            return f"{cell}: {message if error.ename in SELF_EXPLANATORY else f'{error.ename}: {message}'}"
        case CellTimeoutError():
            return f"{cell}: it was not done after {CELL_TIMEOUT_S / 3600:g} hours, and was ended."
        case DeadKernelError():
            return f"{cell}: the kernel died."
        case RuntimeError() | OSError():  # OSError: a full disk, too many files
            return f"the kernel did not start: {getattr(error, 'strerror', None) or error}."
    raise error


def inject(notebook: NotebookNode, parameters: Mapping[str, object]) -> NotebookNode:
    """Insert a cell after the one tagged `parameters` that overrides what it assigns.

    The convention is papermill's: https://papermill.readthedocs.io/en/latest/usage-parameterize.html
    """
    for index, cell in enumerate(notebook.cells):
        if "parameters" in cell.metadata.get("tags", []):
            names = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
            assigned = {name.id for name in names if isinstance(name.ctx, ast.Store)}
            lines = [f"{name} = {value!r}" for name, value in parameters.items() if name in assigned]
            if lines:
                source = "\n".join(["# Parameters of this run", *lines])
                new_cell: Callable[..., NotebookNode] = nbformat.v4.new_code_cell
                notebook.cells.insert(index + 1, new_cell(source, id=INJECTED, metadata={"tags": [INJECTED]}))
            break
    return notebook


def without_injected(notebook: NotebookNode) -> NotebookNode:
    """Remove the injected cell from an executed notebook, and number the others as if it had never been there."""
    notebook.cells = [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", [])]
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    for number, cell in enumerate(code, start=1):
        for part in (cell, *cell.outputs):
            if "execution_count" in part:
                part.execution_count = number
    return notebook


def _save(notebook: NotebookNode, path: Path) -> str:
    """Write the notebook, redacted. Returns a sentence if that fails, for example because the disk is full; else ""."""
    try:
        write_atomically(path, to_text(redact_notebook(notebook)))
    except OSError as error:
        return f"it ran, but can't be saved: {error.strerror}."
    return ""


@contextmanager
def _kernel_log(save_as: Path) -> Iterator[IO[bytes]]:
    """A file for a kernel's standard error, to which a kernel that is killed may write that it could not clean up."""
    path = save_as.with_suffix(".log")
    try:
        path.touch()
    except OSError:  # the notebook can't be saved there either, and the outcome says so
        path = Path(os.devnull)
    try:
        with path.open("wb") as log:
            yield log
    finally:
        with suppress(OSError):
            if path.is_file() and not path.stat().st_size:
                path.unlink()


class _Client(NotebookClient):
    """nbclient's client, whose cells wait for `may_begin`, and which another thread can end."""

    def __init__(self, notebook: NotebookNode, **options: Any) -> None:
        super().__init__(notebook, on_cell_start=self._cell_started, **options)
        self.on_progress: Callable[[str], object] = lambda text: None
        self.may_begin = self.has_begun = self.is_stopped = False
        self.cell_index = 0
        """The index of the cell that runs, or ran last, among all cells."""
        self.kernel_pid: int | None = None
        self.error: BaseException | None = None

    def run(self, sockets: str, log: IO[bytes]) -> None:
        """Run all cells in a kernel with its sockets in the folder `sockets`, and its standard error in `log`."""
        self._sockets = sockets
        try:
            self.execute(stderr=log)
        except BaseException as error:
            self.error = error

    def create_kernel_manager(self) -> KernelManager:
        manager = super().create_kernel_manager()
        manager.transport, manager.connection_file = "ipc", f"{self._sockets}/kernel.json"
        return manager

    async def async_start_new_kernel(self, **options: Any) -> None:
        await super().async_start_new_kernel(**options)
        provisioner: Any = self.km and self.km.provisioner  # a local one, which has a pid
        self.kernel_pid = provisioner.pid
        if self.is_stopped:  # before there was a kernel that could be ended
            kill_session(provisioner.pid)

    def _cleanup_kernel(self) -> None:
        """Nothing: nbclient calls this when this process ends, where it would fail, since the kernel was ended."""

    def _cell_started(self, cell: NotebookNode, cell_index: int) -> None:
        while not (self.may_begin or self.is_stopped):
            time.sleep(0.01)
        if self.is_stopped:
            raise DeadKernelError("stopped")
        self.has_begun, self.cell_index = True, cell_index

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        content = msg["content"]
        data = content.get("data", {})  # of a table or a picture, the form as text says nothing
        text = content.get("text") or (data["text/plain"] if data.keys() == {"text/plain"} else "")
        lines = text.replace("\r", "\n").split("\n")
        if last := next((line.strip() for line in reversed(lines) if line.strip()), ""):
            self.on_progress(last)
        return super().process_message(msg, cell, cell_index)


def _failed_cell(notebook: NotebookNode, cell_index: int) -> str:
    """The cell with this index as "cell 5 (Verify)": its number among the code cells, and the heading above it."""
    above = notebook.cells[: cell_index + 1]
    texts = [line for cell in above if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    heading = next((line.lstrip("# ") for line in reversed(texts) if line.startswith("#")), "")
    return f"cell {sum(cell.cell_type == 'code' for cell in above)} ({heading})"
