"""What a process in the background needs: to end with the run that it belongs to, and a log that has an end."""

import faulthandler
import fcntl
import io
import logging
import os
import signal
import sys
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path

STDOUT, STDERR = 1, 2


def end_with_the_run() -> None:
    """End this process, as by SIGTERM, once nobody holds the lock that `CHATLAB_UNTIL` names; without one, never."""
    if path := os.environ.get("CHATLAB_UNTIL"):
        lock = os.open(path, os.O_RDONLY)
        threading.Thread(target=_wait_for, args=[lock], daemon=True).start()


def _wait_for(lock: int) -> None:
    fcntl.flock(lock, fcntl.LOCK_EX)  # the system grants it when the run has ended
    os.kill(os.getpid(), signal.SIGTERM)


class Log(RotatingFileHandler):
    """A log in two files of at most `maxBytes` each; the name of the older one ends with ".1".

    What this process writes by itself, such as the last words of a crash, goes into the newer one, too.
    """

    def _open(self) -> io.TextIOWrapper:
        file = super()._open()
        for descriptor in (STDOUT, STDERR):
            os.dup2(file.fileno(), descriptor)
        return file

    def format(self, record: logging.LogRecord) -> str:
        """The record in ASCII, where a character is a byte, and not longer than a file may be."""
        return super().format(record).encode("ascii", "backslashreplace").decode()[: self.maxBytes - 1]


class Printed(io.TextIOBase):
    """A file whose lines become log records."""

    def write(self, text: str) -> int:
        """Log it, without the newline that `print` writes apart."""
        if text.strip():
            logging.getLogger("printed").info(text.rstrip())
        return len(text)


def log_into(file: Path, max_bytes: int) -> None:
    """Let everything that this process logs or prints go into the file, as `Log` says."""
    log = Log(file, maxBytes=max_bytes, backupCount=1)
    line = "%(asctime)s %(levelname)s [%(name)s] %(message)s"
    logging.basicConfig(level=logging.INFO, handlers=[log], format=line, force=True)  # MiniStack has its own handler
    logging.raiseExceptions = False  # on a full disk they would be printed, and so be logged again
    sys.stdout = sys.stderr = Printed()
    faulthandler.enable(STDERR)
