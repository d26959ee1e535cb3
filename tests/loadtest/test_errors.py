"""What a person sees of an error of the load test's; and that it knows nothing of the lab that it measures here."""

import ast
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


@pytest.mark.parametrize(
    ("module", "code", "status", "says"),
    [
        ("loadtest.errors", "raise LoadTestError('It is so.')", 1, "It is so.\n"),
        ("chatlab.signals", "raise LoadTestError('It is so.')", 1, "It is so.\n"),
        ("loadtest.errors", f"os.kill(os.getpid(), {int(signal.SIGTERM)})", 1, "Stopped.\n"),
        ("loadtest.errors", "return 3", 3, ""),
    ],
)
def test_a_command_ends_with_a_status_and_a_sentence(module, code, status, says):
    command = [sys.executable, "-c", COMMAND.format(module=module, code=code)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", says)


def test_in_a_notebook_the_sentence_stands_alone():
    assert LoadTestError("It is so.")._render_traceback_() == ["LoadTestError: It is so."]
    assert LoadTestError.__name__ in notebooks.SELF_EXPLANATORY


def test_the_load_test_imports_nothing_of_the_lab():
    imported = set()
    for path in (ROOT / "loadtest").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    assert "locust" in imported
    assert not imported & {"benchmarks", "chatlab", "lambdas", "fanout", "tests"}
