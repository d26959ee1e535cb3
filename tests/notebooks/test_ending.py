"""How a command ends where something goes wrong, or where you stop it: soon, in a sentence, and with nothing left.

Most run notebooks that are made up, which take a second: a command treats these like the real ones.
"""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from chatlab import poll
from chatlab.notebooks import GRACE_S
from chatlab.paths import ROOT
from loadtest.arguments import STOP_S
from loadtest.calibration import reference_server
from tests.support import made_up
from tests.support.cells import cells
from tests.support.processes import begin_chatlab, processes_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TEARDOWN_S = 60  # generous: it takes 4 to 7 on two shared cores
WAIT = "import time; time.sleep(300)"


@pytest.fixture
def chatlab(tmp_path):
    """`chatlab("run")`: the command, begun in a session of its own with its results in `tmp_path`; what it leaves is
    killed. With sources, as in `chatlab("run", second=WAIT)`, it runs made-up notebooks with these cells."""
    begun = []

    def begin(command, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **sources):
        notebooks = made_up.write(tmp_path / "notebooks", **sources) if sources else None
        results = {"CHATLAB_RUN": str(tmp_path / "run")} if command == "run" else {}
        streams = {"stdout": stdout, "stderr": stderr}
        process = begin_chatlab(tmp_path / "home", command, *arguments, notebooks=notebooks, **results, **streams)
        begun.append(process)
        return process

    yield begin
    for process in [*begun, *processes_of(tmp_path)]:
        process.kill()


def until_the_first_is_done(folder):
    done = folder / "run" / "notebooks" / "00_start.ipynb"
    poll(done.exists, "the run to come to its second notebook", timeout_s=120, every_s=0.02)


def summary(folder):
    return json.loads((folder / "run" / "summary.json").read_text())


def test_a_local_cloud_that_dies_ends_the_run_within_30_seconds(chatlab, tmp_path):
    process = chatlab("run", second=WAIT)
    until_the_first_is_done(tmp_path)
    cloud = json.loads((tmp_path / "home" / "runs" / "run" / "cloud.json").read_text())
    os.kill(cloud["pid"], signal.SIGKILL)
    killed = time.monotonic()
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert process.returncode != 0
    assert "the local cloud died, and everything in it is gone with it: run it again." in said
    (failure,) = summary(tmp_path)["failures"]
    assert failure in said
    assert "Traceback" not in said
    assert processes_of(tmp_path) == []


def load_test(url):
    """Notebook 06's cell with the load test, and a small set of the names that it needs."""
    (cell,) = (source for source in cells("06_load_test") if "live.watch(" in source)
    return f"""
import subprocess, sys
from chatlab.paths import ROOT, make_run_dir
from loadtest import live
url = {url!r}
CONNECTIONS, SPAWN_RATE, BROADCASTS, BROADCAST_RATE = 4, 100, 1000, 10
SPEAKERS, WARM_UP, PAYLOAD_BYTES, MAX_SECONDS, MAX_HANDSHAKES = 1, 0, 100, 120, 100
{cell}"""


def test_ctrl_c_during_the_load_test_removes_everything_and_leaves_no_process(chatlab, tmp_path):
    with reference_server.run() as server:
        process = chatlab("run", second=load_test(server.url))
        until_the_first_is_done(tmp_path)
        poll(lambda: server.received, "Locust to send something", every_s=0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said, _ = process.communicate(timeout=90)
    assert process.returncode != 0
    assert "Traceback" not in said
    assert (summary(tmp_path)["failures"], summary(tmp_path)["leftovers"]) == (["Stopped by hand."], 0)
    assert processes_of(tmp_path) == []


def test_a_run_that_nobody_reads_is_torn_down(chatlab, tmp_path):
    """As in `make run | head`, or in a window that is closed: its lines can't be written any more."""
    reader, writer = os.openpty()
    process = chatlab("run", stdout=writer, stderr=subprocess.PIPE, second="raise SystemExit")
    os.close(writer)
    os.close(reader)
    _, said = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in said
    found = summary(tmp_path)
    assert (found["failures"], found["leftovers"]) == (["The program that read this run's output has ended."], 0)
    assert [notebook["name"] for notebook in found["notebooks"]] == ["00_start", "99_teardown"]


def test_a_build_that_is_stopped_says_how_to_go_on(chatlab, tmp_path):
    process = chatlab("up", second=WAIT)
    assert "00_start" in process.stdout.readline()
    said, _ = stop(process, [(signal.SIGINT, 0)])
    assert process.returncode == 1
    assert said.endswith("Stopped. What was built is still there: `make up` goes on, `make down` removes it.\n")
    cloud = json.loads((tmp_path / "home" / "cloud.json").read_text())
    assert [process.pid for process in processes_of(tmp_path)] == [cloud["pid"]]


def test_whoever_ends_a_load_test_waits_until_it_has_written_its_results():
    """The cell that watches it, the command that runs the notebook, and what is promised."""
    assert STOP_S < GRACE_S
    assert STOP_S <= 30 and "within half a minute in any case" in (ROOT / "docs" / "loadtest.md").read_text()


def stop(process, signals):
    """Send the signals, (number, seconds after the last one) each, as a terminal does.

    Returns what was said, and the seconds that it took to end; None if it had ended before the first one.
    """
    stopped = None
    for number, after_s in signals:
        time.sleep(after_s)
        if process.poll() is None:
            os.killpg(process.pid, number)
            stopped = stopped or time.monotonic()
    said, _ = process.communicate(timeout=GRACE_S + TEARDOWN_S)
    return said, stopped and time.monotonic() - stopped


def moments(command, longest_s, count):
    """Signals at moments drawn at random; half of them are followed by another one."""
    for seed in range(count):
        draw = random.Random(f"{command} {seed}")
        signals = [(draw.choice(STOP), round(draw.uniform(0, longest_s), 2))]
        if draw.random() < 0.5:
            signals.append((draw.choice(STOP), round(draw.uniform(0, 4), 2)))
        yield pytest.param(command, signals, id=f"{command} {' '.join(f'{s.name}+{t}' for s, t in signals)}")


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "signals"),
    [*moments("up", 22, 16), *moments("down", 6, 8), *moments("run", 80, 16)],  # about as long as each takes
)
def test_stopped_at_any_moment_nothing_is_left(chatlab, tmp_path, command, signals):
    if command == "down":
        chatlab("up").communicate()
    arguments = ["--connections", "20", "--broadcasts", "5"] if command == "run" else []
    said, seconds = stop(process := chatlab(command, *arguments), signals)
    all_was_done = command == "run" and "Leftovers: 0" in said and "FAILED" not in said  # it was in time to end well
    assert process.returncode != 0 or seconds is None or all_was_done
    assert "Traceback" not in said
    if command != "run":
        down = chatlab("down")
        said, _ = down.communicate()
        assert down.returncode == 0, said
    assert processes_of(tmp_path) == []
