"""Is one commit faster than another? `make compare A=main B=feature`: one load test measures both in turn."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chatlab import LabError
from chatlab.paths import ROOT, display_path, make_run_dir
from chatlab.signals import exit_status
from loadtest import comparison, live, results, warm_up

SERVE = """
import sys
from benchmarks.support import deployed_chat
from chatlab.signals import exit_status
def serve():
    with deployed_chat() as lab:
        print(lab.websocket_url(lab.require_api()), flush=True)
        sys.stdin.read()
sys.exit(exit_status(serve))
"""


def extract(commit: str | None, folder: Path) -> Path:
    """The folder with a commit's files, which are written into `folder`; without a commit, this very folder.

    Raises:
        LabError: in one sentence, if there is no such commit.
    """
    if not commit:
        return ROOT
    folder.mkdir()
    command = ["git", "archive", "--format=zip", f"--output={(archive := folder / 'commit.zip')}", commit, "--"]
    if (made := subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)).returncode:
        raise LabError(f"git has no files of {commit}: {made.stderr.strip()}.")
    shutil.unpack_archive(archive, folder)
    return folder


@contextmanager
def chat_of(code: Path) -> Iterator[str]:
    """The URL of the chat that the code in a folder builds on a local cloud of its own, with what is installed here.

    Its process also ends if this one is killed, because its input then ends.

    Raises:
        LabError: with what the code says, if the chat can't be built.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], cwd=code, env=os.environ | {"PYTHONPATH": str(code)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,  # a terminal's Ctrl-C is for this process, which then ends that one
    )  # fmt: skip
    assert process.stdout
    try:
        said = process.stdout.readline()
        if not said.startswith("ws"):
            raise LabError(f"The chat can't be built: {(said + process.stdout.read()).strip()}")
        yield said.strip()
    except BaseException:
        process.terminate()
        raise
    finally:
        process.communicate()  # ends its input, and waits until it has ended its cloud


def main(arguments: list[str] | None = None) -> int:
    """Measure two commits in turn, and print the comparison.

    Raises:
        LabError: if there is no such commit, or if its chat can't be built.
        LoadTestError: in one sentence, if a load test fails.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--before", default="HEAD", metavar="COMMIT", help="Default: HEAD")
    parser.add_argument("--after", metavar="COMMIT", help="Default: this folder, as it is")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="Of each (default: 5)")
    parser.add_argument("--connections", type=int, default=200, metavar="N", help="Default: 200")
    parser.add_argument("--broadcasts", type=int, default=20, metavar="N", help="In each run (default: 20)")
    options = parser.parse_args(arguments)
    if min(options.runs, options.connections, options.broadcasts) < 1 or options.connections > 1_000:
        parser.error("it takes at least one run, connection and broadcast, and at most 1,000 connections")
    with ExitStack() as stack:
        commits = {"A": options.before, "B": options.after}
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        codes = {name: extract(commit, temporary / name) for name, commit in commits.items()}
        urls = {}
        for name, code in codes.items():
            print(f"{name}: building the chat of {commits[name] or 'this folder'} ...", flush=True)
            urls[name] = stack.enter_context(chat_of(code))
        folder = make_run_dir()
        one_s = max(warm_up.broadcast_s(url, options.connections) for url in urls.values())
        rate = min(5.0, 1 / (1.5 * one_s))  # as in notebook 06, and the same for both
        for number in range(options.runs + 1):  # in the first one, functions start: it does not count
            for name, url in urls.items():
                print(f"{name}, {f'run {number}' if number else 'warm-up'}: ", end="", flush=True)
                to = folder / f"{name}{number}"
                process = live.begin(
                    url, to, users=options.connections, spawn_rate=100, speakers=min(3, options.connections),
                    broadcasts=options.broadcasts, broadcast_rate=rate, drain_time=30, run_time="600s",
                )  # fmt: skip
                live.watch(process, to)
    before, after = ([results.load(folder / f"{name}{k + 1}") for k in range(options.runs)] for name in urls)
    print(f"\n{comparison.compare(before, after)}\n\nAll of it: {display_path(folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
