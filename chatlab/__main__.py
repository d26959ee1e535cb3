"""`python -m chatlab COMMAND`: see `chatlab.cli`."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn


def run(words: Sequence[str]) -> NoReturn:
    """Load the command that these words name, run it as all that this process does, and exit with its status."""
    os.umask(os.umask(0o022) | 0o022)  # nobody else may change what this process and its children write
    # Loading takes a second or two. Until then Ctrl-C ends this process without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # jsonschema does without this check of international web addresses, which no notebook has, and which would take
    # two thirds of the loading time. None stands for a module that is not installed.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as the documentation of import has it
    from chatlab.cli import load

    command = load(words)
    from chatlab.signals import exit_status

    sys.exit(exit_status(command))


if __name__ == "__main__":
    run(sys.argv[1:])
