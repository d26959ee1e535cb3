"""The options of the commands that run notebooks. A mistake is a LabError with one sentence."""

from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from chatlab import notebooks, room_key
from chatlab.aws import resolve_profile
from chatlab.cli import COMMANDS
from chatlab.errors import LabError
from chatlab.settings import WORDS, Options, Settings, Variable

MAX_CONNECTIONS = 5_000
MAX_BROADCASTS = 500
MAX_TASKS = 50
CAPACITY = (  # what the search for it is asked: an option, its default, its maximum
    ("WITHIN", 1.0, 600, "seconds until everybody has a message"),
    ("RATE", 1.0, 1_000, "messages a second"),
    ("MINUTES", 10.0, 1_440, "how long it may take"),
    ("MAX_DOLLARS", 1.0, 1_000, "what it may cost on aws"),
    ("CONNECTION_RATE", 100.0, 100_000, "new connections a second to --host; to the chat, as many as its stage takes"),
)
RUN_HOURS = 3.0  # after which AWS closes what a run has built there, even if this machine has died


def resolve_settings(options: Namespace) -> Settings:
    """The settings that are meant. Raises LabError for impossible ones."""
    return Settings.resolve(options.target, options.name, options.region, options.profile)


def notebook_parameters(options: Namespace) -> dict[str, Any]:
    """What was typed for the notebooks' parameters. The room's key is none of them: the text of a cell is saved."""
    names = ("hours", "email", "connections", "broadcasts", "tasks", "image", "subnet")
    typed = {name.upper(): value for name, value in vars(options).items() if name in names}
    wishes = {word: value for word in WORDS if (value := getattr(options, word.lower(), None)) is not None}
    return typed | {"OPTIONS": wishes, "CONFIRM": wishes.get("CONFIRM")}


def parse(command: str, arguments: Sequence[str]) -> Namespace:
    """Parse the words after the command's name: what was typed, or None. Raises LabError for a mistake."""
    parser = _Parser(prog=f"python -m chatlab {command}", description=COMMANDS[command][1])
    add = parser.add_argument
    if command == "compare":
        add("runs", nargs="+", type=Path, metavar="RUN", help="such as runs/<UTC time>: two, or several and --with")
        add("--with", nargs="+", type=Path, metavar="RUN", dest="others", help="the runs with which to compare those")
    else:
        add("--target", default=Variable.TARGET.get(), help=f"local (the default) or aws; or {Variable.TARGET}")
        name = "the lab's name, a prefix of all that it creates"
        add("--name", default=Variable.NAME.get(), help=f"{name} (default: chat); or {Variable.NAME}")
        add("--region", help="the AWS Region (default: that of your AWS configuration)")
        profile = "the profile of your AWS configuration (default: AWS_PROFILE)"
        add("--profile", type=resolve_profile, help=profile)
    if command == "capacity":
        add("--host", help="another server's URL, ws://… or wss://… (default: the chat that is up)")
        for name, default, maximum, what in CAPACITY:
            flag, what = f"--{name.lower().replace('_', '-')}", f"{what} (default: {default:g})"
            add(flag, type=_number(name, maximum), default=default, help=what)
    if command in ("run", "notebooks", "up"):
        after = f"when AWS closes chat and page, or none (default: {RUN_HOURS:g} for `run` on aws, else none)"
        add("--hours", type=_hours, default=SUPPRESS, help=after)
        add("--email", help="where AWS Budgets sends an alarm (default: there is none)")
        secret = f"without it nobody can connect (default: there is none); or {Variable.ROOM_KEY}"
        add("--room-key", type=room_key.validate, default=Variable.ROOM_KEY.get(), help=secret)
        add("--boundary", help="the ARN of a permissions boundary for the roles (default: none)")
        add("--role-path", help="the path of the roles, such as /lab/ (default: /)")
        add("--tags", help="what everything is to carry, such as team=web,cost-center=42 (default: the lab's own tags)")
        add("--public", help="no: the page's bucket stays private, and this machine serves the page (default: yes)")
    if command in ("up", "down"):
        add("--confirm", help="the lab's name again: change and remove what a colleague made of it, too")
    if command in ("run", "notebooks"):
        add("--connections", type=_count("CONNECTIONS", MAX_CONNECTIONS), default=100)
        add("--broadcasts", type=_count("BROADCASTS", MAX_BROADCASTS), default=20)
        add(
            "--tasks", type=_count("TASKS", MAX_TASKS), default=SUPPRESS, help="of notebook 10's load test (default: 1)"
        )
        add("--image", default=SUPPRESS, help="of these tasks (default: Python's)")
        add("--subnet", default=SUPPRESS, help="where they run (default: the default VPC's subnets)")
        for option, name in notebooks.OPTIONAL.items():
            add(f"--{option.replace('_', '-')}", choices=("yes", "no"), default="no", help=f"yes: run {name}, too")
    options = parser.parse_args(arguments)
    Options.parse(getattr(options, "hours", None), notebook_parameters(options)["OPTIONS"])
    if (key := getattr(options, "room_key", None)) is not None:
        Variable.ROOM_KEY.set(key)  # where notebook 03 looks
    if command == "run" and options.target == "aws" and "hours" not in options:
        options.hours = RUN_HOURS
    return options


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise LabError(f"{message[0].upper()}{message[1:]}.")


def _hours(text: str) -> float | None:
    try:
        return None if text == "none" else float(text)  # `Options` checks its value
    except ValueError:
        raise LabError(f'HOURS has to be a number, or "none", and it is "{text}".') from None


def _number(name: str, maximum: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        with suppress(ValueError):
            if 0 < (value := float(text)) <= maximum:
                return value
        raise LabError(f'{name} has to be a number above 0, at most {maximum:,}, and it is "{text}".')

    return number


def _count(name: str, maximum: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= maximum:
            raise LabError(f'{name} has to be a whole number from 1 to {maximum}, and it is "{text}".')
        return int(text)

    return count
