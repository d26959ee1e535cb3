"""How `make run` ends where something goes wrong, whatever the notebooks do: they are made up, and take a second."""

import json
import os
import signal
import subprocess
import time

import pytest

from chatlab import poll
from loadtest.calibration import reference_server
from tests.support import made_up
from tests.support.cells import cells
from tests.support.processes import begin_chatlab, processes_of

pytestmark = pytest.mark.slow

WAIT = "import time; time.sleep(300)"


def load_test(url="ws://127.0.0.1:9"):
    """Notebook 06's cell with the load test, and what it needs, as small as can be."""
    (cell,) = (source for source in cells("06_load_test") if "live.watch(" in source)
    return f"""
import subprocess, sys
from chatlab.paths import ROOT, make_run_dir
from loadtest import live
url = {url!r}
CONNECTIONS, SPAWN_RATE, BROADCASTS, BROADCAST_RATE = 4, 100, 1000, 10
SPEAKERS, WARM_UP, PAYLOAD_BYTES, MAX_SECONDS, MAX_HANDSHAKES = 1, 0, 100, 120, 100
{cell}"""


@pytest.fixture
def run(tmp_path):
    """`run(**sources)`: `make run` on made-up notebooks with these between the first and the last, begun in a session
    of its own. What it leaves is killed."""
    begun = []

    def begin(*, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **sources):
        notebooks = made_up.write(tmp_path / "notebooks", **sources)
        home, results = tmp_path / "home", tmp_path / "run"
        streams = {"stdout": stdout, "stderr": stderr}
        process = begin_chatlab(home, "run", notebooks=notebooks, CHATLAB_RUN=str(results), **streams)
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


def test_a_local_cloud_that_dies_ends_the_run_within_30_seconds(run, tmp_path):
    process = run(second=WAIT)
    until_the_first_is_done(tmp_path)
    cloud = json.loads((tmp_path / "home" / "runs" / "run" / "cloud.json").read_text())
    os.kill(cloud["pid"], signal.SIGKILL)
    killed = time.monotonic()
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert process.returncode != 0
    failures = summary(tmp_path)["failures"]
    assert any("the local cloud died" in failure for failure in failures), failures
    assert "the local cloud died, and everything in it is gone with it: run it again." in said
    assert "Traceback" not in said
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("during", "signalled"),
    [("a cell", signal.SIGHUP), ("the load test", signal.SIGINT)],
    ids=["lost terminal", "Ctrl-C"],
)
def test_being_stopped_removes_everything_and_leaves_no_process(run, tmp_path, during, signalled):
    with reference_server.run() as server:
        process = run(second=load_test(server.url) if during == "the load test" else WAIT)
        until_the_first_is_done(tmp_path)
        if during == "the load test":
            poll(lambda: server.received, "Locust to send something", every_s=0.02)
        os.killpg(process.pid, signalled)  # as a terminal does
        said, _ = process.communicate(timeout=90)
    assert process.returncode != 0
    assert "Traceback" not in said
    assert summary(tmp_path)["failures"] == ["Stopped by hand."]
    assert summary(tmp_path)["leftovers"] == 0
    assert processes_of(tmp_path) == []


def test_a_cell_that_fails_is_named_and_the_teardown_still_runs(run, tmp_path):
    """Its reason is real: where the load test's folder has to be, there is a file."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "load_test").write_text("in the way")
    said, _ = (process := run(**{"06_load_test": load_test(), "07_never": "raise SystemExit"})).communicate()
    assert process.returncode != 0
    found = summary(tmp_path)
    assert [(notebook["name"], notebook["ok"]) for notebook in found["notebooks"]] == [
        ("00_start", True), ("06_load_test", False), ("99_teardown", True),
    ]  # fmt: skip
    assert found["leftovers"] == 0
    (failure,) = found["failures"]
    assert failure.startswith("06_load_test, cell 3 (The cell): ")
    assert "cannot be written" in failure or "can't be written" in failure
    assert "Traceback" not in said


def test_a_kernel_that_does_not_start_is_said(run, tmp_path, monkeypatch):
    (tmp_path / "kernels" / "python3").mkdir(parents=True)
    (tmp_path / "kernels" / "python3" / "kernel.json").write_text(
        '{"argv": ["sh", "-c", "echo Traceback >&2; exit 1", "{connection_file}"],'
        ' "display_name": "a kernel that ends at once", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    said, _ = (process := run()).communicate(timeout=60)
    assert process.returncode != 0
    assert "00_start, the kernel did not start" in said
    assert "Traceback" not in said
    assert [path.read_text() for path in tmp_path.rglob("00_start.log")] == ["Traceback\n"]
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    "open_one",
    [pytest.param(os.openpty, id="a terminal"), pytest.param(os.pipe, id="a pipe", marks=pytest.mark.long)],
)
def test_a_run_that_nobody_reads_is_torn_down(run, tmp_path, open_one):
    """`make run | head`, or a window that is closed: its lines can't be written any more."""
    reader, writer = open_one()
    process = run(stdout=writer, stderr=subprocess.PIPE, second="raise SystemExit")
    os.close(writer)
    os.close(reader)
    _, said = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in said
    found = summary(tmp_path)
    assert found["failures"] == ["What read this run's lines has ended."]
    assert [notebook["name"] for notebook in found["notebooks"]] == ["00_start", "99_teardown"]
    assert found["leftovers"] == 0
