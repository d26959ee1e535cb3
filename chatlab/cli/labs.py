"""What the commands ask of labs: whose credentials there are, what exists of a lab, and which other labs are open."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from chatlab import ledger
from chatlab.errors import LabError
from chatlab.inventory import list_lab_names, list_resources
from chatlab.lab import Lab
from chatlab.locks import locked
from chatlab.paths import ensure_writable, state_dir
from chatlab.settings import Settings


def one_command_at_a_time() -> AbstractContextManager[None]:
    """Let only one command create or remove the labs of this folder. Raises LabError for the second one."""
    return locked(state_dir() / "up-or-down.lock", "Another `make up` or `make down` is at work here: let it end.")


def notebooks_dir() -> Path:
    """Where `up` and `down` save the executed notebooks."""
    return ensure_writable(state_dir() / "notebooks")


def require_credentials(settings: Settings) -> None:
    """Raises LabError on `aws` without credentials."""
    if settings.target == "aws":
        Lab.from_settings(settings).require_credentials()


def count_resources(settings: Settings) -> tuple[int | None, str]:
    """How many resources exist of a lab; None, and a sentence that says why, if it is impossible to know."""
    try:
        return len(list_resources(Lab.from_settings(settings))), ""
    except LabError as error:
        return None, str(error)
    except (ClientError, BotoCoreError) as error:
        return None, f"It is impossible to know what exists of the lab: {error}"


def print_open_labs() -> None:
    """Print which labs of this folder are open."""
    for entry in ledger.entries():
        print(f"Still open: {entry}.")


def print_labs_of_others(settings: Settings) -> None:
    """On `aws`, print the labs in this account and Region that this folder has not made, found by their tag."""
    if settings.target != "aws":
        return
    known = {entry.settings.name for entry in ledger.entries() if entry.settings.region == settings.region}
    try:
        labs = [replace(settings, name=name) for name in list_lab_names(Lab.from_settings(settings))]
    except (LabError, ClientError, BotoCoreError) as error:
        print(f"It is impossible to know whether there are other labs in this account: {error}")
        return
    for lab in labs:
        if lab.name not in known | {settings.name}:
            command = lab.make_command("down")
            print(f"Found by its tag, made in another folder or on another machine: {lab}: `{command}`.")
