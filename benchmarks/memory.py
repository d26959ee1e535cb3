"""How much memory the processes of a soak take, and how fast that grows."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pandas as pd
import psutil

from chatlab import local_cloud

CLOUD, LOAD_TEST = "local cloud", "load test"


@contextlib.contextmanager
def repeating(every_s: float, *actions: Callable[[float], None]) -> Iterator[None]:
    """Call these again and again in a thread, each with the seconds since the beginning."""
    began, end = time.monotonic(), threading.Event()

    def run() -> None:
        while not end.wait(every_s):
            seconds = time.monotonic() - began
            for action in actions:
                action(seconds)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


class MemorySampler:
    """Writes down who takes how much memory: the load test, the local cloud and its functions."""

    def __init__(self, load_test: psutil.Process) -> None:
        self._load_test = load_test
        self._rows: list[tuple[float, str, int, float]] = []

    def sample(self, seconds: float) -> None:
        """Look at all processes once."""
        for who, process in processes(self._load_test):
            with contextlib.suppress(psutil.Error):  # it has just ended
                self._rows.append((round(seconds, 1), who, process.pid, process.memory_info().rss / 1024**2))

    @property
    def table(self) -> pd.DataFrame:
        """A row for each sample of each process: `seconds` since the beginning, `who`, `pid`, and `mb` resident."""
        return pd.DataFrame(self._rows, columns=["seconds", "who", "pid", "mb"])


def processes(load_test: psutil.Process) -> Iterator[tuple[str, psutil.Process]]:
    """Whose memory it is about: a function's name, `CLOUD` or `LOAD_TEST`, and the process."""
    with contextlib.suppress(psutil.Error):
        for process in (load_test, *load_test.children(recursive=True)):
            yield LOAD_TEST, process
    with contextlib.suppress(psutil.Error):
        cloud = psutil.Process(local_cloud.status()["pid"])
        yield CLOUD, cloud
        for process in cloud.children(recursive=True):
            yield process.environ().get("AWS_LAMBDA_FUNCTION_NAME", "other"), process


def by_process(memory: pd.DataFrame) -> list[tuple[str, int]]:
    """Each process in the table, as (who, pid), in the order in which they began."""
    return list(dict.fromkeys(zip(memory["who"], memory["pid"], strict=True)))


def growth(memory: pd.DataFrame, measured_from_s: float) -> pd.DataFrame:
    """How the memory of each process has grown since then: a row for each, `who` and

    `mb` (median), `mb_per_hour` (Theil and Sen's slope: the median of all slopes between two samples), `low` and `high`
    (its 95 % interval, in which samples are taken for independent), `hours`, and `grown_mb`, slope times hours.
    """
    from scipy import stats  # a second, which Ctrl-C need not wait for

    rows = []
    for who, pid in by_process(memory):
        samples = memory[(memory["who"] == who) & (memory["pid"] == pid) & (memory["seconds"] >= measured_from_s)]
        if samples["seconds"].nunique() < 3:
            continue  # it began or ended in between
        hours = samples["seconds"] / 3600
        slope, _, low, high = stats.theilslopes(samples["mb"], hours)
        span = hours.max() - hours.min()
        rows.append((who, pid, samples["mb"].median(), slope, low, high, span, slope * span))
    return pd.DataFrame(rows, columns=["who", "pid", "mb", "mb_per_hour", "low", "high", "hours", "grown_mb"])
