"""Processes of a benchmark's own, each at the other end of a pipe."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from chatlab.signals import children_uninterrupted


@contextmanager
def child(target: Callable[..., None], *arguments: object) -> Iterator["Connection[Any, Any]"]:
    """Call `target(pipe, *arguments)` in a new process; the other end of the pipe. The process has to end with it.

    Ctrl-C is for this process alone.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    resource_tracker.ensure_running()  # whose own start, which is a part of the first process's, lets Ctrl-C in again
    with children_uninterrupted():
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(5)
        process.kill()
        process.join()
