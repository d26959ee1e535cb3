"""`python -m chatlab`: see `chatlab.cli`."""

import sys

from chatlab import entry_point

if __name__ == "__main__":
    # The check of international web addresses, which no notebook has, would take two thirds of the time that loading
    # takes. jsonschema does without it where it is not installed.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as import's own documentation has it

    entry_point.run("chatlab.cli")
