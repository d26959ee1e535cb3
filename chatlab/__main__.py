"""`python -m chatlab`: what `make run`, `up`, `down` and `notebooks` call."""

import argparse
import json
import os
import shutil
import sys
import time

from chatlab import LabError, inventory, local_cloud, report
from chatlab.errors import exit_status
from chatlab.lab import Lab
from chatlab.notebooks import BUILD, MEASURE, TEARDOWN, execute
from chatlab.paths import NOTEBOOKS, home, run_folder, shown, writable

MOST_CONNECTIONS = 5_000
MOST_BROADCASTS = 500


def main(arguments=None):
    """Parse the command line and do it; the exit status."""
    chosen = _parser().parse_args(arguments)
    Lab(chosen.target or "local", chosen.name or "chat")  # a wrong one is said before anything is begun
    if chosen.target:
        os.environ["CHATLAB_TARGET"] = chosen.target
    if chosen.name:
        os.environ["CHATLAB_NAME"] = chosen.name
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
        part.add_argument("--target", help="local (the default) or aws")
        part.add_argument("--name", help="the lab's name, a prefix of all that it makes (default: chat)")
        if command in (run, notebooks):
            part.add_argument("--connections", type=_count("CONNECTIONS", MOST_CONNECTIONS), default=200)
            part.add_argument("--broadcasts", type=_count("BROADCASTS", MOST_BROADCASTS), default=20)
    return parser


def _count(name, most):
    def count(text):
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise LabError(f'{name} has to be a whole number from 1 to {most}, and it is "{text}".')
        return int(text)

    return count


def run(chosen):
    """Every notebook in order, in a lab of the run's own; the teardown whatever happens; then the summary."""
    folder = run_folder()
    saved = writable(folder / "notebooks")
    os.environ["CHATLAB_RUN"] = str(folder)
    # So a lab that is up is left alone. It is none of the run's results: the local cloud's key is in it.
    os.environ["CHATLAB_HOME"] = str(home() / "runs" / folder.name)
    os.environ["CONNECTIONS"] = str(chosen.connections)
    os.environ["BROADCASTS"] = str(chosen.broadcasts)
    if chosen.target == "aws" and not inventory(Lab.choose()).empty:  # the local cloud is the run's own, AWS is not
        raise LabError(
            f"There is a lab {Lab.choose().name} in this account already, which a run would use and then remove: "
            "give the run another NAME=, or remove that lab with `make down TARGET=aws`."
        )
    outcomes, failures, left = [], [], None
    try:
        try:
            _execute_all([*BUILD, *MEASURE], saved, outcomes)
        except KeyboardInterrupt:
            failures.append("Stopped by hand.")
            print("Stopped: removing what was built (Ctrl-C again leaves it).")
        if home().joinpath("lab.json").exists():  # otherwise nothing can have been built
            _execute_all([TEARDOWN], saved, outcomes)
            left = len(inventory(Lab.choose()))
    except KeyboardInterrupt:
        failures.append("The teardown was stopped: `make down` removes what is left.")
    finally:
        local_cloud.stop()
    failures += [f"{outcome.name}, {outcome.reason}" for outcome in outcomes if not outcome.ok]
    if left:
        failures.append(f"{left} things are left after the teardown: `make down` tries again.")
    measured = folder / "load_test" / "summary.json"
    summary = {
        "target": os.environ.get("CHATLAB_TARGET", "local"),
        "notebooks": [{"name": o.name, "seconds": o.seconds, "ok": o.ok} for o in outcomes],
        "fanout": json.loads(measured.read_text()) if measured.exists() else None,
        "leftovers": left,
        "failures": failures,
    }
    report.write(folder, summary)
    if not failures:  # otherwise the local cloud's last words are there
        shutil.rmtree(home(), ignore_errors=True)
    print("", *report.lines(summary, shown(folder)), sep="\n")
    return 1 if failures else 0


def notebooks(chosen):
    """Run everything, and keep the executed notebooks as the ones of the repository, if all went well."""
    if (chosen.target or "local") != "local":
        raise LabError("The committed notebooks show the local cloud: leave TARGET out.")
    status = run(chosen)
    if status == 0:
        for path in sorted(run_folder().joinpath("notebooks").glob("*.ipynb")):
            shutil.copy(path, NOTEBOOKS)
    return status


def up(chosen):
    """Build the chat, and say where it is."""
    outcomes = []
    _execute_all(BUILD, _up_folder(), outcomes)
    if not outcomes[-1].ok:
        raise LabError(f"{outcomes[-1].name}, {outcomes[-1].reason}")
    print(f"\nThe chat is at {Lab.load().page_url}/index.html\n`make down` removes it.")
    return 0


def down(chosen):
    """Remove the chat, and stop the local cloud."""
    outcomes = []
    _execute_all([TEARDOWN], _up_folder(), outcomes)
    if not outcomes[-1].ok:
        raise LabError(f"{outcomes[-1].name}, {outcomes[-1].reason}")
    return 0


def _execute_all(names, saved, outcomes):
    """Run the notebooks until one fails, save them into the folder `saved`, and add their Outcomes to `outcomes`."""
    if not local_cloud.status()["running"]:
        local_cloud.stop()  # one that died before this began is no reason to stop now
    for name in names:
        line = _Line(name)
        guard = _stopped_by_itself if name == TEARDOWN else _cloud_is_alive
        outcome = execute(name, saved / f"{name}.ipynb", on_progress=line.update, guard=guard)
        line.end(outcome)
        outcomes.append(outcome)
        if not outcome.ok:
            break


def _cloud_is_alive():
    """A sentence if the local cloud was started and has died."""
    state = local_cloud.status()
    if "pid" in state and not state["running"]:
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
        if self._terminal:
            print(f"\r{line}".ljust(self.WIDTH), end="", flush=True)
        elif time.monotonic() - self._said > self.EVERY_S:
            self._said = time.monotonic()
            print(line, flush=True)

    def end(self, outcome):
        if self._terminal:
            print("\r".ljust(self.WIDTH), end="\r")
        verdict = "ok" if outcome.ok else f"FAILED: {outcome.reason}"
        print(f"  {self._name:<20} {outcome.seconds:>6.1f} s  {verdict}", flush=True)


def _up_folder():
    return writable(home() / "notebooks")


if __name__ == "__main__":
    sys.exit(exit_status(main))
