"""However a load test fails, it ends in the time that it may take, says why, and has written what it had measured.

`python -m pytest tests/loadtest/test_failures.py` prints the table of docs/reliability.md.
"""

import json
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager, suppress

import pandas as pd
import psutil
import pytest

from loadtest import budget
from loadtest.calibration import reference_server
from tests.support.load_tests import free_port, settings, wrong_clock
from tests.support.tables import reported

PEOPLE, BROADCASTS, RATE = 10, 15, 100.0
WORDS = (
    f"--broadcasts {BROADCASTS} --broadcast-rate 10 --warm-up 0 --speakers 2 --drain-time 2 "
    "--connect-timeout 3 --retry-time 1 --seed 4"
).split()
LOCUST_S = 20.0
"""For Locust itself to start and to end, on a machine that is busy."""


def budget_s():
    return budget.test_s(settings(*WORDS, users=PEOPLE), RATE)


@pytest.fixture(scope="module")
def report(request):
    """Rows of the table that is printed at the end."""
    yield from reported(request, "what fails", "ends after", "of at most", "deliveries on disk", "status and sentence")


WHEN_SENT = """
from loadtest.locustfile import *

def when_sent(number, action):
    def sent():
        run = hasattr(ChatUser, "generator") and ChatUser.generator.run
        return run.sender.sent if run else 0

    def wait():
        while sent() < number:
            gevent.sleep(0.02)
        action()

    gevent.spawn(wait)
"""


class Failure:
    """A load test in which something is to fail."""

    def __init__(self, start, server, tmp_path):
        self.start, self.server, self.tmp_path = start, server, tmp_path
        self.folder = tmp_path / "results"
        self.words = ["--host", server.url, "--users", PEOPLE, *WORDS]

    def begin(self, code="", *more, **options):
        """Start it with a locustfile that runs `code` first."""
        locustfile = self.tmp_path / "locustfile.py"
        locustfile.write_text(WHEN_SENT + textwrap.dedent(code))
        self.began = time.monotonic()
        self.test = self.start(*self.words, *more, folder=self.folder, locustfile=locustfile, **options)
        return self.test

    def until_received(self, broadcasts=5):
        self.test.until_received(self.server, broadcasts)

    def end(self):
        """Wait for its end, which has to be in time, with no process left."""
        family = []
        with suppress(psutil.NoSuchProcess):  # it has ended already
            family = psutil.Process(self.test.process.pid).children(recursive=True)
        self.test.output = self.test.process.communicate(timeout=budget_s() + LOCUST_S)[0]
        self.seconds = time.monotonic() - self.began
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive
        return self.test

    def written(self, folder=None):
        return pd.read_parquet((folder or self.folder) / "deliveries.parquet")


@pytest.fixture
def failure(start, tmp_path, request, report):
    with reference_server.run() as server:
        one = Failure(start, server, tmp_path)
        yield one
    folder = getattr(one, "elsewhere", one.folder)
    tables = folder / "deliveries.parquet"
    if not hasattr(one, "seconds"):
        return  # it has failed, and is told by itself
    on_disk = len(pd.read_parquet(tables)) if tables.is_file() else 0
    said = "; ".join(one.test.errors[-1:]).replace(str(tmp_path), "…")
    name = request.node.callspec.id if hasattr(request.node, "callspec") else request.node.name.removeprefix("test_")
    ended, at_most = f"{one.seconds:.1f} s", f"{budget_s() + LOCUST_S:.0f} s"
    report.append((name.replace("_", " "), ended, at_most, on_disk, f"{one.test.status}: {said}"))


def checked_summary(test):
    """Each delivery that was expected has come to something."""
    summary = test.summary
    parts = ("delivered", "missing", "dropped", "departed")
    assert summary["expected"] == sum(summary[part] for part in parts), summary
    return summary


# Errors of the load test's own


def raising(name, after):
    """A locustfile's code that makes a method fail when it has been called so many times."""
    where, _, method = name.rpartition(".")
    module, _, kind = where.rpartition(".")
    return f"""
        from {module} import {kind}
        original, calls = {kind}.{method}, []
        def broken(self, *arguments, **named):
            calls.append(1)
            if len(calls) > {after}:
                raise RuntimeError("injected")
            return original(self, *arguments, **named)
        {kind}.{method} = broken
    """


