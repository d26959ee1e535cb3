"""Does the chat hold out? A long load on it, on a bad day: `make soak`, or `python -m benchmarks.soak --minutes 30`.

On a local cloud of its own, the notebooks build the chat. Then the load test broadcasts while some connections leave
and others come, and the emulator does for a while what AWS does on a bad day (`SPELLS`). Every few seconds the soak
looks how much memory each process takes.

Nothing may be lost, and how much the functions and the load test may grow is bounded. The emulator's growth is printed
without a bound, since it holds everything in memory.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import psutil

from benchmarks.support import deployed_chat
from chatlab import Lab, local_cloud
from chatlab.paths import write_atomically
from chatlab.signals import exit_status
from loadtest import live, results
from loadtest.calibration.bounds import Bounds, report
from loadtest.errors import LoadTestError

SPELLS = (
    "",
    "message-faults",
    "connections-rate={quota}",
    "",
    "delay",
    "delay,message-faults,connections-rate={quota}",
)
"""Traits of `chatlab.emulator.traits`, one set after the other, over and over."""
QUOTA = 1.5
"""In a spell with a quota, the posts a second that are allowed for each that is needed: most broadcasts meet it."""
SPELL_S = 60.0
"""How long one set lasts; in a short soak each has its turn all the same."""
SAMPLE_S = 5.0
SETTLED = 0.2
"""The share of the time before memory is measured: until then pools, caches and the allocator fill."""

GROWTH_MB = 4.0
"""Any process may grow by this once, since memory is taken in steps; and by one of the following in an hour."""
FUNCTION_MB_PER_HOUR = 8.0
"""A function that leaks no more than this has room for hours, and Lambda replaces its instances every few hours."""
LOAD_TEST_MB_PER_HOUR = 250.0
"""The load test keeps what it has seen until its end: 25 bytes for each delivery, and four times a second a table."""

CLOUD, LOAD_TEST = "local cloud", "load test"


class Watch:
    """A context: a thread that switches from one set of traits to the next, and looks how much memory is taken.

    Args:
        file: the traits' file, which `CHATLAB_TRAITS` names.
        traits: the sets, each for `spell_s` seconds, over and over.
        load_test: the process whose memory, with its children's, is looked at beside the local cloud's.
    """

    def __init__(self, file: Path, traits: list[str], spell_s: float, load_test: psutil.Process) -> None:
        self._file, self._traits, self._spell_s, self._load_test = file, traits, spell_s, load_test
        self._spells: list[tuple[float, str]] = []
        self._samples: list[tuple[float, str, int, float]] = []
        self._end, self._thread = threading.Event(), threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def spells(self) -> pd.DataFrame:
        """A row for each set of traits: `seconds` since the beginning, and its `traits`."""
        return pd.DataFrame(self._spells, columns=["seconds", "traits"])

    @property
    def memory(self) -> pd.DataFrame:
        """A row for each sample of each process: `seconds` since the beginning, `who`, `pid`, and `mb` resident."""
        return pd.DataFrame(self._samples, columns=["seconds", "who", "pid", "mb"])

    def _run(self) -> None:
        began = time.monotonic()
        while not self._end.wait(min(SAMPLE_S, self._spell_s / 5)):
            seconds = round(time.monotonic() - began, 1)
            traits = self._traits[int(seconds / self._spell_s) % len(self._traits)]
            if not self._spells or self._spells[-1][1] != traits:
                write_atomically(self._file, traits)
                self._spells.append((seconds, traits))
            for who, process in processes(self._load_test):
                with contextlib.suppress(psutil.Error):  # it has just ended
                    self._samples.append((seconds, who, process.pid, process.memory_info().rss / 1024**2))


def processes(load_test: psutil.Process) -> Iterator[tuple[str, psutil.Process]]:
    """Each process with its name: a function's, `CLOUD` or `LOAD_TEST`."""
    with contextlib.suppress(psutil.Error):
        for process in (load_test, *load_test.children(recursive=True)):
            yield LOAD_TEST, process
    with contextlib.suppress(psutil.Error):
        cloud = psutil.Process(local_cloud.status()["pid"])
        yield CLOUD, cloud
        for process in cloud.children(recursive=True):
            yield process.environ().get("AWS_LAMBDA_FUNCTION_NAME", "other"), process


def growth(memory: pd.DataFrame, measured_from_s: float) -> pd.DataFrame:
    """How the memory of each process has grown since then: a row for each.

    Columns: `who`, `pid`, `mb` (median), `mb_per_hour` (Theil and Sen's slope: the median of all slopes between two
    samples), `low` and `high` (its 95 % interval, as if samples were independent), `hours`, and `grown_mb`, slope times
    hours.
    """
    from scipy import stats  # a second, which Ctrl-C need not wait for

    rows = []
    for (who, pid), samples in memory[memory["seconds"] >= measured_from_s].groupby(["who", "pid"], sort=False):
        if samples["seconds"].nunique() < 3:
            continue  # it began or ended in between
        hours = samples["seconds"] / 3600
        slope, _, low, high = stats.theilslopes(samples["mb"], hours)
        span = hours.max() - hours.min()
        rows.append((who, pid, samples["mb"].median(), slope, low, high, span, slope * span))
    return pd.DataFrame(rows, columns=["who", "pid", "mb", "mb_per_hour", "low", "high", "hours", "grown_mb"])


