"""How a command begins: Ctrl-C while it loads or starts processes of its own, and who may change what it writes."""

import signal
import subprocess
import sys

import pytest

from chatlab.paths import ROOT
from chatlab.signals import children_uninterrupted
from tests.support.processes import environment_of_a_run

INTERRUPTED = """
import os, runpy, signal, sys

class CtrlC:
    def find_spec(self, name, *_):
        if name == loads:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, CtrlC())
loads = sys.argv[2]
sys.argv[1:] = [sys.argv[1]]
runpy.run_module("chatlab", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("command", "loads"),
    [
        ("run", "chatlab.cli"),
        ("page", "chatlab.page.server"),
    ],
)
def test_ctrl_c_while_a_command_loads_ends_it_without_a_word(tmp_path, command, loads):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, command, loads],
        cwd=ROOT, env=environment_of_a_run(tmp_path / "home"), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_ctrl_c_does_not_reach_what_a_command_starts_for_itself():
    code = "import signal; signal.raise_signal(signal.SIGINT); print('goes on')"
    with children_uninterrupted():
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.communicate(timeout=60)[0] == "goes on\n"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


COMMAND = """
import os
from chatlab import __main__, cli
cli.load = lambda words: lambda: print(f"{os.umask(0):04o}")
__main__.run([])
"""


@pytest.mark.parametrize(
    "command", [[sys.executable, "-c", COMMAND], ["make", "--no-print-directory", "--eval", "mask: ; @umask", "mask"]]
)
def test_whatever_a_shell_allows_nobody_else_may_change_what_a_command_writes(command):
    if command[0] == "make" and b"GNU Make 3" in subprocess.check_output(["make", "--version"]):
        pytest.skip("This make, as macOS has it, has no .SHELLFLAGS.")
    command = ["sh", "-c", 'umask 0; exec "$@"', "sh", *command]
    assert subprocess.check_output(command, cwd=ROOT, text=True) == "0022\n"
