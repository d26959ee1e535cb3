"""How a command ends: its exit status, Ctrl-C and other signals, and a terminal that is closed."""

import os
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from chatlab.errors import LabError
from chatlab.privacy import redact
from loadtest.errors import STOPPING, LoadTestError

Handler = Callable[[int, FrameType | None], object] | int | None  # as `signal.signal` takes and returns it


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command that is all that this process does, and return its exit status.

    The status is 1 after a LabError or a LoadTestError, which are printed, and after Ctrl-C. SIGTERM counts as Ctrl-C,
    and so does SIGHUP, which says that the terminal was closed: the command stops what it has started. A signal that is
    ignored (by nohup, for example) stays ignored.
    """
    interrupting = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.default_int_handler}
    try:
        _set_handlers(interrupting | {signal.SIGHUP: _terminal_closed})
        try:
            return command() or 0
        finally:  # the command has stopped all that it started: from now on a signal ends this process without a word
            _set_handlers(dict.fromkeys(STOPPING, signal.SIG_DFL))
    except (LabError, LoadTestError) as error:
        print(redact(f"{error}"), file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    except BrokenPipeError:
        discard_output()
    except Exception:  # a fault of the lab's own
        print(redact(traceback.format_exc()), file=sys.stderr)
    return 1


@contextmanager
def children_uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to every process in it, from the processes that are started within.

    They would print a traceback; the process that started them ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore all signals that stop a command, while it does what takes seconds and must not be half done."""
    before: dict[signal.Signals, Handler] = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def postponed() -> Iterator[None]:
    """Raise Ctrl-C, and what counts as it, only at the end: in between it could leave a lock closed for ever.

    A lock of Python's own module `threading` is taken in several steps, and a signal can come after each.
    """
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def discard_output() -> None:
    """Discard what this process prints from now on: writing to a closed terminal or pipe would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _set_handlers(handlers: Mapping[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _terminal_closed(number: int, frame: FrameType | None) -> NoReturn:
    if not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
        discard_output()
    raise KeyboardInterrupt
