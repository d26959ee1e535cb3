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
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient

from loadtest import live
from loadtest.errors import LoadTestError

PROGRESS = {
    "state": "broadcasting",
    "users": 200,
    "broadcasts": 20,
    "open": 200,
    "opened": 200,
    "failed": 0,
    "refused": 0,
    "sent": 12,
    "expected": 2_400,
    "delivered": 2_400,
    "deliveries_per_s": 200.0,
    "p50_ms": 110.2,
    "p99_ms": 180.0,
    "outstanding": 0,
    "missing": None,
    "message": "",
}


TELL = """
import json, os, sys, time

def tell(path, progress):
    open(path, "w").write(json.dumps(progress | {"pid": os.getpid()}))
"""


def child(tmp_path, code, **options):
    """A process that writes its progress as a load test does, then runs `code`."""
    script = tmp_path / "child.py"
    path = str(tmp_path / "progress.json")
    script.write_text(f"{TELL}\ntell({path!r}, {PROGRESS!r})\n{code}\n")
    return subprocess.Popen([sys.executable, str(script)], **options)


def test_the_line_has_what_one_wants_to_know():
    assert live.describe(PROGRESS) == (
        "200/200 connected, 12/20 broadcasts, 2,400 deliveries, p50 110 ms, p99 180 ms, 0 on their way"
    )
    assert live.describe(PROGRESS | {"missing": 3}).endswith(", 3 missing")


def test_while_connecting_it_says_how_far():
    early = PROGRESS | {"state": "connecting", "open": 30, "failed": 2, "refused": 7, "p50_ms": None}
    assert live.describe(early) == "30/200 connected, 2 failed, 7 refused for now"
    assert live.describe({}) == "starting"


def test_a_complete_test_returns_0(tmp_path, capsys):
    assert live.watch(child(tmp_path, "time.sleep(0.8)"), tmp_path) == 0
    assert capsys.readouterr().out.startswith("200/200 connected, 12/20 broadcasts")


def test_a_failed_test_is_said_in_its_own_words(tmp_path):
    code = f"tell({str(tmp_path / 'progress.json')!r}, {PROGRESS | {'message': 'So it is.'}!r})"
    with pytest.raises(LoadTestError, match=r"^So it is\.$"):
        live.watch(child(tmp_path, code + "; sys.exit(1)"), tmp_path)


def test_a_test_that_fails_before_it_begins_is_said_in_the_words_of_its_log(tmp_path):
    code = "print('[2030-01-01] host/ERROR/loadtest.coordinator: --users must be more than 0.'); sys.exit(1)"
    process = child(tmp_path, code, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with pytest.raises(LoadTestError, match=r"^--users must be more than 0\.$"):
        live.watch(process, tmp_path)


def test_a_process_that_ends_without_a_word_is_an_error_too(tmp_path):
    with pytest.raises(LoadTestError, match="exit status 3"):
        live.watch(child(tmp_path, "sys.exit(3)"), tmp_path)


def test_an_earlier_tests_progress_is_not_shown(tmp_path, capsys):
    path = tmp_path / "progress.json"
    path.write_text(json.dumps(PROGRESS | {"pid": 1}))
    live.watch(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"]), tmp_path)
    assert capsys.readouterr().out == "starting\n"


def test_a_full_pipe_does_not_hold_the_test_up(tmp_path):
    process = child(tmp_path, "print('x' * 1_000_000)", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert live.watch(process, tmp_path) == 0


def test_an_interrupt_ends_the_process_and_its_children(tmp_path):
    code = "import subprocess; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); time.sleep(60)"
    process = child(tmp_path, code)
    family = psutil.Process(process.pid)

    grandchildren = []

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
    script = tmp_path / "child.py"
    path = str(tmp_path / "progress.json")
    script.write_text(
        f"{TELL}\nfor sent in (1, 2, 20):\n    tell({path!r}, {PROGRESS!r} | {{'sent': sent}})\n    time.sleep(0.8)\n"
    )
    cell = nbformat.v4.new_code_cell(
        "import subprocess, sys\nfrom loadtest import live\n"
        f"live.watch(subprocess.Popen([sys.executable, {str(script)!r}]), {str(tmp_path)!r});"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    (output,) = cell.outputs
    assert output.data["text/plain"].startswith("200/200 connected, 20/20 broadcasts")


COUNTS = st.integers(0, 10**9)
MS = st.none() | st.floats(0, 1e9)


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("open", "users", "failed", "refused", "sent", "broadcasts", "delivered", "outstanding"), COUNTS)
        | {
            "missing": st.none() | COUNTS,
            "state": st.sampled_from(["connecting", "broadcasting", "draining", "leaving"]),
        }
    ),
    MS,
)
def test_any_progress_is_one_line(progress, ms):
    text = live.describe(progress | {"p50_ms": ms, "p99_ms": ms})
    assert text.startswith(f"{progress['open']:,}/{progress['users']:,} connected") and "\n" not in text
    assert ("missing" in text) == (progress["missing"] is not None)
