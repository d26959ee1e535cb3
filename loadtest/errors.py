"""The error that a person may meet: one sentence that says what is wrong and what to do."""

import signal
import sys
from collections.abc import Callable
from contextlib import suppress

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LoadTestError(Exception):
    """Something that the person at the keyboard can put right."""

    def _render_traceback_(self) -> list[str]:
        # IPython calls this: in a notebook the sentence stands alone, without a traceback above it.
        return [f"{type(self).__name__}: {self}"]


def printable(text: str) -> str:
    """What another process said, as one line of at most 200 characters, its control characters written out: a terminal
    would obey them."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[:200])


def describe(error: BaseException) -> str:
    """An error in a few words, without the headers that websocket-client puts into its own."""
    status = getattr(error, "status_code", None)
    if status:
        return f"handshake refused with status {status}"
    return printable(getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__)


def exit_status(command: Callable[[], int]) -> int:
    """Run a command that is all that this process does, and return its exit status.

    It is 1 after a LoadTestError, which is printed, and after Ctrl-C. SIGTERM and SIGHUP count as Ctrl-C, so that the
    command stops what it has started; a signal that is ignored (by nohup, for example) stays ignored.
    """
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        return command()
    except LoadTestError as error:
        message = str(error)
    except KeyboardInterrupt:
        message = "Stopped."
    with suppress(OSError):  # the terminal may be gone
        print(message, file=sys.stderr)
    return 1
