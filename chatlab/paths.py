"""Folders and files: the repository's own, the state of this machine's lab, and locks between processes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from chatlab.errors import LabError
from chatlab.settings import Variable

ROOT = Path(__file__).resolve().parent.parent
FRONTEND = ROOT / "frontend"
LAMBDAS = ROOT / "lambdas"
NOTEBOOKS = ROOT / "notebooks"
RUNS = ROOT / "runs"


def state_dir() -> Path:
    """The folder with the lab's state: which lab notebook 00 chose, and the local cloud's pid, port and log.

    `CHATLAB_HOME` names another folder, so that a run or a test has its own lab beside the one in use.
    """
    return Variable.HOME.path() or ROOT / ".chatlab"


def make_run_dir() -> Path:
    """Make the folder for this run's results: the one that `CHATLAB_RUN` names, or a new one, `runs/<UTC time>`."""
    if named := Variable.RUN.path():
        return ensure_writable(named)
    ensure_writable(RUNS)
    for number in count(1):
        folder = RUNS / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}{f'-{number}' if number > 1 else ''}"
        with suppress(FileExistsError):  # another run began within the same second
            folder.mkdir()
            break
    return folder


def ensure_writable(folder: Path) -> Path:
    """Make `folder` if it does not exist, and return it. Raises LabError if it can't be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / ".probe", "x" * 4096)  # a full disk may still have room for an empty file
        (folder / ".probe").unlink(missing_ok=True)
    except OSError as error:
        raise LabError(f"The folder {folder} can't be written to: {error.strerror}.") from None
    return folder


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file or nothing: if this process is killed or the disk is full, the file before it stays.

    Raises OSError.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path, or_else: str | None = None) -> Iterator[None]:
    """Hold the lock of the file `path`. If another process holds it, wait for that, or raise LabError(`or_else`).

    The system releases a lock when its process ends, however that ends. Raises LabError if the lock's folder can't be
    written to.
    """
    ensure_writable(path.parent)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if or_else else 0))
        except BlockingIOError:
            raise LabError(f"{or_else}") from None
        yield


def display_path(path: Path) -> Path:
    """A path to display: relative to the repository if it is inside, so that it names no folders of your machine."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