def judge(summary: dict[str, Any], grown: pd.DataFrame) -> Bounds:
    """What must hold of a soak: of the load test's summary, and of the table of `growth`."""
    bounds = Bounds()
    unaccounted = summary["expected"] - sum(summary[name] for name in ("delivered", "missing", "dropped", "departed"))
    bounds.at_most("deliveries that are not accounted for", abs(unaccounted), 0)
    bounds.at_most("deliveries missing", summary["missing"] + summary["warm_up"]["missing"], 0)
    bounds.at_most("connections dropped", summary["connections_dropped"], 0)
    bounds.at_most("connections that could not be made", summary["connections_failed"], 0)
    bounds.at_least("broadcasts, of those asked", summary["broadcasts"] / summary["broadcasts_asked"], 1)
    for row in grown[grown["who"] != CLOUD].to_dict("records"):
        per_hour = LOAD_TEST_MB_PER_HOUR if row["who"] == LOAD_TEST else FUNCTION_MB_PER_HOUR
        limit_mb = GROWTH_MB + per_hour * row["hours"]
        bounds.at_most(f"MB that {row['who']} has grown by", row["grown_mb"], round(limit_mb, 1))
    return bounds


def counted(lab: Lab, since: datetime) -> dict[str, int]:
    """What the broadcast says of itself, in all its invocations: CloudWatch's sums of its metrics."""
    function = {"Name": "function", "Value": lab.functions["default"]}
    sums = {}
    for name in ("connections", "delivered", "gone", "throttled", "retried", "failed", "unreached"):
        points = lab.client("cloudwatch").get_metric_statistics(
            Namespace="chatlab", MetricName=name, Dimensions=[function], Statistics=["Sum"], Period=3600,
            StartTime=since - timedelta(hours=1), EndTime=datetime.now(UTC) + timedelta(hours=1),
        )["Datapoints"]  # fmt: skip
        sums[name] = round(sum(point["Sum"] for point in points))
    return sums


def soak(options: argparse.Namespace, folder: Path) -> None:
    """Deploy, load, watch, and write what there is of it into `folder`, whether or not it came to its end.

    Raises:
        LoadTestError: in one sentence, if a bound does not hold, or if there is nothing to judge.
        KeyboardInterrupt: when everything is written.
    """
    spell_s = min(SPELL_S, options.minutes * 60 / len(SPELLS))
    traits = [spell.format(quota=f"{QUOTA * options.connections * options.rate:.0f}") for spell in SPELLS]
    with tempfile.TemporaryDirectory() as home:
        write_atomically(file := Path(home) / "traits", "")
        with patch.dict(os.environ, CHATLAB_TRAITS=f"@{file}"), deployed_chat("soak") as lab:
            began, duration_s = datetime.now(UTC), options.minutes * 60
            handshakes = 1000 + 3 * options.connections * (1 + options.churn * duration_s)
            process = live.begin(
                lab.websocket_url(lab.require_api()), folder,
                users=options.connections, spawn_rate=100, duration=duration_s, speakers=5,
                broadcast_rate=options.rate, arrivals="poisson", churn=options.churn, max_handshakes=round(handshakes),
                # Under a quota, and on a busy machine, broadcasts wait for each other: late is not missing.
                drain_time=120, run_time=f"{duration_s + 600:.0f}s",
            )  # fmt: skip
            with Watch(file, traits, spell_s, psutil.Process(process.pid)) as watch:
                try:
                    live.watch(process, folder)
                except LoadTestError as error:
                    print(error)  # what it has found is judged all the same
                except KeyboardInterrupt:
                    with contextlib.suppress(LoadTestError):
                        _finish(lab, began, watch, folder)
                    raise
                finally:
                    live.stop(process)
            _finish(lab, began, watch, folder)


def _finish(lab: Lab, began: datetime, watch: Watch, folder: Path) -> None:
    """Print what there is, and write it. Raises LoadTestError as `soak` does."""
    try:
        summary = results.load(folder).summary
    except FileNotFoundError as error:
        raise LoadTestError(f"The load test has left no results: {error}") from None
    memory, broadcast = watch.memory, counted(lab, began)
    grown = growth(memory, SETTLED * memory["seconds"].max())
    names = ("broadcasts", "expected", "delivered", "missing", "dropped", "departed", "duplicate", "connections")
    load_test = {name: summary[name] for name in names} | {"left": summary["connections_left"]}
    load_test |= {f"{name}_ms": value for name, value in summary["latency_ms"].items()}
    load_test |= {"refused_handshakes": sum(summary["refusals"].values())}
    memory.to_csv(folder / "memory.csv", index=False)
    print(f"\nThe load test: {load_test}\nThe broadcast of itself: {broadcast}\nLoad average: {os.getloadavg()}")
    print(f"\nMemory:\n{grown.round(2).to_string(index=False)}\n\nAll of it is in {folder}.")
    report(
        judge(summary, grown), folder / "soak.json", check=True, growth=grown, spells=watch.spells,
        broadcast=pd.DataFrame([broadcast]), load_test=pd.DataFrame([load_test]),
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Soak.

    Raises:
        LoadTestError: if a bound does not hold.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, metavar="N", help="Default: 30; 240 at most")
    parser.add_argument("--connections", type=int, default=300, metavar="N", help="Default: 300; 1,000 at most")
    parser.add_argument("--rate", type=float, default=0.5, metavar="N", help="Broadcasts a second (default: 0.5)")
    parser.add_argument("--churn", type=float, default=0.01, metavar="SHARE", help="Who leaves each second (0.01)")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="Default: runs/soak-<UTC time>")
    options = parser.parse_args(arguments)
    if not 0 < options.minutes <= 240 or not 0 < options.connections <= 1_000:
        parser.error("a soak takes up to 240 minutes, with up to 1,000 connections")
    folder = options.results or Path(f"runs/soak-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    soak(options, folder.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
