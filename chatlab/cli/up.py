"""`make up`: build the chat and leave it running."""

from chatlab import ledger, room
from chatlab.cli.arguments import Options
from chatlab.cli.labs import (
    count_resources,
    notebooks_dir,
    one_command_at_a_time,
    print_labs_of_others,
    require_credentials,
)
from chatlab.cli.progress import execute_all
from chatlab.errors import LabError
from chatlab.lab import Lab
from chatlab.notebooks import BUILD, Outcome


def build(options: Options) -> int:
    """Build the chat, and print where it is; the exit status."""
    settings = options.resolve_settings()
    require_credentials(settings)
    known = ledger.find(target=settings.target, name=settings.name, region=settings.region)
    if settings.target == "aws" and not known and count_resources(settings)[0]:
        print(f"{settings} exists already, and was not made from this folder: its parts are found by their tag.")
    goes_on, removes = settings.make_command("up"), settings.make_command("down")
    what_next = f"What was built is still there: `{goes_on}` goes on, `{removes}` removes it."
    outcomes: list[Outcome] = []
    with one_command_at_a_time():
        try:
            execute_all(BUILD, notebooks_dir(), settings.parameters | options.optional_parts, outcomes)
        except KeyboardInterrupt:
            raise LabError(f"Stopped. {what_next}") from None
    if not outcomes[-1].ok:
        raise LabError(f"{outcomes[-1].name}, {outcomes[-1].reason}\n{what_next}")
    lab = Lab.load()
    with_key = ", with #key= and the room's key behind it" if room.key(lab) else ""
    print(f"\nThe chat is at {lab.page_url}{with_key}\n`{removes}` removes it.")
    print_labs_of_others(settings)
    return 0
