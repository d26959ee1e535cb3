"""`python -m chatlab`: what `make run`, `up`, `down` and `notebooks` call."""

import argparse
import json
import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import replace

import nbformat
from botocore.exceptions import BotoCoreError, ClientError

from chatlab import LabError, ledger, list_resources, local_cloud, page, report, room
from chatlab.errors import discard_output, exit_status, uninterrupted
from chatlab.inventory import list_lab_names
from chatlab.lab import Lab
from chatlab.locks import locked
from chatlab.notebooks import BUILD, MEASURE, TEARDOWN, execute, without_injected
from chatlab.paths import NOTEBOOKS, display_path, ensure_writable, make_run_dir, state_dir, write_atomically
from chatlab.settings import Settings, resolve_profile

MAX_CONNECTIONS = 5_000
MAX_BROADCASTS = 500


def main(arguments=None):
    """Parse the command line and do it; the exit status."""
    chosen = _parser().parse_args(arguments)
    return chosen.command(chosen)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise LabError(f"{message[0].upper()}{message[1:]}.")


def _parser():
    parser = _Parser(prog="python -m chatlab", description="Run the lab's notebooks.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command, what in [
        (run, "every notebook in order, load test and teardown included, into runs/<UTC time>"),
        (notebooks, "the same, on the local cloud, with the outputs saved into notebooks/"),
        (up, "build the chat and leave it running"),
        (down, "remove the chat"),
    ]:
        part = commands.add_parser(command.__name__, help=what)
        part.set_defaults(command=command)
        part.add_argument(
            "--target", default=os.environ.get("CHATLAB_TARGET"), help="local (the default) or aws; or CHATLAB_TARGET"
        )
        part.add_argument(
            "--name",
            default=os.environ.get("CHATLAB_NAME"),
            help="the lab's name, a prefix of all that it makes (default: chat); or CHATLAB_NAME",
        )
        part.add_argument("--region", help="the AWS Region (default: that of your AWS configuration)")
        part.add_argument(
            "--profile", type=resolve_profile, help="the profile of your AWS configuration (default: AWS_PROFILE)"
        )
        if command is not down:
            part.add_argument("--hours", type=_hours, help="after so many AWS removes the stage (default: never)")
            part.add_argument("--email", help="where AWS Budgets is to send an alarm (default: there is none)")
            part.add_argument(
                "--room-key",
                type=room.validate_key,
                default=os.environ.get("CHATLAB_ROOM_KEY"),
                help="who does not have it can't connect (default: there is none); or CHATLAB_ROOM_KEY",
            )
        if command in (run, notebooks):
            part.add_argument("--connections", type=_count("CONNECTIONS", MAX_CONNECTIONS), default=200)
            part.add_argument("--broadcasts", type=_count("BROADCASTS", MAX_BROADCASTS), default=20)
    return parser


def _hours(text):
    try:
        return float(text)  # whether it can be, notebook 00 says
    except ValueError:
        raise LabError(f'HOURS has to be a number, and it is "{text}".') from None


def _count(name, most):
    def count(text):
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise LabError(f'{name} has to be a whole number from 1 to {most}, and it is "{text}".')
        return int(text)

    return count


def _settings(chosen):
    """The Settings that the command line means.

    Raises LabError for what can't be, and on `aws` without credentials, before anything is begun.
    """
    return _known_to_aws(Settings.resolve(chosen.target, chosen.name, chosen.region, chosen.profile))


def _known_to_aws(settings):
    """The Settings themselves. Raises LabError on `aws` without credentials."""
    if settings.target == "aws":
        _ = Lab.from_settings(settings).account_id
    return settings


def _switches(chosen):
    """The parameters of the notebooks that turn on what is off by default."""
    return {"HOURS": chosen.hours, "EMAIL": chosen.email, "ROOM_KEY": chosen.room_key}


def run(chosen):
    """Every notebook in order, in a lab of the run's own; the teardown whatever happens; then the summary."""
    settings = _settings(chosen)
    folder = make_run_dir()
    saved = ensure_writable(folder / "notebooks")
    os.environ["CHATLAB_RUN"] = str(folder)
    # So a lab that is up is left alone. It is none of the run's results: the local cloud's key is in it.
    base = state_dir()
    os.environ["CHATLAB_HOME"] = str(base / "runs" / folder.name)
    if settings.target == "aws":  # the local cloud is the run's own, AWS is not: what stays there is to be known here
        os.environ.setdefault("CHATLAB_LEDGER", str(base / "labs"))
        _require_free(settings)
    # With this lock, which the system lets go even if the run is killed, the run's own processes know that it is over.
    os.environ["CHATLAB_UNTIL"] = str((state_dir() / "run.lock").resolve())
    with locked(
        state_dir() / "run.lock",
        f"Another run is under way in {display_path(folder)}: let it end, or name another folder.",
    ):
        return _run(chosen, settings, folder, saved)


