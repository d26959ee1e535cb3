"""Ctrl-C, SIGTERM and SIGHUP at any moment: it ends soon, says how to go on, and leaves nothing that `down` leaves."""

import os
import random
import signal
import time

import pytest

from chatlab import local_cloud
from chatlab.notebooks import GRACE_S
from chatlab.paths import ROOT
from loadtest import arguments, live
from tests.support import made_up
from tests.support.processes import begin_chatlab, processes_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TEARDOWN_S = 60  # generous: it takes 4 to 7 on two shared cores


@pytest.fixture
def chatlab(tmp_path):
    """`chatlab("up")`: the command, begun in a session of its own; its folder is `tmp_path`."""
    begun = []

    def begin(command, *arguments, **options):
        results = {"CHATLAB_RUN": str(tmp_path / "run")} if command == "run" else {}
        process = begin_chatlab(tmp_path / "home", command, *arguments, **results, **options)
        begun.append(process)
        return process

    yield begin
    for process in [*begun, *processes_of(tmp_path)]:
        process.kill()


def stop(process, signals):
    """Send each signal so many seconds after the last one, as a terminal does.

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


def test_whoever_ends_a_load_test_waits_until_it_has_written_its_results():
    """The load test itself, whoever watches it in a notebook, whoever runs that notebook, and what is promised."""
    assert arguments.HALT_S + arguments.SETTLE_S + arguments.COLLECT_S < arguments.STOP_S <= live.STOP_S < GRACE_S
    assert live.STOP_S <= 30 and "within half a minute in any case" in (ROOT / "docs" / "loadtest.md").read_text()


def test_ctrl_c_while_the_command_is_loaded_is_no_traceback(chatlab, tmp_path):
    """Loading takes for ever here: a module waits that it imports."""
    (tmp_path / "nbclient.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(300)\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = chatlab("down", PYTHONPATH=path)
    assert process.stdout.readline() == "loading\n"
    said, seconds = stop(process, [(signal.SIGINT, 0)])
    assert process.returncode != 0
    assert said == ""
    assert seconds < 1


def test_a_build_that_is_stopped_says_how_to_go_on(chatlab, tmp_path):
    notebooks = made_up.write(tmp_path / "notebooks", second="import time; time.sleep(300)")
    process = chatlab("up", notebooks=notebooks)
    assert "00_start" in process.stdout.readline()
    said, _ = stop(process, [(signal.SIGINT, 0)])
    assert process.returncode == 1
    assert said.endswith("Stopped. What was built is still there: `make up` goes on, `make down` removes it.\n")
    left = [process.cmdline() for process in processes_of(tmp_path)]
    assert [local_cloud.SERVER in words for words in left] == [True]
