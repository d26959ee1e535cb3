"""How the execution of one notebook ends, whatever happens to its kernel; with notebooks made up for it."""

import inspect
import json
import os
import signal
import sys
import tempfile
import threading
import time
from itertools import count

import nbformat
import pytest
from nbclient import NotebookClient

from chatlab import notebooks, poll
from chatlab.notebooks import execute
from tests.support.processes import processes_of


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """`notebook(source)`: an Outcome of a notebook with this cell and another. What it writes is in `tmp_path`."""
    deep = tmp_path / "-".join(["deep"] * 30)  # deeper than the path of a socket may be
    deep.mkdir()
    monkeypatch.setattr(notebooks, "NOTEBOOKS", deep)
    monkeypatch.setattr(notebooks, "WARM_UP", "pass")  # these cells need nothing of what most notebooks import
    monkeypatch.setenv("OF_THIS_TEST", f"{tmp_path}/")

    def run(source, **options):
        cells = [nbformat.v4.new_markdown_cell("# Sleep"), nbformat.v4.new_code_cell(source)]
        # The notebooks of the repository carry the outputs of a run.
        before = nbformat.v4.new_output("stream", text="of another run")
        practice = {"tags": [notebooks.PRACTICE]}
        cells += [nbformat.v4.new_code_cell("2", execution_count=2, outputs=[before], metadata=practice)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), deep / "it.ipynb")
        return execute("it", tmp_path / "saved" / "it.ipynb", **options)

    (tmp_path / "saved").mkdir()
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        monkeypatch.setattr(notebooks, "SOCKETS", sockets)
        yield run
        assert os.listdir(sockets) == []  # however the kernel ended


# A cell that starts a process, as notebook 06 starts Locust, says so, and waits.
WITH_A_CHILD = f"""
import os, subprocess, time
child = subprocess.Popen([{sys.executable!r}, "-c", "import time; time.sleep(300)"])
print(os.getpid(), flush=True)
time.sleep(300)
"""


def after_it_began(do):
    """An `on_progress` that calls `do(pid of the kernel)` once, in a thread, when the cell tells it."""
    begun = []

    def told(line):
        if line.isdecimal() and not begun:
            begun.append(threading.Timer(0.5, do, [int(line)]))
            begun[0].start()

    return told


def test_a_kernel_that_is_killed_is_said_and_what_it_started_ends(notebook, tmp_path):
    outcome = notebook(WITH_A_CHILD, on_progress=after_it_began(lambda kernel: os.kill(kernel, signal.SIGKILL)))
    assert (outcome.ok, outcome.reason) == (False, "cell 1 (Sleep): the kernel died.")
    assert "of another run" not in (tmp_path / "saved" / "it.ipynb").read_text()
    poll(lambda: processes_of(tmp_path) == [], "what it started to end", timeout_s=3, every_s=0.1)


LOCKING = ("threading.py", "futures/_base.py")
"""The files of Python's that take a lock in several steps."""

# A cell that writes down on which TCP ports its kernel listens, where its sockets are, and who may enter there.
LOOK = """
import json, os, sys, ipykernel, psutil
tcp = [port.laddr.port for port in psutil.Process().net_connections("tcp") if port.status == "LISTEN"]
tcp.remove(sys.stdout.pub_thread._pipe_port)  # for what forked processes print, each with 16 bytes drawn by the kernel
folder = os.path.dirname(ipykernel.get_connection_file())
sockets = [name for name in os.listdir(folder) if not name.endswith(".json")]
print(json.dumps([tcp, len(sockets), oct(os.stat(folder).st_mode & 0o777)]))
"""


def test_a_cell_that_is_practice_runs_where_that_is_asked_for(notebook, tmp_path):
    for practice, counts in ((False, [1, None]), (True, [1, 2])):
        assert notebook("1 + 1", practice=practice).ok
        _, *code = nbformat.read(tmp_path / "saved" / "it.ipynb", as_version=4).cells
        assert [cell.execution_count for cell in code] == counts
        assert "of another run" not in f"{code}"