def _run(chosen, settings, folder, saved):
    load = {"CONNECTIONS": chosen.connections, "BROADCASTS": chosen.broadcasts}
    parameters = settings.parameters | _switches(chosen) | load
    outcomes, failures, left = [], [], None
    try:
        try:
            _execute_all([*BUILD, *MEASURE], saved, parameters, outcomes)
        except KeyboardInterrupt:
            failures.append("Stopped by hand.")
            with suppress(BrokenPipeError):
                _say("Stopped: removing what was built (Ctrl-C again leaves it).")
        except BrokenPipeError:
            failures.append("What read this run's lines has ended.")
        if ledger.current():  # otherwise nothing can have been built
            with suppress(BrokenPipeError):  # all but its line is done then
                _execute_all([TEARDOWN], saved, parameters, outcomes)
            left, why = _count_left(settings)
            failures += [why] if why else []
    except KeyboardInterrupt:
        failures.append("The teardown was stopped.")
    finally:
        with uninterrupted():
            page.stop(settings)
            local_cloud.stop()
    with uninterrupted():
        if left is None and settings.target == "local":
            left = 0  # it was all in the local cloud
        summary = _conclude(settings, folder, outcomes, failures, left)
    print("", *report.lines(summary, display_path(folder)), sep="\n")
    return 1 if failures else 0


def _conclude(settings, folder, outcomes, failures, left):
    """Write the summary of a run; the same as a dict. What else went wrong is added to its `failures`."""
    failures += [f"{outcome.name}, {outcome.reason}" for outcome in outcomes if not outcome.ok]
    if settings.target == "aws" and failures and left != 0 and ledger.current():
        what = "It is not known what is left" if left is None else f"{left} things are left"
        failures.append(f"{what}: `{settings.make_command('down')}` removes it.")
    measured = folder / "load_test" / "summary.json"
    summary = {
        "target": settings.target,
        "notebooks": [{"name": o.name, "seconds": o.seconds, "ok": o.ok} for o in outcomes],
        "fanout": json.loads(measured.read_text()) if measured.exists() else None,
        "leftovers": left,
        "failures": failures,
    }
    try:
        report.write(folder, summary)
    except OSError as error:
        failures.append(f"The summary can't be written into {display_path(folder)}: {error.strerror}.")
    if not failures:  # otherwise the local cloud's last words are there
        shutil.rmtree(state_dir(), ignore_errors=True)
    return summary


def _require_free(settings):
    """Raises LabError if there is something of a lab of this name, which a run would use and then remove."""
    left, why = _count_left(settings)
    if why:
        raise LabError(why)
    if left:
        raise LabError(
            f"There is a lab {settings.name} in this account and Region already, which a run would use and then "
            f"remove: give the run another NAME=, or remove that lab with `{settings.make_command('down')}`."
        )


def _count_left(settings):
    """How many things there are; None, and a sentence, if it can't be told."""
    try:
        return len(list_resources(Lab.from_settings(settings))), ""
    except LabError as error:
        return None, str(error)
    except (ClientError, BotoCoreError) as error:
        return None, f"What there is of the lab can't be told: {error}"


def notebooks(chosen):
    """Run everything, and keep the executed notebooks as the ones of the repository, if all went well."""
    if chosen.target not in (None, "local"):
        raise LabError("The committed notebooks show the local cloud: leave TARGET out.")
    status = run(chosen)
    if status == 0:
        for path in sorted(make_run_dir().joinpath("notebooks").glob("*.ipynb")):
            written = nbformat.writes(without_injected(nbformat.read(path, as_version=4)))
            write_atomically(NOTEBOOKS / path.name, written.rstrip() + "\n")
    return status


def up(chosen):
    """Build the chat, and say where it is."""
    settings = _settings(chosen)
    known = ledger.find(target=settings.target, name=settings.name, region=settings.region)
    if settings.target == "aws" and not known and _count_left(settings)[0]:
        print(f"{settings} is there already, and was not made from this folder: its parts are found by their tag.")
    goes_on, removes = settings.make_command("up"), settings.make_command("down")
    still_there = f"What was built is still there: `{goes_on}` goes on, `{removes}` removes it."
    outcomes = []
    parameters = settings.parameters | _switches(chosen)
    with _alone():
        try:
            _execute_all(BUILD, _up_folder(), parameters, outcomes)
        except KeyboardInterrupt:
            raise LabError(f"Stopped. {still_there}") from None
    if not outcomes[-1].ok:
        raise LabError(f"{outcomes[-1].name}, {outcomes[-1].reason}\n{still_there}")
    with_key = ", with #key= and the room's key behind it" if room.key(lab := Lab.load()) else ""
    print(f"\nThe chat is at {lab.page_url}{with_key}\n`{settings.make_command('down')}` removes it.")
    _others_by_tag(settings)
    return 0