OWN = {
    "the coordinator, as it plans": ("loadtest.run.TestRun._broadcast", 0, 0),
    "the coordinator, as it waits for deliveries": ("loadtest.run.TestRun._is_drained", 0, BROADCASTS),
    "the coordinator, at a generator's progress": ("loadtest.collector.Collector.add_progress", 8, 1),
    "the coordinator, at deliveries": ("loadtest.collector.Collector.add_deliveries", 3, 1),
    "the coordinator, as it collects": ("loadtest.collector.Collector.is_complete", 0, BROADCASTS),
    "the coordinator, as all leave": ("loadtest.run.TestRun.leave", 0, BROADCASTS),
    "the generator, as it receives": ("loadtest.receiver.Receiver.handle", 60, 3),
    "the generator, as it sends": ("loadtest.sender.Sender._sleep_until", 5, 4),
    "the generator, as it reports": ("loadtest.worker_reporter.WorkerReporter._send_progress", 10, 1),
    "the generator, as it measures itself": ("loadtest.process_usage.ProcessUsage.watch_cpu", 0, 0),
}
OFTEN = ["the generator, as it receives"]


def own_error(failure, name):
    where, after, at_least = OWN[name]
    failure.begin(raising(where, after))
    test = failure.end()
    assert test.status == 1
    assert test.errors[-1].endswith("RuntimeError: injected") or "did not hand over" in test.errors[-1], test.output
    assert checked_summary(test)["delivered"] >= at_least * PEOPLE * 0.8
    assert len(failure.written()) >= at_least * PEOPLE * 0.8


@pytest.mark.parametrize("name", OFTEN)
def test_an_error_of_its_own_ends_it(failure, name):
    own_error(failure, name)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in OWN if name not in OFTEN])
def test_any_error_of_its_own_ends_it(failure, name):
    own_error(failure, name)


@pytest.mark.long
def test_when_the_result_fails_the_records_are_there(failure):
    failure.begin(
        """
        from loadtest import assembly
        def broken(**tables):
            raise RuntimeError("injected")
        assembly.assemble = broken
        """
    )
    test = failure.end()
    assert (test.status, test.errors[-1]) == (1, "The load test failed by an error of its own: RuntimeError: injected")
    assert not (failure.folder / "summary.json").exists()
    assert len(failure.written()) == PEOPLE * BROADCASTS
    assert len(pd.read_parquet(failure.folder / "connections.parquet")) == PEOPLE


# Files


@pytest.mark.long
def test_a_trace_that_is_deleted_in_the_middle_has_been_read(failure, tmp_path):
    trace = tmp_path / "trace.txt"
    trace.write_text("\n".join(f"{k / 10}" for k in range(BROADCASTS)))
    failure.begin("", "--arrivals", "trace", "--trace", trace)
    failure.until_received()
    trace.unlink()
    test = failure.end()
    assert test.status == 0, test.output
    assert checked_summary(test)["delivered"] == PEOPLE * BROADCASTS


@pytest.mark.long
def test_a_folder_of_results_that_is_deleted_in_the_middle_is_made_again(failure):
    failure.begin()
    failure.until_received()
    shutil.rmtree(failure.folder)
    test = failure.end()
    assert test.status == 0, test.output
    assert checked_summary(test)["delivered"] == PEOPLE * BROADCASTS


def test_what_cannot_be_written_where_it_should_is_in_a_temporary_folder(failure, tmp_path):
    (temporary := tmp_path / "temporary").mkdir()
    failure.begin(environment={"TMPDIR": f"{temporary}"})
    failure.until_received()
    shutil.rmtree(failure.folder)
    failure.folder.write_text("a file in its place")
    # Locust's own file of statistics can't be written either.
    test = failure.end()
    failure.folder.unlink()
    assert test.status == 1
    (failure.elsewhere,) = temporary.glob("loadtest-*")
    (said,) = [line for line in test.errors if "could not be written" in line]
    assert (
        said == f"The results could not be written to {failure.folder}: File exists. They are in {failure.elsewhere}."
    )
    assert len(failure.written(failure.elsewhere)) == PEOPLE * BROADCASTS


@pytest.mark.long
def test_a_full_disk_is_said(failure, tmp_path):
    """The kernel refuses what is larger than a limit, as it would what a disk has no room for."""
    failure.begin(
        """
        import resource
        from loadtest.run import TestRun
        collect = TestRun.collect
        def fill(self):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
            collect(self)
        TestRun.collect = fill
        """,
        environment={"TMPDIR": f"{tmp_path}"},
    )
    test = failure.end()
    assert test.status != 0
    assert any("could not be written" in line for line in test.errors), test.output
    assert "Traceback" not in "\n".join(test.errors)


