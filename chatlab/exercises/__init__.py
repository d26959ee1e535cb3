"""The checks of the notebooks' exercises. Each returns an Answer: right, or what is wrong and what to try.

Notebooks 01, 02, 03 and 05 have theirs in `building`, 04 and 09 in `chatting`, 06, 07, 08 and 10 in `measuring`.
"""

import html
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import ParamSpec

from chatlab.privacy import redact

P = ParamSpec("P")


@dataclass(frozen=True)
class Answer:
    """Right, or not yet, with one sentence: why it is right, or what is wrong and what to try."""

    is_right: bool
    message: str

    def __str__(self) -> str:
        return f"{'Right' if self.is_right else 'Not yet'}: {self.message}"

    __repr__ = __str__  # what a terminal shows

    def _repr_html_(self) -> str:
        mark, text = ("✔", "Right") if self.is_right else ("✘", "Not yet")
        return f"<p><strong>{mark} {text}:</strong> {html.escape(self.message)}</p>"


def right(message: str) -> Answer:
    """It does what the exercise asks for."""
    return Answer(True, message)


def not_yet(message: str) -> Answer:
    """It does not yet."""
    return Answer(False, message)


def forgiving(check: Callable[P, Answer]) -> Callable[P, Answer]:
    """A check for which it is "not yet", and no traceback, if what a learner wrote raises an exception."""

    @wraps(check)
    def answer(*args: P.args, **options: P.kwargs) -> Answer:
        try:
            return check(*args, **options)
        except Exception as error:
            return not_yet(f"it ended with {type(error).__name__}: {redact(str(error))}")

    return answer


def __getattr__(name: str) -> ModuleType:
    # A module of this package is imported when it is first used: https://peps.python.org/pep-0562/
    if (Path(__file__).parent / f"{name}.py").is_file():
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
