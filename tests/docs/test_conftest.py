"""A test fails if something that it begins outlives it, or can be reached from another machine."""

import subprocess
import sys

from chatlab.paths import ROOT

TESTS = """
import socket, subprocess, sys, time

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
SERVE = "import socket, time; s = socket.create_server(('', 0)); print(flush=True); time.sleep(60)"


def test_that_ends_its_process():
    with subprocess.Popen(SLEEP) as process:
        process.kill()


def test_that_leaves_a_daemon():
    subprocess.Popen(SLEEP, start_new_session=True)


def test_that_listens_itself():
    global server
    server = socket.create_server(("", 0))


def test_whose_child_listens():
    server.close()
    subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE).stdout.readline()
"""


def test_what_a_test_leaves_behind_fails(tmp_path):
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--rootdir=.", "--basetemp=base", "test_it.py"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.count("AssertionError: Others can reach {('0.0.0.0', ") == 2
    assert "These processes were left:\ntest_it.py::test_that_leaves_a_daemon (call): " in done.stdout
    assert "test_it.py::test_whose_child_listens (call): " in done.stdout
    assert "2 failed, 2 passed, 1 error" in done.stdout
