"""One container, as a process: `python -I -S container.py MAX_OPEN_FILES FOLDER COMMAND ...`.

The local cloud starts this script for each container, and holds the other end of its standard input. The command runs
in a session of its own, and ends, with all that it has started, when that end is closed: also if the local cloud was
killed. SIGTERM is handed on to the command alone, as Docker does. The status is the command's own; 128 and the signal
if one has ended it.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading


def main(max_open_files: str, folder: str, *command: str) -> int:
    """Run the command in `folder`, which is removed at the end."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = int(max_open_files) if hard == resource.RLIM_INFINITY else min(int(max_open_files), hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    threading.Thread(target=kill_at_the_end_of_input, args=[process.pid], daemon=True).start()
    status = process.wait()
    kill_group(process.pid)
    shutil.rmtree(folder, ignore_errors=True)
    return status if status >= 0 else 128 - status


def kill_at_the_end_of_input(group: int) -> None:
    """Wait until nobody has the other end of standard input any more."""
    os.read(sys.stdin.fileno(), 1)
    kill_group(group)


def kill_group(group: int) -> None:
    """Kill the command and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: only a zombie, on macOS
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
