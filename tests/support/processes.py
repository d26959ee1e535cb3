"""Processes that tests begin: their environment, what they listen on, what they leave."""

import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import psutil

from chatlab import local_cloud
from chatlab.paths import ROOT

# What a person's shell may say, and what a run sets, is not for the tests.
SET_ASIDE = [
    "CHATLAB_CERTIFICATE", "CHATLAB_HOME", "CHATLAB_LEDGER", "CHATLAB_NAME", "CHATLAB_POLICY", "CHATLAB_RECORD",
    "CHATLAB_ROOM_KEY", "CHATLAB_RUN", "CHATLAB_TARGET", "CHATLAB_TRAITS", "CHATLAB_UNTIL", "LOADTEST_KEY",
    "LOADTEST_QUERY", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
]  # fmt: skip


def listening(pid):
    """Addresses, as (host, port), that a process and its children listen on."""
    members = local_cloud.process_tree(psutil.Process(pid))
    return {c.laddr for member in members for c in member.net_connections("inet") if c.status == psutil.CONN_LISTEN}


def listening_to_others():
    """The inodes of all sockets on this machine that listen on more than loopback; none where there is no Linux."""
    return {inode for inode, address in listeners().items() if not ip_address(address).is_loopback}


def listeners():
    """The addresses of all TCP sockets on this machine that listen, by the inode; none where there is no Linux."""
    found = {}
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError), open(f"/proc/net/{table}") as lines:
            for _, local, _, state, *more in map(str.split, lines):
                if state == TCP_LISTEN:
                    words = bytes.fromhex(local.partition(":")[0])  # each in this machine's order of bytes
                    address = b"".join(words[k : k + 4][::-1] for k in range(0, len(words), 4))
                    found[int(more[5])] = str(ip_address(address))
    return found


TCP_LISTEN = "0A"  # the kernel's number of the state, in /proc/net/tcp
SO_ACCEPTCON = 0x10000  # the flag of a Unix socket that listens


PROCESSES = {
    "chatlab.emulator.server": "the local cloud",
    "ipykernel_launcher": "a notebook's kernel",
    "jupyter-lab": "JupyterLab",
    "locust": "Locust's master",
}
"""The processes that listen, by a part of their command line, as docs/security.md names them."""


def documented(command):
    """What listens during `command` by the table in docs/security.md, as `what_listens` has it."""
    found = set()
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and command in cells[2]:
            found.add((cells[0], re.match(r"[\w.]+", cells[1])[0]))
    return found


@contextmanager
def what_listens(folder):
    """All that listens while this is open, of what was begun for a test in `folder`: a set of (process, place), which
    is complete when this is closed. The place is an address, or "Unix".

    The kernel's lists are read every 0.1 s, so a socket that lives for less may be missed.
    """
    found, known, of_inode, over = set(), set(), {}, threading.Event()

    def look():
        with open("/proc/net/unix") as unix:
            rows = [line.split() for line in unix.readlines()[1:]]
        places = listeners() | {int(row[6]): "Unix" for row in rows if int(row[3], 16) & SO_ACCEPTCON}
        if not places.keys() - known:
            return
        for process in processes_of(folder):  # the youngest come last: a socket belongs to the one that inherits it
            with suppress(OSError, psutil.Error):
                words = " ".join(process.cmdline())
                name = next((name for part, name in PROCESSES.items() if part in words), words)
                for descriptor in os.scandir(f"/proc/{process.pid}/fd"):
                    kind, _, inode = os.readlink(descriptor.path).partition(":")
                    if kind == "socket" and (place := places.get(int(inode.strip("[]")))):
                        of_inode[inode] = (name, place)
        known.update(places)

    def watch():
        while not over.wait(0.1):
            look()

    (watcher := threading.Thread(target=watch)).start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
        found.update(of_inode.values())


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
