"""Processes that tests begin: their environment, what they listen on, what they leave."""

import os
import re
import socket
import struct
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
    "CHATLAB_ROOM_KEY", "CHATLAB_RUN", "CHATLAB_TARGET", "CHATLAB_TRAITS", "CHATLAB_UNTIL", "LOADTEST_QUERY",
    "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
]  # fmt: skip


def listening(pid):
    """Addresses, as (host, port), that a process and its children listen on."""
    members = local_cloud.process_tree(psutil.Process(pid))
    return {c.laddr for member in members for c in member.net_connections("inet") if c.status == psutil.CONN_LISTEN}


def listening_to_others():
    """The inodes of all sockets on this machine that listen on more than loopback; none where there is no Linux."""
    return {inode for inode, address in listeners().items() if not ip_address(address).is_loopback}


def listeners():
    """The addresses of all TCP sockets on this machine that listen, by the inode; none where there is no Linux.

    The kernel is asked by netlink, https://man7.org/linux/man-pages/man7/sock_diag.7.html, and answers in 0.05 ms: each
    test asks. /proc/net/tcp would take 8 ms, since it looks through the places of all connections.
    """
    found = {}
    if sys.platform != "linux":
        return found
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            header = struct.pack("=LHHLL", 72, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0)
            kernel.send(header + struct.pack("=BBBBL48x", family, socket.IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN))
            kind = SOCK_DIAG_BY_FAMILY
            while kind == SOCK_DIAG_BY_FAMILY:  # the last message has another
                for kind, message in messages(kernel.recv(1 << 16)):
                    if kind == SOCK_DIAG_BY_FAMILY:
                        address = message[8 : 12 if family == socket.AF_INET else 24]
                        found[struct.unpack_from("=L", message, 68)[0]] = str(ip_address(address))
    return found


NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLM_F_DUMP, TCP_LISTEN = 4, 20, 0x1, 0x300, 10
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

    The kernel's lists are read every 50 ms, so a socket that lives for less may be missed.
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
        while not over.wait(0.05):
            look()

    (watcher := threading.Thread(target=watch)).start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
        found.update(of_inode.values())


def messages(answer):
    """What netlink answers, as (type, content)."""
    found = []
    while answer:
        length, kind = struct.unpack_from("=LH", answer)
        found.append((kind, answer[16:length]))
        answer = answer[length + 3 & ~3 :]  # each begins at a multiple of four
    return found


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
