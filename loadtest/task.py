"""A load test in a container that nobody can reach: `python -m loadtest.task`, as notebook 10 starts it.

What it has to do came with its code, in `task.json`, as `Order`. It listens nowhere and knows no key of the cloud: it
hands over its progress, its log and its results by HTTP PUT to addresses that are good for that alone and for a while.
This module needs Python's own library alone, since it installs the rest where the image does not have it.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypedDict

NUMBER_VARIABLE = "LOADTEST_TASK"
"""The environment variable with this task's number: 0 counts, and is Locust's master if there are others."""
TELL_S = 2
PUT_S = 20  # for one attempt
KILL_S = 60  # after SIGTERM: more than the load test needs to write its results, loadtest.arguments.STOP_S
PROGRESS, LOG, RESULTS = ("progress.json", "log.txt", "results.zip")
FOLDER = Path("results")
"""Into which each load test writes its results, which task 0 hands over as `RESULTS`."""
NOT_HANDED_OVER = 3
"""The exit status if the results could not be handed over, for example because their address had expired."""


class Order(TypedDict):
    """What came with the code."""

    words: list[str]
    """After `locust`, alike for all tasks: `loadtest.live.words` for the folder `FOLDER`."""
    tasks: int
    address: str
    """The private address of task 0, on which its master listens; without others nobody does."""
    environment: dict[str, str]
    """What no command line may show: the room's key, the secret of master and workers."""
    put: list[dict[str, str]]
    """For each task the addresses for `PROGRESS`, `LOG` and, of task 0, `RESULTS`."""


def roles(order: Order, number: int) -> list[str]:
    """Locust's words that make this task the master, one of its workers, or, alone, neither."""
    if order["tasks"] == 1:
        return []
    if number:
        return ["--worker", "--master-host", order["address"]]
    return ["--master", "--master-bind-host", order["address"], "--expect-workers", f"{order['tasks'] - 1}"]


def main() -> int:
    """Install what is missing, run the load test, and hand over what came of it; the exit status."""
    order: Order = json.loads(Path("task.json").read_text())
    number = int(os.environ[NUMBER_VARIABLE])
    addresses, log, folder = order["put"][number], Path(LOG), FOLDER

    def tell(state: str, message: str = "") -> None:
        told: dict[str, Any] = {"state": state, "message": message, "test": read_progress(folder)}
        told["at"] = time.time()  # so each one is a new sign
        put(addresses[PROGRESS], json.dumps(told).encode(), attempts=1)

    status, message = 0, ""
    if importlib.util.find_spec("locust") is None:
        packages = ["--requirement", "loadtest/requirements.txt", "--require-hashes", "--only-binary", ":all:"]
        pip = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--root-user-action", "ignore", *packages]
        if status := run(pip, {}, log, lambda: tell("installing")):
            message = "The packages of the load test could not be installed from PyPI: the task's log says why."
            message = "The task was stopped before its test began." if status < 0 else message
    if not status:
        locust = [sys.executable, "-m", "locust", *order["words"], *roles(order, number)]
        if status := run(locust, order["environment"], log, lambda: tell("running")):
            message = why(order, folder, log.read_text(errors="replace"), status)
    put(addresses[LOG], log.read_bytes())
    if RESULTS in addresses and folder.is_dir():
        archive = Path(shutil.make_archive("handed-over", "zip", folder))
        if not put(addresses[RESULTS], archive.read_bytes()):
            status, message = NOT_HANDED_OVER, "The results could not be handed over."
    tell("ended", message)
    return status


def why(order: Order, folder: Path, said: str, status: int) -> str:
    """Why the load test is not complete, in one sentence."""
    from loadtest import live  # only now is all installed that it needs

    if "Gave up waiting for workers to connect" in said:  # locust.main
        return f"Not all of the {order['tasks'] - 1} workers came to the master in time, so no test began."
    return live.reason(read_progress(folder), said.splitlines(), status)


def read_progress(folder: Path) -> dict[str, Any]:
    """What the load test says of itself; {} before it does."""
    progress: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        progress = json.loads((folder / PROGRESS).read_text())
    return progress


def run(words: Sequence[str], environment: dict[str, str], log: Path, tell: Callable[[], None]) -> int:
    """Run a program, and `tell` again and again until it has ended; its exit status.

    SIGTERM, with which ECS stops a task, and SIGALRM, the time-out with which it began, end the program politely, so
    that it writes its results; then it is killed.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, env=os.environ | environment)

    def stop(number: int, _: object) -> None:
        process.kill() if number == signal.SIGALRM and stopped else process.terminate()
        stopped.append(number)
        signal.alarm(KILL_S)

    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)
    while True:
        tell()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(TELL_S)


def put(url: str, content: bytes, attempts: int = 3) -> bool:
    """Hand something over; whether that was possible."""
    for _ in range(attempts):
        with suppress(OSError, HTTPException):  # no answer, or one that says no
            urllib.request.urlopen(urllib.request.Request(url, content, method="PUT"), timeout=PUT_S).close()
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