@pytest.mark.long
def test_a_progress_that_cannot_be_written_ends_nothing(failure):
    failure.begin()
    failure.until_received()
    (failure.folder / "progress.tmp").unlink(missing_ok=True)
    (failure.folder / "progress.tmp").mkdir()
    test = failure.end()
    assert test.status == 0, test.output
    assert checked_summary(test)["delivered"] == PEOPLE * BROADCASTS


# The clock


@pytest.mark.parametrize(
    "seconds", [3600, pytest.param(-3600, marks=pytest.mark.long)], ids=["a clock set forward", "a clock set back"]
)
def test_a_clock_that_is_set_in_the_middle_ends_it(failure, seconds):
    """As by NTP, or as after sleep. The clock is set within the process: a test cannot set the machine's."""
    failure.begin(
        wrong_clock(seconds) + "when_sent(5, set_clock)",
    )
    test = failure.end()
    assert test.status == 1
    assert f"this machine's clock was set by {seconds:+,.1f} s, or it slept" in test.errors[-1]
    assert failure.seconds < 30
    assert len(failure.written()) >= PEOPLE


# The server


@contextmanager
def answering(answer, close=False):
    """A server that answers whatever comes first on a connection with these bytes, at its own address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    connections = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            connection.recv(10_000)
            connection.sendall(answer)
            if close:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/chat"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            connection.close()


ANSWERS = {
    "a server that says nothing": (b"", False, "no answer within 3 s."),
    "a server that hangs up": (b"", True, "Connection reset by peer."),
    "a server that speaks no HTTP": (b"\x16\x03\x01\x00\x00" * 20, True, "could be made: "),
    "a server that answers 429 for ever": (b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n", False, "status 429"),
    "a server that sends it elsewhere": (
        b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        False,
        "status 301.",
    ),
}


@pytest.mark.parametrize(
    "name", [name if "hangs" in name else pytest.param(name, marks=pytest.mark.long) for name in ANSWERS]
)
def test_a_server_that_takes_nobody_ends_it(failure, name):
    answer, close, says = ANSWERS[name]
    with answering(answer, close) as url:
        failure.words[1] = url
        failure.begin()
        test = failure.end()
    assert test.status == 1
    assert says in test.errors[-1], test.output
    assert checked_summary(test)["expected"] == 0
    assert "Traceback" not in test.output


@contextmanager
def server_process():
    """The reference server in a process of its own, which can be stopped."""
    code = (
        "import sys, threading\n"
        "from loadtest.calibration import reference_server\n"
        "with reference_server.run() as server:\n"
        "    print(server.url, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("number", "verb"),
    [(signal.SIGSTOP, "freezes"), pytest.param(signal.SIGKILL, "dies", marks=pytest.mark.long)],
    ids=["a server that freezes", "a server that dies"],
)
def test_a_server_that_freezes_or_dies_ends_it(failure, number, verb):
    with server_process() as (process, url):
        failure.words[1] = url
        failure.begin()
        delivered(failure, 4)
        process.send_signal(number)
        test = failure.end()
    summary = checked_summary(test)
    assert test.status == 1
    assert summary["delivered"] >= 4 * PEOPLE
    if verb == "freezes":
        assert summary["missing"] > 0 and "deliveries are missing" in test.errors[-1]
    else:
        assert test.errors == ["Every connection was closed before the last broadcast."]


def delivered(failure, broadcasts):
    """Wait until it tells so many deliveries."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if json.loads((failure.folder / "progress.json").read_text()).get("delivered", 0) >= broadcasts * PEOPLE:
                return
        except (OSError, ValueError):
            pass
        assert failure.test.process.poll() is None, failure.test.process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("nothing was delivered")


# Processes


