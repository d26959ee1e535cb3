"""Where things are: the repository's own folders, and the folder that remembers this machine's lab."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from chatlab.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
FRONTEND = ROOT / "frontend"
LAMBDAS = ROOT / "lambdas"
NOTEBOOKS = ROOT / "notebooks"
RUNS = ROOT / "runs"


def state_dir():
    """The folder of the lab's memory: the choice made in notebook 00, and the local cloud's pid, port and log.

    `CHATLAB_HOME` moves it, so that a run or a test has a lab of its own beside the one in use.
    """
    return Path(os.environ.get("CHATLAB_HOME") or ROOT / ".chatlab")


def make_run_dir():
    """The folder of this run's results, `runs/<UTC time>`: the one that `CHATLAB_RUN` names, or a new one."""
    if named := os.environ.get("CHATLAB_RUN"):
        return ensure_writable(Path(named))
    ensure_writable(RUNS)
    for number in count(1):
        folder = RUNS / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}{f'-{number}' if number > 1 else ''}"
        with suppress(FileExistsError):  # another one began within the same second
            folder.mkdir()
            return folder


def in_a_run():
    """Whether this is a part of a run: a notebook that is, or a test's, has its results' folder named by the run."""
    return "CHATLAB_RUN" in os.environ


def ensure_writable(folder):
    """`folder`, made if need be. Raises LabError if it can't be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(
            folder / ".probe", "x" * 4096
        )  # on a full disk there may still be room for a file without anything in it
        (folder / ".probe").unlink(missing_ok=True)
    except OSError as error:
        raise LabError(f"The folder {folder} can't be written to: {error.strerror}.") from None
    return folder


def write_atomically(path, text):
    """Write the file whole, or not at all: a process that is killed, or a full disk, leaves the one that was there.

    Raises OSError.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def display_path(path):
    """A path as it is shown to people: within the repository from its root, so that no machine's folders are told."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
