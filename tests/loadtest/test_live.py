"""Watching a load test."""

import json
import signal
import subprocess
import sys
import threading
import time

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

from loadtest import live
from loadtest.errors import LoadTestError

PROGRESS = {
    "state": "broadcasting", "users": 200, "broadcasts": 20, "open": 200, "failed": 0, "refused": 0, "sent": 12,
    "delivered": 2_400, "p50_ms": 110.2, "p99_ms": 180.0, "in_flight": 0, "missing": None, "message": "",
}  # fmt: skip
TELL = """
import json, os, sys, time

def tell(**changes):
    open({path!r}, "w").write(json.dumps({progress!r} | changes | {{"pid": os.getpid()}}))
"""


@pytest.fixture
def child(tmp_path):
    """`child(code)`: a process that writes its progress as a load test does, then runs `code`."""

    def start(code, **options):
        script = TELL.format(path=f"{tmp_path / 'progress.json'}", progress=PROGRESS) + f"tell()\n{code}\n"
        return subprocess.Popen([sys.executable, "-c", script], **options)

    return start


def test_the_line_has_what_one_wants_to_know():
    assert live.describe(PROGRESS) == (
        "200/200 connected, 12/20 broadcasts, 2,400 deliveries, p50 110 ms, p99 180 ms, 0 on their way"
    )
    assert live.describe(PROGRESS | {"missing": 3}).endswith(", 3 missing")
    early = PROGRESS | {"state": "connecting", "open": 30, "failed": 2, "refused": 7, "p50_ms": None}
    assert live.describe(early) == "30/200 connected, 2 failed, 7 refused for now"
    assert live.describe({}) == "starting"
    over = live.describe(PROGRESS | {"open": 0, "missing": 0, "failed": 1})
    assert over.startswith("199/200 were connected, 1 failed") and over.endswith(", 0 missing")


def test_a_complete_test_is_no_error_and_a_full_pipe_does_not_hold_it_up(child, tmp_path, capsys):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    live.watch(child("print('x' * 1_000_000); time.sleep(0.8)", **pipes), tmp_path)
    assert capsys.readouterr().out.startswith("200/200 connected, 12/20 broadcasts")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("tell(message='So it is.'); sys.exit(1)", r"^So it is\.$"),
        (
            "print('[2030-01-01] host/ERROR/loadtest.coordinator: --users must be more than 0.'); sys.exit(1)",
            r"^--users must be more than 0\.$",
        ),
        ("sys.exit(3)", "exit status 3"),
    ],
    ids=["its own words", "the words of its log", "no word"],
)
def test_a_failed_test_is_an_error_in(child, tmp_path, code, says):
    with pytest.raises(LoadTestError, match=says):
        live.watch(child(code, stdout=subprocess.PIPE, stderr=subprocess.STDOUT), tmp_path)


def test_an_earlier_tests_progress_is_not_shown(tmp_path, capsys):
    (tmp_path / "progress.json").write_text(json.dumps(PROGRESS | {"pid": 1}))
    live.watch(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"]), tmp_path)
    assert capsys.readouterr().out == "starting\n"


def test_an_interrupt_ends_the_process_and_its_children(child, tmp_path):
    sleep = "time.sleep(60)"
    process = child(f"import subprocess; subprocess.Popen([sys.executable, '-c', 'import time; {sleep}']); {sleep}")
    family, grandchildren = psutil.Process(process.pid), []

    def interrupt():
        while not grandchildren:
            grandchildren.extend(family.children())
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        live.watch(process, tmp_path)
    assert process.poll() is not None
    # Nobody may have asked yet how it ended, then it is a zombie.
    assert all(not member.is_running() or member.status() == psutil.STATUS_ZOMBIE for member in grandchildren)


def test_a_notebook_has_one_display_that_changes(tmp_path):
    script = TELL.format(path=f"{tmp_path / 'progress.json'}", progress=PROGRESS)
    script += "for sent in (1, 2, 20):\n    tell(sent=sent)\n    time.sleep(0.8)\n"
    cell = nbformat.v4.new_code_cell(
        "import subprocess, sys\nfrom loadtest import live\n"
        f"live.watch(subprocess.Popen([sys.executable, '-c', {script!r}]), {str(tmp_path)!r})"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    (output,) = cell.outputs
    assert output.data["text/plain"].startswith("200/200 connected, 20/20 broadcasts")
