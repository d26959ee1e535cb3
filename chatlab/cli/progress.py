"""Running notebooks one after another, with a line for each."""

import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from chatlab import local_cloud
from chatlab.notebooks import TEARDOWN, Outcome, execute
from chatlab.signals import discard_output


def execute_all(
    names: Iterable[str],
    folder: Path,
    parameters: Mapping[str, object],
    outcomes: list[Outcome],
    practice: bool = False,
) -> None:
    """Run the notebooks until one fails, save them into `folder`, and add each one's outcome to `outcomes`.

    With `practice`, their cells that break something, or are exercises, run, too.
    """
    if not local_cloud.status()["running"]:
        local_cloud.stop()  # one that died before this began is no reason to stop now
    for name in names:
        line = _Line(name)
        health_check = _always_healthy if name == TEARDOWN else _cloud_is_alive
        saved = folder / f"{name}.ipynb"
        outcome = execute(
            name, saved, parameters, practice=practice, on_progress=line.update, health_check=health_check
        )
        outcomes.append(outcome)
        line.end(outcome)
        if not outcome.ok:
            break


def print_line(text: str) -> None:
    """Print a line. Raises BrokenPipeError, once, if nobody reads it: the pipe or the terminal is closed."""
    try:
        print(text, flush=True)
    except OSError as error:
        discard_output()
        raise BrokenPipeError from error


def _cloud_is_alive() -> str | None:
    """A sentence if the local cloud was started and has died."""
    if local_cloud.has_died():
        return "the local cloud died, and everything in it is gone with it: run it again."
    return None


def _always_healthy() -> str | None:
    """The teardown ends the local cloud itself, so its end is no reason to stop."""
    return None


class _Line:
    """One notebook's line: rewritten in place on a terminal; in a pipe, printed every few seconds and at the end."""

    WIDTH = 100
    EVERY_S = 5

    def __init__(self, name: str) -> None:
        self._name, self._is_terminal, self._printed_at = name, sys.stdout.isatty(), time.monotonic()
        self.update("")

    def update(self, text: str) -> None:
        line = f"  {self._name:<20} {text[: self.WIDTH - 23]}"
        with suppress(OSError):  # `end` meets the same error, and handles it
            if self._is_terminal:
                print(f"\r{line}".ljust(self.WIDTH), end="", flush=True)
            elif time.monotonic() - self._printed_at > self.EVERY_S:
                self._printed_at = time.monotonic()
                print(line, flush=True)

    def end(self, outcome: Outcome) -> None:
        blank = "\r".ljust(self.WIDTH) + "\r" if self._is_terminal else ""
        verdict = "ok" if outcome.ok else f"FAILED: {outcome.reason}"
        print_line(f"{blank}  {self._name:<20} {outcome.seconds:>6.1f} s  {verdict}")
