"""Locks between processes. The system lets go of one when its process ends, however that ends."""

import fcntl
from contextlib import contextmanager

from chatlab.errors import LabError
from chatlab.paths import ensure_writable


@contextmanager
def locked(path, or_else=None):
    """The file `path` held within by nobody else: whoever holds it is waited for, or raises LabError(`or_else`).

    Raises LabError if its folder can't be written to.
    """
    ensure_writable(path.parent)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if or_else else 0))
        except BlockingIOError:
            raise LabError(or_else) from None
        yield
