"""`make up` builds the chat and leaves it running, `make down` removes it; and what commands ask about labs."""

from argparse import Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from chatlab import ledger, local_cloud, notebooks, room_key
from chatlab.cli.options import notebook_parameters, parse, resolve_settings
from chatlab.errors import LabError
from chatlab.inventory import list_labs, list_resources
from chatlab.lab import Lab
from chatlab.paths import display_path, ensure_writable, locked, state_dir
from chatlab.privacy import redact
from chatlab.settings import Settings


def up(arguments: Sequence[str]) -> int:
    """Build the chat, and print where it is; the exit status."""
    options = parse("up", arguments)
    settings = resolve_settings(options)
    require_credentials(settings)
    known = ledger.find(target=settings.target, name=settings.name, region=settings.region)
    if settings.target == "aws" and not known and count_resources(settings)[0]:
        print(f"{settings} exists already, and was not made from this folder: its parts are found by their tag.")
    goes_on, removes = settings.make_command("up"), settings.make_command("down")
    what_next = f"What was built is still there: `{goes_on}` goes on, `{removes}` removes it."
    with _one_command_at_a_time():
        try:
            parameters = settings.parameters | notebook_parameters(options)
            *_, last = notebooks.execute_all(notebooks.BUILD, _folder(), parameters)
            if last.ok:
                (last,) = notebooks.execute_all([notebooks.FASTER], _folder(), parameters, only=notebooks.DEPLOY)
        except KeyboardInterrupt:
            raise LabError(f"Stopped. {what_next}") from None
    if not last.ok:
        raise LabError(f"{last.name}, {last.reason}\n{what_next}")
    lab = Lab.load()
    with_key = ", with #key= and the room's key behind it" if room_key.read(lab) else ""
    print(f"\nThe chat is at {lab.page_url}{with_key}\n`{removes}` removes it.")
    if lab.options.hours and "schedule" not in list_resources(lab)["kind"].to_list():
        why = f"the end of notebook 04 in {display_path(_folder())} says why"
        print(f"HOURS={lab.options.hours:g} has no effect: {why}.")
    _print_labs_of_others(settings, options.confirm)
    return 0


def down(arguments: Sequence[str]) -> int:
    """Remove a chat. The local cloud stops with the last one in it. Returns the exit status."""
    options = parse("down", arguments)
    with _one_command_at_a_time():
        entries = ledger.find(options.target, options.name, options.region, options.profile)
        if entries or options.target == "aws":
            _tear_down(options, entries)
        else:
            local_cloud.stop()
            print(
                f"There is no lab{f' {options.name}' if options.name else ''} here that could be removed. One that was "
                "made in another folder, or on another machine, is removed with "
                f"`make down TARGET=aws NAME={options.name or '...'} REGION=...`."
            )
        for entry in ledger.entries():
            print(f"Still open: {entry}.")
    return 0


def _tear_down(options: Namespace, entries: list[ledger.Entry]) -> None:
    settings = entries[0].settings if entries else resolve_settings(options)
    require_credentials(settings)
    print(f"{settings}{'' if entries else ', which was not made from this folder: it is found by its tag'}.")
    again = settings.make_command("down") + (f" CONFIRM={options.confirm}" if options.confirm else "")
    try:
        parameters = settings.parameters | notebook_parameters(options)
        (outcome,) = notebooks.execute_all([notebooks.TEARDOWN], _folder(), parameters)
    except KeyboardInterrupt:
        raise LabError(f"Stopped. `{again}` goes on.") from None
    if not outcome.ok:
        raise LabError(f"{outcome.name}, {outcome.reason}\n`{again}` tries again.")
    _print_labs_of_others(settings, options.confirm)


def require_credentials(settings: Settings) -> None:
    """Raises LabError on `aws` without credentials."""
    if settings.target == "aws":
        Lab(settings).require_credentials()


def count_resources(settings: Settings) -> tuple[int | None, str]:
    """How many resources exist of a lab; None, and a sentence that says why, if it is impossible to know."""
    try:
        return len(list_resources(Lab(settings))), ""
    except LabError as error:
        return None, str(error)
    except (ClientError, BotoCoreError) as error:
        return None, f"It is impossible to know what exists of the lab: {error}"


def _one_command_at_a_time() -> AbstractContextManager[None]:
    """Let only one command create or remove the labs of this folder. Raises LabError for the second one."""
    return locked(state_dir() / "up-or-down.lock", "Another `make up` or `make down` is at work here: let it end.")


def _folder() -> Path:
    """Where the executed notebooks are saved."""
    return ensure_writable(state_dir() / "notebooks")


def _print_labs_of_others(settings: Settings, confirmed: str | None) -> None:
    """On `aws`, print what was found by tag, in this account and Region, and not made from this folder: your other labs
    and, unless you `confirmed` its name, a colleague's lab of the same name.
    """
    if settings.target != "aws":
        return
    known = {entry.settings.name for entry in ledger.entries() if entry.settings.region == settings.region}
    try:
        labs = [(replace(settings, name=name), theirs) for name, theirs in list_labs(Lab(settings))]
    except (LabError, ClientError, BotoCoreError) as error:
        print(redact(f"It is impossible to know whether there are other labs in this account: {error}"))
        return
    for lab, theirs in labs:
        command = lab.make_command("down")
        if not theirs and lab.name not in known | {settings.name}:
            print(f"Found by its tag, made in another folder or on another machine: {lab}: `{command}`.")
        elif theirs and lab.name == settings.name != confirmed:
            print(f"Left alone, because it is a colleague's: {lab}. `{command} CONFIRM={lab.name}` removes it, too.")