def workers(failure, number, code="", **options):
    """A master and its workers in processes that can be killed one by one."""
    port = f"{free_port()}"
    master = failure.begin(code, "--master", "--master-bind-port", port, "--expect-workers", number)
    locustfile = failure.tmp_path / "locustfile.py"
    others = [
        failure.start(
            "--worker", "--master-port", port, folder=failure.tmp_path / f"{k}", locustfile=locustfile, **options
        )
        for k in range(number)
    ]
    return master, others, port


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "killed"),
    [(signal.SIGKILL, 1), (signal.SIGKILL, 2), (signal.SIGSTOP, 1), (signal.SIGTERM, 1)],
    ids=["a worker is killed", "all workers are killed", "a worker freezes", "a worker is told to end"],
)
def test_workers_that_are_lost_end_it(failure, number, killed):
    _, others, _ = workers(failure, 2)
    failure.until_received(8)
    for other in others[:killed]:
        other.process.send_signal(number)
    test = failure.end()
    assert test.status == 1
    summary = checked_summary(test)
    assert summary["missing"] == 0
    for other in others[:killed]:
        other.process.kill()


@pytest.mark.long
def test_a_worker_that_joins_in_the_middle_takes_part(failure):
    """Locust gives it connections of the others, which leave there and are opened here."""
    _, _, port = workers(failure, 1)
    failure.until_received(3)
    failure.start(
        "--worker",
        "--master-port",
        port,
        folder=failure.tmp_path / "late",
        locustfile=failure.tmp_path / "locustfile.py",
    )
    test = failure.end()
    summary = checked_summary(test)
    assert (test.status, summary["missing"], summary["connections_dropped"]) == (0, 0, 0), test.output
    assert summary["broadcasts"] == BROADCASTS


@pytest.mark.long
def test_a_worker_of_another_version_ends_it(failure):
    locustfile = failure.tmp_path / "other.py"
    locustfile.write_text(
        "from loadtest.locustfile import *\n"
        "from loadtest import protocol\n"
        "encode = protocol.encode\n"
        "protocol.encode = lambda message: encode(message) | {'more': 1}\n"
    )
    port = f"{free_port()}"
    failure.begin("", "--master", "--master-bind-port", port, "--expect-workers", 1)
    failure.start("--worker", "--master-port", port, folder=failure.tmp_path / "other", locustfile=locustfile)
    test = failure.end()
    assert test.status == 1
    assert test.errors[-1].endswith("has other fields: master and workers need the same version.")


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)],
    ids=["Ctrl-C while it waits for workers", "SIGTERM while it waits for workers"],
)
def test_interrupted_while_it_waits_for_workers_it_says_so_and_ends(failure, number):
    failure.begin("", "--master", "--master-bind-port", free_port(), "--expect-workers", 1)
    time.sleep(4)
    failure.test.process.send_signal(number)
    test = failure.end()
    assert (test.status, test.errors) == (1, ["The test was stopped before it began."])
    assert "Traceback" not in test.output
    assert failure.seconds < LOCUST_S


@pytest.mark.long
def test_interrupted_at_any_moment_it_ends(failure, tmp_path):
    """Signals at moments from Locust's start to its end, in one test after another."""
    for k, seconds in enumerate((0.3, 1.2, 2.0, 2.6, 3.2, 4.0, 5.5, 6.5)):
        failure.folder = tmp_path / f"{k}"
        failure.begin()
        time.sleep(seconds)
        failure.test.process.send_signal(signal.SIGINT)
        test = failure.end()
        assert failure.seconds - seconds < budget.STOP_S, seconds
        is_complete = False
        if (failure.folder / "summary.json").exists():
            summary = checked_summary(test)
            is_complete = summary["complete"]
            assert summary["missing"] == 0
        assert test.status in (0 if is_complete else 1, -signal.SIGINT), (seconds, test.output)


# Locust's own controls


def with_users(number):
    """A locustfile's code that wants so many users in the middle."""
    return f"""
        @events.init.add_listener
        def change_later(environment, runner, **_):
            when_sent(5, lambda: runner.start({number}, 100))
    """


def test_with_fewer_users_in_the_middle_connections_leave_and_none_is_missing(failure):
    """What the web page's form does, or the key S: Locust stops users and waits for each."""
    failure.begin(with_users(4))
    test = failure.end()
    summary = checked_summary(test)
    assert (summary["missing"], summary["connections_dropped"], summary["connections_left"]) == (0, 0, 6), test.output
    assert summary["broadcasts"] == BROADCASTS


@pytest.mark.long
def test_with_more_users_in_the_middle_they_hear_the_rest(failure):
    failure.begin(with_users(15))
    test = failure.end()
    summary = checked_summary(test)
    assert (test.status, summary["missing"], summary["connections"]) == (0, 0, 15), test.output
