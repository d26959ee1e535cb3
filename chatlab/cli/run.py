"""`make run`: every notebook in order, in a lab of the run's own; `make notebooks`; and the comparison of runs."""

import json
import shutil
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from chatlab import capacity, ledger, local_cloud, notebooks, page, report
from chatlab.cli.chat import count_resources, require_credentials
from chatlab.cli.options import notebook_parameters, parse, resolve_settings
from chatlab.errors import LabError
from chatlab.lab import Lab
from chatlab.limits import read_quotas
from chatlab.notebooks import Outcome, print_line
from chatlab.paths import (
    NOTEBOOKS,
    ROOT,
    display_path,
    ensure_writable,
    locked,
    make_run_dir,
    state_dir,
    write_atomically,
)
from chatlab.settings import Settings, Variable
from chatlab.signals import uninterrupted
from loadtest import comparison, results
from loadtest.results import Result


def run(arguments: Sequence[str]) -> int:
    """Run every notebook in order, the teardown whatever happens, and print the summary; the exit status."""
    return _run_all(parse("run", arguments))


def renew_notebooks(arguments: Sequence[str]) -> int:
    """Run everything, practice included, and if all went well, save the outputs into the lab's notebooks."""
    options = parse("notebooks", arguments)
    if options.target not in (None, "local"):
        raise LabError("The committed notebooks show the local cloud: leave TARGET out.")
    status = _run_all(options, practice=True)
    if status == 0:
        for path in sorted(make_run_dir().joinpath("notebooks").glob("*.ipynb")):
            notebook = notebooks.without_injected(notebooks.read(path))
            write_atomically(NOTEBOOKS / path.name, notebooks.to_text(notebook))
        for path in make_run_dir().glob("plots/*ripple.*"):  # the README's
            shutil.copyfile(path, ROOT / "docs" / "pictures" / f"ripple{path.suffix}")
    return status


def compare(arguments: Sequence[str]) -> int:
    """Compare the load tests of runs, and print what differs; the exit status."""
    options = parse("compare", arguments)
    first, second = (options.runs, options.others) if options.others else (options.runs[:1], options.runs[1:])
    if not options.others and len(options.runs) != 2:
        raise LabError("Give two runs, or several and, after --with, several others.")
    if twice := [run for runs in (first, second) for run in runs if runs.count(run) > 1]:
        raise LabError(f"The run {display_path(twice[0])} is given twice: runs would then seem to differ too little.")
    try:
        compared = comparison.compare([_load(run) for run in first], [_load(run) for run in second])
    except (OSError, ValueError) as error:
        raise LabError(str(error)) from error
    for name, runs in (("First", first), ("Second", second)):
        print(f"{name}: {', '.join(str(display_path(run)) for run in runs)}")
    print(f"\n{compared}")
    return 0


def find_capacity(arguments: Sequence[str]) -> int:
    """Find how many people the chat that is up, or the server at `--host`, carries; the exit status."""
    options = parse("capacity", arguments)
    lab = None if options.host else _open_lab(options)
    goal, run = capacity.Goal(options.within, options.rate), make_run_dir()
    print(f"How many people hear a message {goal}? For {options.minutes:g} minutes at most; Ctrl-C ends it.")
    if lab:
        search = capacity.of_chat(lab, run / "capacity", goal, options.minutes, options.max_dollars)
        if dollars := search.price(1_000, 100, 100 / goal.rate):
            print(f"100 messages to 1,000 people cost {dollars:.2f} US dollars, all {options.max_dollars:.2f} at most.")
    else:
        search = capacity.Search(options.host, run / "capacity", goal, options.connection_rate, options.minutes)
    found = search.run()
    story = found.as_json()
    if lab:
        story["sentences"].append(capacity.on_aws(lab, goal, read_quotas(lab)))
    ensure_writable(run / "plots").joinpath("capacity.png").write_bytes(found.plot().png)
    summary: report.Summary = {"target": lab.target if lab else "another server", "machine": report.describe_machine()}
    report.write(run, summary | {"notebooks": [], "fanout": None, "leftovers": 0, "failures": [], "capacity": story})
    print("", *story["sentences"], f"All of it: {display_path(run)}", sep="\n")
    return 0 if found.low else 1


def _open_lab(options: Namespace) -> Lab:
    """The lab that is meant, whose chat is up. Raises LabError if there is none."""
    entries = ledger.find(options.target, options.name, options.region, options.profile)
    if not entries and options.target != "aws":
        raise LabError("No chat is up here: `make up` builds one. For another server, give --host.")
    lab = Lab(entries[0].settings, entries[0].options) if entries else Lab(resolve_settings(options))
    ledger.require_same_account(lab, entries)
    return lab


def _load(folder: Path) -> Result:
    """The load test's results in the folder of a run, or a folder of results itself. Raises LabError for others."""
    within = folder / "load_test"
    try:
        return results.load(within if within.is_dir() else folder)
    except (ValueError, KeyError) as error:
        raise LabError(f"The results in {display_path(folder)} can't be read: {error}") from error


