"""What the lab's notebooks share: the lab itself, the local cloud, the inventory, and running the notebooks in order.

The AWS calls that you came to see are in the notebooks, not here.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatlab.errors import LabError, poll
    from chatlab.inventory import list_resources
    from chatlab.lab import Lab

__all__ = ["Lab", "LabError", "list_resources", "poll"]

MODULES = {
    "Lab": "chatlab.lab",
    "LabError": "chatlab.errors",
    "list_resources": "chatlab.inventory",
    "poll": "chatlab.errors",
}


def __getattr__(name: str) -> object:
    # Each is loaded when it is first asked for, so that `chatlab.__main__` comes before pandas and boto3, which take
    # a second: https://peps.python.org/pep-0562/
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
