"""Waiting for what has no boto3 waiter."""

import time
from collections.abc import Callable
from typing import TypeVar

from chatlab.errors import LabError

T = TypeVar("T")


def poll(
    check: Callable[[], T | None],
    what: str,
    timeout_s: float = 60,
    every_s: float = 0.5,
    ignoring: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Call `check()` until it returns something true, and return that.

    An exception of a type in `ignoring` counts as "not yet". After `timeout_s` seconds raises LabError, which says
    what was waited for (`what`, as in "waited 60 s for ...") and the last exception, if there was one.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        last: Exception | None = None
        try:
            if result := check():
                return result
        except ignoring as error:
            last = error
        if time.monotonic() + every_s > deadline:
            raise LabError(f"Waited {timeout_s:g} s for {what}, in vain.{f' Last answer: {last}' if last else ''}")
        time.sleep(every_s)
