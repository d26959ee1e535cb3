"""Does the chat hold out? A long load on it, on a bad day: `make soak`, or `python -m benchmarks.soak --minutes 30`.

On a local cloud of its own, the notebooks build the chat. Then the load test broadcasts to connections of which some
leave and others come all the time, while what AWS does on a bad day (`SPELLS`) is switched on and off around the
emulator. Every few seconds it is looked how much memory each process takes.

Bounded is what is lost, which is nothing, and by how much the broadcast and the load test grow. What the emulator grows
by is told without a bound: everything that it holds, it holds in memory.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import psutil
from matplotlib.figure import Figure

from benchmarks.bounds import Bounds, save
from benchmarks.broadcasts import a_chat
from chatlab import Lab, LabError, local_cloud
from chatlab.paths import ROOT
from chatlab.signals import exit_status
from loadtest import live, plots, results
from loadtest.errors import LoadTestError

SPELLS = (
    "",
    "message-faults",
    "connections-rate={quota}",
    "",
    "delay",
    "delay,message-faults,connections-rate={quota}",
)
"""Traits of `chatlab.emulator.temper`, one set after the other, over and over."""
QUOTA = 1.5
"""Posts a second that are allowed in a spell with a quota, over those that are needed: most broadcasts meet it."""
SPELL_S = 60.0
"""How long one set lasts; in a short soak each has its turn all the same."""
SAMPLE_S = 5.0
WARM_UP = 0.2
"""Share of the time after which it counts what memory is taken: pools, caches and the allocator have filled by then."""

GROWTH_MB = 4.0
"""A process may grow by so much, once, since memory is taken in steps; and by so much an hour:"""
FUNCTION_MB_PER_HOUR = 8.0
"""A function that leaks no more than this has room for hours, and Lambda replaces its instances every few hours."""
LOAD_TEST_MB_PER_HOUR = 250.0
"""The load test keeps what it has seen until its end: 25 bytes for each delivery, and four times a second a table."""

CLOUD, LOAD_TEST = "local cloud", "load test"
COLORS = (plots.BLUE, plots.ORANGE, plots.RED, plots.GREY, "black")


class Watch:
    """Changes the spells, and writes down who takes how much memory. It works in a thread, in a `with` block."""

    def __init__(self, load_test: subprocess.Popen, file: Path, traits: list[str], spell_s: float, sample_s: float):
        self._load_test, self._file, self._traits = psutil.Process(load_test.pid), file, traits
        self._spell_s, self._sample_s = spell_s, sample_s
        self._memory, self._spells, self._over = [], [], threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    @property
    def memory(self) -> pd.DataFrame:
        """A row for each look at each process: `seconds` since the beginning, `who`, `pid`, and `mb` resident."""
        return pd.DataFrame(self._memory, columns=["seconds", "who", "pid", "mb"])

    @property
    def spells(self) -> pd.DataFrame:
        """A row for each spell: `seconds` since the beginning, and its `traits`."""
        return pd.DataFrame(self._spells, columns=["seconds", "traits"])

    def _run(self):
        while not self._over.wait(self._sample_s):
            seconds = time.monotonic() - self._began
            traits = self._traits[int(seconds / self._spell_s) % len(self._traits)]
            if not self._spells or self._spells[-1][1] != traits:
                change(self._file, traits)
                self._spells.append((round(seconds, 1), traits))
            for who, process in processes(self._load_test):
                with contextlib.suppress(psutil.Error):  # it has just ended
                    self._memory.append((round(seconds, 1), who, process.pid, process.memory_info().rss / 1024**2))


def change(file: Path, traits: str) -> None:
    """Let these traits stand in the file that `CHATLAB_TRAITS` names, whole from one moment to the next."""
    (beside := file.with_suffix(".new")).write_text(traits)
    beside.replace(file)


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


def growth(memory: pd.DataFrame, measured_from_s: float) -> pd.DataFrame:
    """How the memory of each process has grown since then: a row for each, `who` and

    `mb` (median), `mb_per_hour` (Theil and Sen's slope: the median of all slopes between two looks), `low` and `high`
    (its 95 % interval, in which looks are taken for independent), `hours`, and `grown_mb`, slope times hours.
    """
    from scipy import stats  # a second, which Ctrl-C need not wait for

    rows = []
    for (who, pid), looks in memory[memory["seconds"] >= measured_from_s].groupby(["who", "pid"], sort=False):
        if looks["seconds"].nunique() < 3:
            continue  # it began or ended in between
        hours = looks["seconds"] / 3600
        slope = stats.theilslopes(looks["mb"], hours)
        row = {"who": who, "pid": pid, "mb": looks["mb"].median(), "mb_per_hour": slope.slope, "low": slope.low_slope}
        row |= {"high": slope.high_slope, "hours": hours.max() - hours.min()}
        rows.append(row | {"grown_mb": row["mb_per_hour"] * row["hours"]})
    return pd.DataFrame(rows, columns=["who", "pid", "mb", "mb_per_hour", "low", "high", "hours", "grown_mb"])


def judge(summary: dict, grown: pd.DataFrame) -> Bounds:
    """What must hold of a soak: of the load test's summary, and of the table of `growth`."""
    bounds = Bounds()
    unaccounted = summary["expected"] - sum(summary[name] for name in ("delivered", "missing", "dropped", "departed"))
    bounds.at_most("deliveries that are not accounted for", abs(unaccounted), 0)
    bounds.at_most("deliveries missing", summary["missing"] + summary["warm_up"]["missing"], 0)
    bounds.at_most("connections dropped", summary["connections_dropped"], 0)
    bounds.at_most("connections that could not be made", summary["connections_failed"], 0)
    bounds.at_least("broadcasts, of those asked", summary["broadcasts"] / summary["broadcasts_asked"], 1)
    for row in grown[grown["who"] != CLOUD].itertuples():
        per_hour = LOAD_TEST_MB_PER_HOUR if row.who == LOAD_TEST else FUNCTION_MB_PER_HOUR
        limit_mb = GROWTH_MB + per_hour * row.hours
        bounds.at_most(f"MB that {row.who} has grown by", row.grown_mb, round(limit_mb, 1))
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


def load(lab: Lab, options: argparse.Namespace, folder: Path) -> subprocess.Popen:
    """The load test, begun. It ends by itself."""
    duration_s = options.minutes * 60
    handshakes = 1000 + 3 * options.connections * (1 + options.churn * duration_s)
    command = [
        *[sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--results", f"{folder}"],
        *["--host", lab.websocket_url(lab.require_api()), "--users", f"{options.connections}", "--spawn-rate", "100"],
        *["--duration", f"{duration_s}", "--broadcast-rate", f"{options.rate}", "--arrivals", "poisson"],
        *["--speakers", "5", "--churn", f"{options.churn}", "--max-handshakes", f"{handshakes:.0f}"],
        # Under a quota, and on a busy machine, broadcasts wait for each other: late is not missing.
        *["--drain-time", "120", "--run-time", f"{duration_s + 600:.0f}s"],
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def picture(memory: pd.DataFrame, spells: pd.DataFrame, grown: pd.DataFrame) -> Figure:
    """Memory of each process over time, as what it has more or less than at its first look; spells are shaded."""
    most = grown[grown["who"] != CLOUD]["mb_per_hour"].max()
    figure, axes = plots.picture(
        f"No function, nor the load test, grows by more than {most:.1f} MB an hour", "Minutes", "Memory gained (MB)"
    )
    for color, ((who, _), looks) in zip(COLORS, memory.groupby(["who", "pid"], sort=False), strict=False):
        axes.plot(looks["seconds"] / 60, looks["mb"] - looks["mb"].iloc[0], lw=1.5, label=who, color=color)
    ends = [*spells["seconds"].iloc[1:], memory["seconds"].max()]
    for begins_s, traits, ends_s in zip(spells["seconds"], spells["traits"], ends, strict=True):
        if traits:
            axes.axvspan(begins_s / 60, ends_s / 60, color=plots.GREY, alpha=0.12, lw=0)
    axes.legend(frameon=False, loc="upper left")
    return figure


def soak(options: argparse.Namespace, folder: Path) -> Bounds:
    """Deploy, load, watch, and write what there is of it into `folder`, whether or not it came to its end.

    Raises:
        LabError: in one sentence, if there is nothing to judge.
        KeyboardInterrupt: when everything is written.
    """
    spell_s = min(SPELL_S, options.minutes * 60 / len(SPELLS))
    traits = [spell.format(quota=f"{QUOTA * options.connections * options.rate:.0f}") for spell in SPELLS]
    with tempfile.TemporaryDirectory() as home:
        change(file := Path(home) / "traits", "")
        os.environ["CHATLAB_TRAITS"] = f"@{file}"
        with a_chat("soak") as lab:
            began = datetime.now(UTC)
            process = load(lab, options, folder)
            with Watch(process, file, traits, spell_s, min(SAMPLE_S, spell_s / 5)) as watch:
                try:
                    live.watch(process, folder)
                except LoadTestError as error:
                    print(error)  # what it has found is judged all the same
                except KeyboardInterrupt:
                    with contextlib.suppress(LabError, FileNotFoundError):
                        _tell(lab, began, watch, folder)
                    raise
                finally:
                    live.stop(process)
            return _tell(lab, began, watch, folder)


def _tell(lab, began, watch, folder):
    """Print what there is, and write it; the bounds."""
    try:
        summary = results.load(folder).summary
    except FileNotFoundError as error:
        raise LabError(f"The load test has left no results: {error}") from None
    memory, spells, said = watch.memory, watch.spells, counted(lab, began)
    grown = growth(memory, WARM_UP * memory["seconds"].max())
    bounds = judge(summary, grown)
    names = ("broadcasts", "expected", "delivered", "missing", "dropped", "departed", "duplicate", "connections")
    load_test = {name: summary[name] for name in names} | {"left": summary["connections_left"]}
    load_test |= {f"{name}_ms": value for name, value in summary["latency_ms"].items()}
    load_test |= {"refused_handshakes": sum(summary["refusals"].values())}
    load_average = pd.DataFrame([os.getloadavg()], columns=["1 min", "5 min", "15 min"])
    save(
        folder / "soak.json", bounds, growth=grown, spells=spells, broadcast=pd.DataFrame([said]),
        load_test=pd.DataFrame([load_test]), load_average=load_average,
    )  # fmt: skip
    memory.to_csv(folder / "memory.csv", index=False)
    if len(grown):
        picture(memory, spells, grown).savefig(folder / "memory.png", dpi=120)
    print(f"\nThe load test: {load_test}\nThe broadcast of itself: {said}\nLoad average: {os.getloadavg()}")
    print(f"\nMemory:\n{grown.round(2).to_string(index=False)}\n\n{bounds.table.to_string(index=False)}")
    print(f"\nAll of it is in {folder}.")
    return bounds


def main(arguments: list[str] | None = None) -> int:
    """Soak; 0, or 1 and a sentence if a bound does not hold."""
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
    table = soak(options, folder.resolve()).table
    missed = [
        f"{row.what}: {row.measured:g}, where it has to be {row.bound}" for row in table.itertuples() if not row.holds
    ]
    if missed:
        raise LabError(f"This does not hold: {'; '.join(missed)}.")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
