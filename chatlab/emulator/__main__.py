"""Run a module of the emulator without the rest of the lab: `python chatlab/emulator MODULE ARGUMENTS`.

As `python -m MODULE ARGUMENTS`, but for the package `chatlab`, of which only the place is known: what its `__init__.py`
imports for the notebooks would more than double the time until the local cloud answers. The module has a function
`main`, which takes the arguments.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent


def stand_in_for_chatlab() -> None:
    """From now on `import chatlab.emulator...` finds the package `chatlab` empty, but for its modules."""
    chatlab = ModuleType("chatlab")
    chatlab.__path__ = [str(ROOT / "chatlab")]
    sys.modules["chatlab"] = chatlab
    sys.path[0] = str(ROOT)  # was this folder, in which each module would have a second name


def main(name: str, *arguments: str) -> None:
    """Call the `main` of the module `name`. Raises ImportError if there is no such module."""
    stand_in_for_chatlab()
    import_module(name).main(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
