"""Load tests in processes of their own, against a small server on loopback."""

import argparse
import json
import os
import socket
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from chatlab import poll
from chatlab.paths import ROOT
from loadtest import arguments, live, results
from loadtest.arguments import Settings
from loadtest.calibration import reference_server

LIMIT_S = 60


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wrong_clock(seconds):
    """A locustfile's code that puts the clock of its process wrong by this many seconds, kernel timestamps included.

    That is what another machine with a wrong clock looks like. The clock cannot be put wrong from outside: a name space
    of Linux has no real-time clock of its own, and faketime reaches Python's calls but not the kernel's timestamps.
    """
    return f"""
from loadtest import clock

def set_clock(now_ns=clock.now_ns, timestamp_ns=clock.timestamp_ns):
    wrong_by_ns = round({seconds} * 1e9)
    clock.now_ns = lambda: now_ns() + wrong_by_ns
    clock.timestamp_ns = lambda ancillary: (arrived_ns := timestamp_ns(ancillary)) and arrived_ns + wrong_by_ns
"""


@dataclass
class Run:
    """A load test that runs, or has run."""

    process: subprocess.Popen
    folder: Path
    log: Path

    @property
    def output(self):
        """Its output until now."""
        return self.log.read_text()

    def wait(self):
        """Wait until it has ended by itself."""
        self.process.wait(timeout=LIMIT_S)
        return self

    def until_received(self, server, broadcasts):
        """Wait until a reference server has received this many of its broadcasts; fail if it ends before."""
        self._until(lambda: len(server.received) >= broadcasts)

    def until_delivered(self, deliveries):
        """Wait until its progress shows this many deliveries; fail if it ends before."""
        progress = self.folder / "progress.json"
        self._until(lambda: json.loads(progress.read_text()).get("delivered", 0) >= deliveries)

    def _until(self, is_so):
        def is_so_and_it_runs():
            assert self.process.poll() is None, self.output
            return is_so()

        ignoring = (OSError, ValueError)  # its progress is not there yet
        poll(is_so_and_it_runs, "the load test", timeout_s=LIMIT_S, every_s=0.02, ignoring=ignoring)

    @property
    def status(self):
        return self.process.returncode

    @property
    def result(self):
        return results.load(self.folder)

    @property
    def summary(self):
        return self.result.summary

    @property
    def errors(self):
        """The sentences that it logged as errors."""
        return [line.partition(": ")[2] for line in self.output.splitlines() if "/ERROR/" in line]

    @property
    def statistics(self):
        """Locust's own statistics by name."""
        return {entry["name"]: entry for entry in json.loads((self.folder / "locust.json").read_text())}


@pytest.fixture
def start(tmp_path, fork_server):
    """Start `locust` with the load test; words that look like arguments are its arguments, and a folder is its own.

    Its locustfile runs `code`, too. It is forked, since that is quick, or, if a test says `forked=False`, begun as from
    a shell.
    """
    runs = []

    def start_one(*words, headless=True, environment=None, folder=tmp_path / "results", code="", forked=True):
        locustfile = "loadtest/locustfile.py"
        if code:
            locustfile = tmp_path / f"locustfile_{len(runs)}.py"
            locustfile.write_text("from loadtest.locustfile import *\n" + textwrap.dedent(code))
        command = ["-f", f"{locustfile}", "--spawn-rate", "100", "--drain-time", "3"]
        command += ["--headless"] if headless else []
        if "--processes" in words:  # another test may have processes of its own at the same time
            command += ["--master-bind-port", port := str(free_port()), "--master-port", port]
        command += ["--json-file", f"{folder / 'locust'}"] if headless and "--worker" not in words else []
        command += ["--results", f"{folder}", *map(str, words)]
        environment = os.environ | {"LOADTEST_SECRET": "known to master and workers"} | (environment or {})
        (log := tmp_path / f"output-{len(runs)}.txt").touch()
        if forked:
            process = fork_server.locust(command, environment, log)
        else:
            with log.open("w") as said:
                process = subprocess.Popen(
                    [sys.executable, "-m", "locust", *command],
                    cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT,
                )  # fmt: skip
        runs.append(process)
        return Run(process, folder, log)

    yield start_one
    for process in runs:
        live.stop(process)


@pytest.fixture
def run(start):
    """Run a load test to its end."""
    return lambda *words, **options: start(*words, **options).wait()


@contextmanager
def refusing(status):
    """A server that answers every handshake with an HTTP status."""
    with reference_server.run() as server:
        server.refusals = [status] * 10_000
        yield server.url


URL = "ws://127.0.0.1:1/chat"


class Parser(argparse.ArgumentParser):
    """Takes what Locust's parser takes beyond argparse's."""

    def add_argument(self, *names, include_in_web_ui=True, **options):
        return super().add_argument(*names, **options)


def settings(*words, url=URL, users=10):
    parser = Parser()
    arguments.add(parser)
    return Settings.from_options(parser.parse_args(words), url, users)