def down(chosen):
    """Remove a chat. The local cloud stops with the last one in it."""
    with _alone():
        return _down(chosen)


def _down(chosen):
    named = {"target": chosen.target, "name": chosen.name, "region": chosen.region, "profile": chosen.profile}
    meant = ledger.find(**named)
    if not meant and chosen.target != "aws":
        local_cloud.stop()
        print(
            f"There is no lab{f' {chosen.name}' if chosen.name else ''} here that could be removed. One that was made "
            "in another folder, or on another machine, is removed with "
            f"`make down TARGET=aws NAME={chosen.name or '...'} REGION=...`."
        )
        return _others_open()
    settings = _known_to_aws(meant[0].settings) if meant else _settings(chosen)
    print(f"{settings}{'' if meant else ', which was not made from this folder: it is found by its tag'}.")
    outcomes = []
    try:
        _execute_all([TEARDOWN], _up_folder(), settings.parameters, outcomes)
    except KeyboardInterrupt:
        raise LabError(f"Stopped. `{settings.make_command('down')}` goes on.") from None
    if not outcomes[-1].ok:
        raise LabError(f"{outcomes[-1].name}, {outcomes[-1].reason}\n`{settings.make_command('down')}` tries again.")
    _others_by_tag(settings)
    return _others_open()


def _alone():
    """Only one command at a time builds or removes the labs of this folder. Raises LabError for the second one."""
    return locked(state_dir() / "up-or-down.lock", "Another `make up` or `make down` is at work here: let it end.")


def _others_open():
    for entry in ledger.entries():
        print(f"Still open: {entry}.")
    return 0


def _others_by_tag(settings):
    """Name the labs in this account and Region that this folder has not made: the tags of their things tell of them."""
    if settings.target != "aws":
        return
    known = {entry.settings.name for entry in ledger.entries() if entry.settings.region == settings.region}
    try:
        others = [replace(settings, name=name) for name in list_lab_names(Lab.from_settings(settings))]
    except (LabError, ClientError, BotoCoreError) as error:
        print(f"Whether there are other labs in this account can't be told: {error}")
        return
    for other in others:
        if other.name not in known | {settings.name}:
            command = other.make_command("down")
            print(f"Found by its tag, made in another folder or on another machine: {other}: `{command}`.")


def _execute_all(names, saved, parameters, outcomes):
    """Run the notebooks until one fails, save them into the folder `saved`, and add their Outcomes to `outcomes`."""
    if not local_cloud.status()["running"]:
        local_cloud.stop()  # one that died before this began is no reason to stop now
    for name in names:
        line = _Line(name)
        health_check = _stopped_by_itself if name == TEARDOWN else _cloud_is_alive
        outcome = execute(name, saved / f"{name}.ipynb", parameters, on_progress=line.update, health_check=health_check)
        outcomes.append(outcome)
        line.end(outcome)
        if not outcome.ok:
            break


def _cloud_is_alive():
    """A sentence if the local cloud was started and has died."""
    if local_cloud.has_died():
        return "the local cloud died, and everything in it is gone with it: run it again."
    return None


def _stopped_by_itself():
    """The teardown ends the local cloud itself, so that its end is no reason to stop."""
    return None


class _Line:
    """One notebook's line: rewritten in place on a terminal; in a pipe, what is new every few seconds, and the end."""

    WIDTH = 100
    EVERY_S = 5

    def __init__(self, name):
        self._name, self._terminal, self._said = name, sys.stdout.isatty(), time.monotonic()
        self.update("")

    def update(self, text):
        line = f"  {self._name:<20} {text[: self.WIDTH - 23]}"
        with suppress(OSError):  # which is met again, and taken care of, at the notebook's end
            if self._terminal:
                print(f"\r{line}".ljust(self.WIDTH), end="", flush=True)
            elif time.monotonic() - self._said > self.EVERY_S:
                self._said = time.monotonic()
                print(line, flush=True)

    def end(self, outcome):
        blank = "\r".ljust(self.WIDTH) + "\r" if self._terminal else ""
        verdict = "ok" if outcome.ok else f"FAILED: {outcome.reason}"
        _say(f"{blank}  {self._name:<20} {outcome.seconds:>6.1f} s  {verdict}")


def _say(line):
    """Print it. Raises BrokenPipeError where nobody reads any more, once; a terminal that is gone is no other case."""
    try:
        print(line, flush=True)
    except OSError as error:
        discard_output()
        raise BrokenPipeError from error


def _up_folder():
    return ensure_writable(state_dir() / "notebooks")


if __name__ == "__main__":
    sys.exit(exit_status(main))
