"""Importing the lab's modules, or the benchmarks, changes nothing of the process that does so."""

import subprocess
import sys

from chatlab.paths import ROOT

CODE = """
import os, pkgutil, signal, sys
from importlib import import_module

import matplotlib, pandas

def state():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    options = pandas.describe_option(_print_desc=False), dict(matplotlib.rcParams)
    return dict(os.environ), handlers, options, os.getcwd(), list(sys.path)

before = state()
import benchmarks, chatlab
names = [
    module.name
    for package in (chatlab, benchmarks)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]
for name in names:
    if not name.startswith("chatlab.emulator") and not name.endswith("__main__"):
        import_module(name)
assert len(names) > 30, names
for known, now in zip(before, state(), strict=True):
    assert known == now
"""


def test_no_module_changes_the_environment_signals_or_options_when_it_is_imported():
    """But the emulator's, which run in a process of their own and change MiniStack there."""
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
