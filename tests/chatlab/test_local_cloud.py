"""The local cloud as a process."""

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from chatlab import Lab, LabError, local_cloud, poll
from chatlab.lab import STAGE
from chatlab.settings import Settings
from tests.support import hostile
from tests.support.hostile_messages import TEXT, frame
from tests.support.labs import lab_in
from tests.support.processes import environment_of_a_run, listening, processes_of
from tests.support.requests import ask

pytestmark = pytest.mark.slow  # it starts clouds


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home of a local cloud that the test starts itself."""
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path))
    return tmp_path


def test_it_listens_on_loopback_and_nowhere_else(chat):
    status = local_cloud.status()
    assert listening(status["pid"]) == {("127.0.0.1", status["port"])}


def test_one_that_died_is_told_apart_from_one_that_was_stopped(lab):
    os.kill(local_cloud.status()["pid"], signal.SIGKILL)
    psutil.wait_procs([psutil.Process(local_cloud.status()["pid"])], timeout=5)
    with pytest.raises(LabError, match=r"has died, and everything in it is gone .* run notebook 00_start"):
        Lab.load()
    assert local_cloud.has_died()
    (Path(os.environ["CHATLAB_HOME"]) / "key.json").rename(beside := Path(os.environ["CHATLAB_HOME"]) / "beside")
    assert not local_cloud.has_died()  # since it was never ready
    beside.rename(beside.with_name("key.json"))
    local_cloud.stop()
    assert not local_cloud.has_died()
    with pytest.raises(LabError, match="is not running: run notebook 00_start"):
        Lab.load()


def test_nothing_of_the_persons_own_configuration_reaches_a_function_and_stopping_leaves_no_process(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "precious")
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    with lab_in(tmp_path):
        process = psutil.Process(local_cloud.status()["pid"])
        environment, family = process.environ(), local_cloud.process_tree(process)
        assert local_cloud.stop() is True
        assert not any(member.is_running() for member in family)
        assert local_cloud.stop() is False
    assert "precious" not in environment.values()
    assert not {"AWS_PROFILE", "HTTPS_PROXY"} & environment.keys()
    assert environment["PATH"] == os.environ["PATH"]


def test_its_key_is_for_this_user_alone_and_another_one_each_time(lab):
    folder, keys = Path(os.environ["CHATLAB_HOME"]), set()
    for number in (1, 2):
        assert stat.filemode(folder.stat().st_mode) == "drwx------"
        assert stat.filemode((folder / "key.json").stat().st_mode) == "-rw-------"
        keys.add(json.dumps(local_cloud.credentials()))
        (folder / "key.json").rename(folder / "beside")
        with pytest.raises(LabError, match="is still starting"):
            local_cloud.credentials()
        (folder / "beside").rename(folder / "key.json")
        local_cloud.stop()
        assert not (folder / "key.json").exists()
        with pytest.raises(LabError, match="is not running"):
            local_cloud.credentials()
        if number == 1:
            Lab.choose()
    assert len(keys) == 2


def clouds(home):
    """The processes of a home's local clouds, whether or not cloud.json names them."""
    return [process for process in processes_of(home) if "chatlab.emulator.server" in process.cmdline()]


def test_starts_at_once_make_one_cloud_in_a_lab_and_a_port_for_each_lab(tmp_path, monkeypatch):
    homes = [tmp_path / name for name in ("one", "one", "two")]
    begin = [sys.executable, "-c", "from chatlab import local_cloud; print(local_cloud.start())"]
    starting = [
        subprocess.Popen(begin, env=environment_of_a_run(home), stdout=subprocess.PIPE, text=True) for home in homes
    ]
    try:
        first, second, other = (process.communicate(timeout=60)[0].strip() for process in starting)
        assert [process.returncode for process in starting] == [0, 0, 0]
        assert first == second != other
        for home in set(homes):
            monkeypatch.setenv("CHATLAB_HOME", str(home))
            assert len(clouds(home)) == 1 and Lab(Settings()).account_id
    finally:
        for home in set(homes):
            monkeypatch.setenv("CHATLAB_HOME", str(home))
            assert local_cloud.stop()
    assert processes_of(tmp_path) == []


def test_one_that_is_not_ready_in_time_is_stopped(home, monkeypatch):
    monkeypatch.setattr(local_cloud, "START_TIMEOUT_S", 0)
    with pytest.raises(LabError, match="The local cloud did not start"):
        local_cloud.start()
    assert clouds(home) == []


def test_one_that_does_not_start_stops_none_that_another_has_started_meanwhile(home, monkeypatch):
    monkeypatch.setattr(local_cloud, "SERVER", "no_such_module")
    begin = [sys.executable, "-c", "from chatlab import local_cloud; local_cloud.start()"]
    monkeypatch.setattr(local_cloud, "ensure_writable", lambda _: subprocess.run(begin, timeout=60))
    with pytest.raises(LabError, match="The local cloud did not start"):
        local_cloud.start()
    assert len(clouds(home)) == 1 and local_cloud.status()["running"]
    assert local_cloud.stop()


