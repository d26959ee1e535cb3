"""The one exception that a person may meet: a sentence that says what is wrong and what to do."""

import signal
import sys


class LabError(Exception):
    """Something that the person at the keyboard can put right."""

    def _render_traceback_(self):
        # IPython asks an exception for this: in a notebook the sentence stands alone, without a traceback above it.
        return [f"LabError: {self}"]


def exit_status(command):
    """`command()` as all that a process does: its answer, or 1 after a LabError or Ctrl-C, which it says.

    Being ended (SIGTERM) is like Ctrl-C, so that what was started is stopped then, too.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return command()
    except LabError as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    return 1
