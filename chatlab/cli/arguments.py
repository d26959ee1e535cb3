"""What you type: commands and their options. A mistake is a LabError with one sentence."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from chatlab import room
from chatlab.errors import LabError
from chatlab.sessions import resolve_profile
from chatlab.settings import Settings, Variable

MAX_CONNECTIONS = 5_000
MAX_BROADCASTS = 500


class Options(argparse.Namespace):
    """What was typed. None stands for what was not; each is only there for the commands that have it."""

    command: str
    target: str | None
    name: str | None
    region: str | None
    profile: str | None
    hours: float | None
    email: str | None
    room_key: str | None
    """It reaches the notebooks by their environment."""
    connections: int
    broadcasts: int
    runs: list[Path]

    def resolve_settings(self) -> Settings:
        """The settings that are meant. Raises LabError for impossible ones."""
        return Settings.resolve(self.target, self.name, self.region, self.profile)

    @property
    def optional_parts(self) -> dict[str, object]:
        """The notebooks' parameters for what they only create if you ask for it."""
        return {"HOURS": self.hours, "EMAIL": self.email}


def parse(words: Sequence[str] | None) -> Options:
    """Parse the command line; None stands for this process's own. Raises LabError for a mistake."""
    options = _parser().parse_args(words, namespace=Options())
    if (room_key := getattr(options, "room_key", None)) is not None:
        Variable.ROOM_KEY.set(room_key)  # where notebook 03 looks: in a cell's text it would be saved
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise LabError(f"{message[0].upper()}{message[1:]}.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m chatlab", description="Run the lab's notebooks.")
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    for name, description in [
        ("run", "every notebook in order, load test and teardown included, into runs/<UTC time>"),
        ("notebooks", "the same, on the local cloud, with the outputs saved into notebooks/"),
        ("up", "build the chat and leave it running"),
        ("down", "remove the chat"),
    ]:
        command = commands.add_parser(name, help=description)
        command.add_argument(
            "--target", default=Variable.TARGET.get(), help=f"local (the default) or aws; or {Variable.TARGET}"
        )
        command.add_argument(
            "--name",
            default=Variable.NAME.get(),
            help=f"the lab's name, a prefix of all that it creates (default: chat); or {Variable.NAME}",
        )
        command.add_argument("--region", help="the AWS Region (default: that of your AWS configuration)")
        command.add_argument(
            "--profile", type=resolve_profile, help="the profile of your AWS configuration (default: AWS_PROFILE)"
        )
        if name != "down":
            command.add_argument("--hours", type=_hours, help="after so many AWS removes the stage (default: never)")
            command.add_argument("--email", help="where AWS Budgets sends an alarm (default: there is none)")
            command.add_argument(
                "--room-key",
                type=room.validate_key,
                default=Variable.ROOM_KEY.get(),
                help=f"without it nobody can connect (default: there is none); or {Variable.ROOM_KEY}",
            )
        if name in ("run", "notebooks"):
            command.add_argument("--connections", type=_count("CONNECTIONS", MAX_CONNECTIONS), default=200)
            command.add_argument("--broadcasts", type=_count("BROADCASTS", MAX_BROADCASTS), default=20)
    compare = commands.add_parser("compare", help="the load tests of two runs: did it get faster, or is it noise?")
    compare.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="such as runs/<UTC time>")
    return parser


def _hours(text: str) -> float:
    try:
        return float(text)  # `Lab.choose` checks its value
    except ValueError:
        raise LabError(f'HOURS has to be a number, and it is "{text}".') from None


def _count(name: str, maximum: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= maximum:
            raise LabError(f'{name} has to be a whole number from 1 to {maximum}, and it is "{text}".')
        return int(text)

    return count
