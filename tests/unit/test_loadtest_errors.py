"""What a person sees of an error of the load test's."""

import signal
import subprocess
import sys

import pytest

from chatlab import notebooks
from chatlab.paths import ROOT
from loadtest.errors import LoadTestError

COMMAND = """
import os, signal, sys
from {module} import exit_status
from loadtest.errors import LoadTestError

def command():
    {code}

sys.exit(exit_status(command))
"""


def run(module, code):
    command = [sys.executable, "-c", COMMAND.format(module=module, code=code)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("module", ["loadtest.errors", "chatlab.signals"])
def test_an_error_is_one_sentence_for_the_load_tests_commands_and_for_the_labs(module):
    done = run(module, "raise LoadTestError('It is so.')")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "It is so.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_stops_without_a_traceback(number):
    done = run("loadtest.errors", f"os.kill(os.getpid(), {int(number)})")
    assert (done.returncode, done.stderr) == (1, "Stopped.\n")


def test_the_status_of_a_command_is_its_answer():
    assert run("loadtest.errors", "return 3").returncode == 3


def test_in_a_notebook_the_sentence_stands_alone():
    assert LoadTestError("It is so.")._render_traceback_() == ["LoadTestError: It is so."]
    assert LoadTestError.__name__ in notebooks.SELF_EXPLANATORY
