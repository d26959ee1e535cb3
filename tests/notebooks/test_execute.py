"""How the execution of one notebook ends, whatever happens to its kernel; with notebooks made up for it."""

import os
import signal
import sys
import threading

import nbformat
import pytest

from chatlab import notebooks, poll
from chatlab.notebooks import execute
from tests.conftest import processes_of


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """`notebook(source)`: an Outcome of a notebook with this one cell. What it writes is in `tmp_path`."""
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    monkeypatch.setenv("OF_THIS_TEST", f"{tmp_path}/")

    def run(source, **options):
        cells = [nbformat.v4.new_markdown_cell("# Sleep"), nbformat.v4.new_code_cell(source)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "it.ipynb")
        return execute("it", tmp_path / "saved" / "it.ipynb", **options)

    (tmp_path / "saved").mkdir()
    return run


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
    poll(lambda: processes_of(tmp_path) == [], "what it started to end", timeout_s=3, every_s=0.1)


def test_a_cell_that_does_not_end_when_it_is_interrupted_is_killed(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "GRACE_S", 1)
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + WITH_A_CHILD
    said = []
    outcome = notebook(deaf, on_progress=after_it_began(said.append), guard=lambda: said and "Enough.")
    assert (outcome.ok, outcome.reason) == (False, "Enough.")
    poll(lambda: processes_of(tmp_path) == [], "all to end", timeout_s=3, every_s=0.1)


def test_a_folder_that_cannot_be_written_is_said(notebook, tmp_path):
    (tmp_path / "saved").rmdir()
    outcome = notebook("1 + 1")
    assert (outcome.ok, outcome.reason) == (False, "it ran, but can't be saved: No such file or directory.")
