"""The checks of the notebooks' exercises: a module for each notebook that has some, imported when it is first used."""

from importlib import import_module
from pathlib import Path
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if (Path(__file__).parent / f"{name}.py").is_file():
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
