"""The command line, `python -m chatlab`, which `make run`, `up`, `down` and `notebooks` call."""

from collections.abc import Sequence

from chatlab.cli import arguments, compare, down, run, up

COMMANDS = {
    "run": run.run_all,
    "notebooks": run.renew_notebooks,
    "up": up.build,
    "down": down.remove,
    "compare": compare.compare_runs,
}


def main(words: Sequence[str] | None = None) -> int:
    """Parse the command line (None stands for this process's own) and run the command; its exit status."""
    options = arguments.parse(words)
    return COMMANDS[options.command](options)
