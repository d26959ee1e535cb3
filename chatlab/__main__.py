"""`python -m chatlab`: see `chatlab.cli`."""

import signal
import sys

if __name__ == "__main__":
    # Loading takes a second or two, in which Ctrl-C is to end this without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    # The check of international web addresses, which no notebook has, would take two thirds of the time. jsonschema
    # does without it where it is not installed.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as import's own documentation has it

    from chatlab.cli import main
    from chatlab.signals import exit_status

    sys.exit(exit_status(main))
