"""`make down`: remove a chat."""

from chatlab import ledger, local_cloud
from chatlab.cli.arguments import Options
from chatlab.cli.labs import (
    notebooks_dir,
    one_command_at_a_time,
    print_labs_of_others,
    print_open_labs,
    require_credentials,
)
from chatlab.cli.progress import execute_all
from chatlab.errors import LabError
from chatlab.notebooks import TEARDOWN, Outcome


def remove(options: Options) -> int:
    """Remove a chat. The local cloud stops with the last one in it. Returns the exit status."""
    with one_command_at_a_time():
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
        print_open_labs()
    return 0


def _tear_down(options: Options, entries: list[ledger.Entry]) -> None:
    settings = entries[0].settings if entries else options.resolve_settings()
    require_credentials(settings)
    print(f"{settings}{'' if entries else ', which was not made from this folder: it is found by its tag'}.")
    outcomes: list[Outcome] = []
    try:
        execute_all([TEARDOWN], notebooks_dir(), settings.parameters, outcomes)
    except KeyboardInterrupt:
        raise LabError(f"Stopped. `{settings.make_command('down')}` goes on.") from None
    if not outcomes[-1].ok:
        again = settings.make_command("down")
        raise LabError(f"{outcomes[-1].name}, {outcomes[-1].reason}\n`{again}` tries again.")
    print_labs_of_others(settings)