@pytest.mark.parametrize("trouble", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()], ids=repr)
def test_a_start_that_is_broken_off_leaves_no_process(home, monkeypatch, trouble):
    """The process has begun, but can't be written down: the disk is full, or Ctrl-C was pressed."""

    def fail(path, text):
        assert len(clouds(home)) == 1
        raise trouble

    monkeypatch.setattr(local_cloud, "write_atomically", fail)
    with pytest.raises((LabError, KeyboardInterrupt)) as raised:
        local_cloud.start()
    if raised.type is LabError:
        assert str(raised.value) == f"The local cloud can't be started in {home}: No space left on device."
    else:  # as `make down`, or the end of a run, does
        assert local_cloud.stop()
    assert processes_of(home) == []


def test_a_run_that_is_killed_takes_its_local_cloud_along(home, monkeypatch):
    monkeypatch.setenv("CHATLAB_UNTIL", str(home / "run.lock"))
    run = [
        sys.executable, "-c",
        "import pathlib, time; from chatlab import local_cloud; from chatlab.paths import locked\n"
        f"with locked(pathlib.Path({str(home / 'run.lock')!r})):\n"
        "    print(local_cloud.start(), flush=True); time.sleep(60)",
    ]  # fmt: skip
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("http://")
        assert len(clouds(home)) == 1
        process.kill()
    poll(lambda: processes_of(home) == [], "the local cloud to end", timeout_s=10, every_s=0.02)


def test_one_that_runs_or_is_just_starting_is_kept_whatever_the_clock_says(chat, monkeypatch):
    """The time at which a process began shifts with the machine's clock."""
    before, began = local_cloud.status()["pid"], psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: began(process) + 60)
    key = Path(os.environ["CHATLAB_HOME"]) / "key.json"
    key.rename(beside := key.with_suffix(".beside"))
    threading.Timer(0.2, beside.rename, [key]).start()
    assert Lab.choose().settings == chat.settings
    assert local_cloud.credentials() and local_cloud.status()["pid"] == before


def test_its_log_has_an_end_however_much_others_make_it_write(tmp_path, monkeypatch):
    """The last words are in `cloud.log`, a crash's too, which goes through no logger."""
    monkeypatch.setattr(local_cloud, "MAX_LOG_BYTES", 20_000)
    with lab_in(tmp_path) as lab:
        status, gateway, log = local_cloud.status(), lab.client("apigatewayv2"), tmp_path / "cloud.log"
        expression = {"RouteSelectionExpression": "$request.body.x"}
        api = gateway.create_api(Name="x", ProtocolType="WEBSOCKET", **expression)["ApiId"]
        gateway.create_stage(ApiId=api, StageName=STAGE)
        for _ in range(30):
            client = hostile.opened(lab.websocket_url(api))
            client.sock.sendall(frame(TEXT, b"\xff"))
            assert int.from_bytes(client.recv_frame().data, "big") == 1007
            client.shutdown()
        assert "Traceback" not in log.read_text()
        for _ in range(600):
            with socket.create_connection(("127.0.0.1", status["port"]), timeout=10) as client:
                client.sendall(b"\x16\x03\x01\x00\x01\x01")  # TLS, as where a page asks for https://
                client.recv(1)
        ask(("127.0.0.1", status["port"]), "GET", "/the-last-one")
        os.kill(status["pid"], signal.SIGSEGV)
        psutil.wait_procs([psutil.Process(status["pid"])], timeout=5)
    assert "/the-last-one" in log.read_text() and "Segmentation fault" in log.read_text()
    logs = [file.stat().st_size for file in tmp_path.glob("cloud.log*")]
    assert len(logs) == 2 and sum(logs) < 2 * 20_000 + 5_000  # which a crash may add


def test_one_that_cannot_start_leaves_its_last_words(home, monkeypatch):
    monkeypatch.setattr(local_cloud, "SERVER", "no_such_module")
    with pytest.raises(LabError, match=f"its last words are in {home / 'cloud.log'}"):
        local_cloud.start()
    assert (home / "cloud.log").read_text().endswith("No module named no_such_module\n")


def test_a_trait_that_there_is_not_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_TRAITS", "bad")
    with pytest.raises(LabError, match=r"CHATLAB_TRAITS is wrong\. There is no trait bad"), lab_in(tmp_path / "home"):
        pass
    assert not list(tmp_path.rglob("cloud.json")), "nothing was started"


def test_another_process_of_the_same_number_is_not_taken_for_it(home):
    state = {"pid": os.getpid(), "port": 4566, "url": "http://127.0.0.1:4566"}
    (home / "cloud.json").write_text(json.dumps(state))
    assert local_cloud.status() == {"running": False} | state
    assert local_cloud.stop() is False
