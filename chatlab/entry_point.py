"""How a command begins: all that is in the `__main__` of `python -m chatlab` and of the other ones."""

import os
import signal
import sys
from importlib import import_module
from typing import NoReturn


def run(module: str) -> NoReturn:
    """Load this module, and run its `main` as all that this process does: see `chatlab.signals.exit_status`."""
    os.umask(os.umask(0o022) | 0o022)  # whatever this and its children write, nobody else may change
    # Loading takes a second or two, in which Ctrl-C is to end this without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    main = import_module(module).main
    from chatlab.signals import exit_status

    sys.exit(exit_status(main))