def _run_all(options: Namespace, practice: bool = False) -> int:
    """Run every notebook; with `practice`, also the cells that break something, and the exercises."""
    settings = resolve_settings(options)
    require_credentials(settings)
    folder = make_run_dir()
    ensure_writable(folder / "notebooks")
    Variable.RUN.set(folder)
    # The run has a state of its own, so that it does not touch a lab that is up. The local cloud's key is in it: it is
    # not among the results.
    base = state_dir()
    Variable.HOME.set(base / "runs" / folder.name)
    if settings.target == "aws":  # unlike the local cloud, AWS goes on after the run: the ledger says what stays there
        if not Variable.LEDGER.get():
            Variable.LEDGER.set(base / "labs")
        _require_unused_name(settings)
    # The system releases this lock even if the run is killed. So the processes that it started know when it is over.
    lock = state_dir() / "run.lock"
    Variable.UNTIL.set(lock.resolve())
    busy = f"Another run is under way in {display_path(folder)}: let it end, or name another folder."
    with locked(lock, busy):
        more = [name for option, name in notebooks.OPTIONAL.items() if practice or getattr(options, option) == "yes"]
        run = _Run(settings, folder, practice, [notebooks.CAPSTONE, *more] if practice else more)
        return run.run(settings.parameters | notebook_parameters(options))


def _require_unused_name(settings: Settings) -> None:
    """Raises LabError if anything of a lab of this name exists: a run would use it and then remove it."""
    count, why_unknown = count_resources(settings)
    if count is None:
        raise LabError(why_unknown)
    if count:
        raise LabError(
            f"There is a lab {settings.name} in this account and Region already, which a run would use and then "
            f"remove: give the run another NAME=, or remove that lab with `{settings.make_command('down')}`."
        )


@dataclass
class _Run:
    """One run and its results."""

    settings: Settings
    folder: Path
    practice: bool
    more: list[str]
    """The notebooks beside those of each run."""
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    leftovers: int | None = None
    """How many resources are left; None if nobody knows."""

    def run(self, parameters: Mapping[str, object]) -> int:
        """Run the notebooks, and write and print the summary; the exit status."""
        try:
            self._build_and_measure(parameters)
            if ledger.current():  # otherwise nothing can have been built
                self._tear_down(parameters)
        except KeyboardInterrupt:
            self.failures.append("The teardown was stopped.")
        finally:
            with uninterrupted():
                page.stop(self.settings)
                local_cloud.stop()
        with uninterrupted():
            if self.leftovers is None and self.settings.target == "local":
                self.leftovers = 0  # everything was in the local cloud
            summary = self._write_summary()
        print("", *report.lines(summary, display_path(self.folder)), sep="\n")
        return 1 if self.failures else 0

    def _execute(self, names: list[str], parameters: Mapping[str, object]) -> None:
        # The outcomes before an exception are kept.
        self.outcomes.extend(notebooks.execute_all(names, self.folder / "notebooks", parameters, self.practice))

    def _build_and_measure(self, parameters: Mapping[str, object]) -> None:
        try:
            self._execute([*notebooks.BUILD, *notebooks.MEASURE, *self.more], parameters)
        except KeyboardInterrupt:
            self.failures.append("Stopped by hand.")
            with suppress(BrokenPipeError):
                print_line("Stopped: removing what was built (Ctrl-C again leaves it).")
        except BrokenPipeError:
            self.failures.append("The program that read this run's output has ended.")

    def _tear_down(self, parameters: Mapping[str, object]) -> None:
        with suppress(BrokenPipeError):  # only the line was still to do
            self._execute([notebooks.TEARDOWN], parameters)
        self.leftovers, why_unknown = count_resources(self.settings)
        if why_unknown:
            self.failures.append(why_unknown)

    def _write_summary(self) -> report.Summary:
        """Write the summary, and return it. What goes wrong on the way is added to the failures."""
        self.failures += [f"{outcome.name}, {outcome.reason}" for outcome in self.outcomes if not outcome.ok]
        if self.settings.target == "aws" and self.failures and self.leftovers != 0 and ledger.current():
            count = "It is not known what is left" if self.leftovers is None else f"{self.leftovers} resources are left"
            self.failures.append(f"{count}: `{self.settings.make_command('down')}` removes it.")
        summary: report.Summary = {
            "target": self.settings.target,
            "machine": report.describe_machine(),
            "notebooks": [{"name": each.name, "seconds": each.seconds, "ok": each.ok} for each in self.outcomes],
            "fanout": self._read("load_test/summary.json"),
            "faster": self._read("faster/story.json"),
            "capacity": self._read("capacity/capacity.json"),
            "leftovers": self.leftovers,
            "failures": self.failures,
        }
        try:
            report.write(self.folder, summary)
        except OSError as error:
            message = f"The summary can't be written into {display_path(self.folder)}: {error.strerror}."
            self.failures.append(message)
        if not self.failures:  # otherwise the local cloud's last words are there
            shutil.rmtree(state_dir(), ignore_errors=True)
        return summary

    def _read(self, name: str) -> report.Summary | None:
        """What a notebook has written into the run's folder, as JSON; None if it did not get that far."""
        path = self.folder / name
        return cast(report.Summary, json.loads(path.read_text())) if path.exists() else None
