"""Processes that tests begin: their environment, what they listen on, what they leave."""

import os
import subprocess
import sys

import psutil

from chatlab import processes
from chatlab.paths import ROOT

# What a person's shell may say, and what a run sets, is not for the tests.
SET_ASIDE = [
    "CHATLAB_CERTIFICATE", "CHATLAB_HOME", "CHATLAB_LEDGER", "CHATLAB_NAME", "CHATLAB_POLICY", "CHATLAB_RECORD",
    "CHATLAB_ROOM_KEY", "CHATLAB_RUN", "CHATLAB_TARGET", "CHATLAB_TRAITS", "CHATLAB_UNTIL", "LOADTEST_QUERY",
    "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
]  # fmt: skip


def listening(pid):
    """Addresses, as (host, port), that a process and its children listen on."""
    members = processes.tree(psutil.Process(pid))
    return {c.laddr for member in members for c in member.net_connections("inet") if c.status == psutil.CONN_LISTEN}


def processes_of(folder):
    """The running processes that something in `folder` was named to, in their environment: what was begun for a test
    that has its home, its run or its temporary files there, and all that it started."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(value.startswith(f"{folder}/") for value in process.environ().values()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def environment_of_a_run(home, **more):
    """The environment for a process that is to have a lab of its own in `home`."""
    inherited = {key: value for key, value in os.environ.items() if key not in SET_ASIDE}
    return inherited | {"CHATLAB_HOME": str(home)} | more


def begin_chatlab(home, *arguments, notebooks=None, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **environment):
    """`python -m chatlab` with these arguments, begun in a session of its own, with a lab of its own in `home`.

    It runs the notebooks of the folder `notebooks` instead of the lab's, if there is one: see `tests.support.made_up`.
    """
    command = ["tests.support.made_up", notebooks] if notebooks else ["chatlab"]
    return subprocess.Popen(
        [sys.executable, "-m", *command, *arguments], cwd=ROOT, env=environment_of_a_run(home, **environment),
        stdout=stdout, stderr=stderr, text=True, start_new_session=True,
    )  # fmt: skip
