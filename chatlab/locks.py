"""Locks between processes. The system releases a lock when its process ends, however that ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatlab.errors import LabError
from chatlab.paths import ensure_writable


@contextmanager
def locked(path: Path, or_else: str | None = None) -> Iterator[None]:
    """Hold the lock of the file `path`. If another process holds it, wait for that, or raise LabError(`or_else`).

    Raises LabError if its folder can't be written to.
    """
    ensure_writable(path.parent)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if or_else else 0))
        except BlockingIOError:
            raise LabError(f"{or_else}") from None
        yield
