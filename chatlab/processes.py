"""Ending processes with all that they started."""

import os
import signal
from contextlib import suppress

import psutil


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and all its descendants; an empty list if it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end_tree(process: psutil.Process, grace_s: float = 5) -> None:
    """End a process politely, by SIGTERM. After `grace_s` seconds kill it and its descendants."""
    members = tree(process)
    with suppress(psutil.NoSuchProcess):
        process.terminate()
    psutil.wait_procs([process], timeout=grace_s)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(members, timeout=5)


def kill_session(leader: int) -> None:
    """Kill all processes of the session that the process with the pid `leader` began.

    A process stays in its session when its parent is killed, and is no descendant of anybody's then.
    """
    killed: set[int] = set()
    while members := {pid for pid in psutil.pids() if _session_of(pid) == leader} - killed:
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= members


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
