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


def run(name: str, *arguments: str) -> None:
    """Call the module's `main`. Raises ImportError if there is no such module."""
    lab = ModuleType("chatlab")
    lab.__path__ = [str(ROOT / "chatlab")]
    sys.modules["chatlab"] = lab
    sys.path[0] = str(ROOT)  # was this folder: no module of it has a second name
    import_module(name).main(*arguments)


if __name__ == "__main__":
    run(*sys.argv[1:])