def test_a_kernel_listens_where_only_its_owner_may_enter(notebook):
    said = []
    assert notebook(LOOK, on_progress=said.append).ok
    assert json.loads(said[0]) == [[], 5, "0o700"]


def test_a_cell_that_does_not_end_when_it_is_interrupted_is_killed(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "GRACE_S", 1)
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + WITH_A_CHILD
    said = []
    outcome = notebook(deaf, on_progress=after_it_began(said.append), health_check=lambda: said and "Enough.")
    assert (outcome.ok, outcome.reason) == (False, "Enough.")
    poll(lambda: processes_of(tmp_path) == [], "all to end", timeout_s=3, every_s=0.1)


@pytest.mark.parametrize("number", [1, 2])
def test_ctrl_c_just_after_a_lock_was_taken_leaves_no_thread_waiting_for_it(notebook, number):
    """The signal comes between two steps of the code that takes this thread's first, or second, lock."""
    taken = []

    def interrupt(frame, event, _):
        code = frame.f_code
        if event == "return" and code.co_name == "__enter__" and code.co_filename.endswith(LOCKING):
            taken.append(code)
            if len(taken) == number:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.setprofile(interrupt)
    try:
        was_interrupted = notebook("1 + 1") is None
    except KeyboardInterrupt:
        was_interrupted = True
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGINT, before)
    # A second lock would be one that this thread and the one that runs the cells have in common.
    assert (was_interrupted, len(taken)) == (number == 1, 1)


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """`kernel("sleep", "300")`: what is begun in place of a kernel."""
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    return lambda *words: (folder / "kernel.json").write_text(
        json.dumps({"argv": words, "display_name": "made up", "language": "python"})
    )


def test_a_kernel_that_never_comes_is_not_waited_for_for_ever(notebook, tmp_path, monkeypatch, kernel):
    kernel("sleep", "300")
    monkeypatch.setattr(notebooks, "START_TIMEOUT_S", 1)
    outcome = notebook("1 + 1")
    assert (outcome.ok, outcome.reason) == (False, "the kernel did not start within 1 s.")
    poll(lambda: processes_of(tmp_path) == [], "it to end", timeout_s=3, every_s=0.1)


def test_a_kernel_that_does_not_start_is_said_and_its_own_words_are_kept(notebook, tmp_path, kernel):
    kernel("sh", "-c", "echo Traceback >&2; exit 1", "{connection_file}")
    outcome = notebook("1 + 1")
    assert not outcome.ok and outcome.reason.startswith("the kernel did not start")
    assert (tmp_path / "saved" / "it.log").read_text() == "Traceback\n"


def test_a_clock_that_is_set_is_no_reason_to_stop(notebook, monkeypatch):
    """It is set by an hour, back and forth, each time that it is read."""
    true, looks = time.time, count()
    monkeypatch.setattr(time, "time", lambda: true() + (-3600, 0, 3600)[next(looks) % 3])
    outcome = notebook("import time; time.sleep(1)")
    assert (outcome.ok, outcome.reason) == (True, "")
    assert next(looks) > 1  # it was looked at, before and after a step


def test_a_folder_that_cannot_be_written_is_said(notebook, tmp_path):
    (tmp_path / "saved").rmdir()
    outcome = notebook("1 + 1")
    assert (outcome.ok, outcome.reason) == (False, "it ran, but can't be saved: No such file or directory.")


def test_nbclient_cleans_up_by_the_method_that_is_overridden():
    """The other methods of nbclient's that `chatlab.notebooks` overrides, undocumented, are called in the tests above.

    Each version of nbclient may change them: pyproject.toml has the versions that may be installed.
    """
    assert callable(NotebookClient._cleanup_kernel)
    assert "self._cleanup_kernel" in inspect.getsource(NotebookClient)
