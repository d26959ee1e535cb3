"""What a run started in the background ends with the run, even if that was killed and could end nothing itself."""

import fcntl
import os
import signal
import threading


def end_with_the_run() -> None:
    """End this process, as by SIGTERM, once nobody holds the lock that `CHATLAB_UNTIL` names; without one, never."""
    if path := os.environ.get("CHATLAB_UNTIL"):
        lock = os.open(path, os.O_RDONLY)
        threading.Thread(target=_wait_for, args=[lock], daemon=True).start()


def _wait_for(lock: int) -> None:
    fcntl.flock(lock, fcntl.LOCK_EX)  # the system grants it when the run has ended
    os.kill(os.getpid(), signal.SIGTERM)
