"""`python -m chatlab`: see `chatlab.cli`."""

import signal
import sys

if __name__ == "__main__":
    # Loading takes a second or two, in which Ctrl-C is to end this without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from chatlab.cli import main
    from chatlab.signals import exit_status

    sys.exit(exit_status(main))
