"""The command line, `python -m chatlab COMMAND`, which the Makefile calls. Each loads its own module."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

COMMANDS = {
    "run": ("cli.run:run", "every notebook in order, load test and teardown included, into runs/<UTC time>"),
    "notebooks": ("cli.run:renew_notebooks", "the same on the local cloud, with the outputs saved into notebooks/"),
    "compare": ("cli.run:compare", "the load tests of runs: did it get faster, or is it noise?"),
    "capacity": ("cli.run:find_capacity", "how many people the chat that is up, or another server, carries"),
    "up": ("cli.chat:up", "build the chat and leave it running"),
    "down": ("cli.chat:down", "remove the chat"),
    "page": ("page:main", "serve the page that is built from this machine"),
    "browser": ("browser:main", "succeed if there is a Chromium on this machine"),
    "pictures": ("pictures:main", "renew the pictures at the notebooks' heads"),
    "permissions": ("permissions:main", "renew the policies in docs, or print those of another NAME"),
    "prices": ("cost:renew", "renew the table of prices from AWS's public price lists"),
    "rehearse": ("emulator.rehearsal:main", "run a command with AWS played on this machine (Linux)"),
}
"""Each command's function, which takes the words after the name and returns the exit status; and what it does."""


def load(words: Sequence[str]) -> Callable[[], int | None]:
    """The command that the first of the words names, to be called without arguments."""
    name, *arguments = words or ["--help"]
    if name not in COMMANDS:
        return partial(_list_commands, name)
    module, _, function = COMMANDS[name][0].partition(":")
    return partial(getattr(import_module(f"chatlab.{module}"), function), arguments)


def main(words: Sequence[str]) -> int | None:
    """Run a command in this process; its exit status. Raises LabError for a mistake."""
    return load(words)()


def _list_commands(asked_for: str) -> int:
    from chatlab.errors import LabError

    if asked_for not in ("-h", "--help"):
        raise LabError(f"There is no command {asked_for}: `python -m chatlab --help` lists all.")
    print("python -m chatlab COMMAND, where --help after a command explains its options:")
    for name, (_, description) in COMMANDS.items():
        print(f"  {name:<12} {description}")
    return 0
