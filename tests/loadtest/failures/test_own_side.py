"""What a load test may meet on its own side: errors, a clock that is set, workers, users, signals, files and disks."""

import shutil
import signal
import time

import pandas as pd
import pytest

from chatlab import poll
from loadtest.arguments import STOP_S
from tests.support.failures import BROADCASTS, LOCUST_S, PEOPLE, checked_summary
from tests.support.load_tests import free_port, wrong_clock

# Errors and clocks


def raising(name, after):
    """A locustfile's code that makes a method fail when it has been called this many times."""
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
    "the coordinator, as it plans": ("loadtest.lifecycle.LoadTest._broadcast", 0, 0),
    "the coordinator, at a generator's progress": ("loadtest.collector.Collector.add_progress", 8, 1),
    "the coordinator, as it collects": ("loadtest.collector.Collector.is_complete", 0, BROADCASTS),
    "the generator, as it receives": ("loadtest.connections.Receiver.handle", 60, 3),
    "the generator, as it sends": ("loadtest.connections.Sender._sleep_until", 5, 4),
    "the generator, as it measures itself": ("loadtest.generator.Part._watch_cpu", 0, 0),
}
OFTEN = "the generator, as it receives"


@pytest.mark.parametrize(
    "name", [name if name == OFTEN else pytest.param(name, marks=pytest.mark.long) for name in OWN]
)
def test_an_error_of_its_own_ends_it(failure, name):
    where, after, at_least = OWN[name]
    failure.begin(raising(where, after))
    test = failure.end()
    assert test.status == 1
    assert test.errors[-1].endswith("RuntimeError: injected") or "did not hand over" in test.errors[-1], test.output
    assert checked_summary(test)["delivered"] >= at_least * PEOPLE * 0.8
    assert len(failure.written()) >= at_least * PEOPLE * 0.8


@pytest.mark.long
def test_when_the_result_fails_the_records_are_there(failure):
    failure.begin(
        """
        from loadtest import results
        def broken(**tables):
            raise RuntimeError("injected")
        results.assemble = broken
        """
    )
    test = failure.end()
    assert (test.status, test.errors[-1]) == (1, "The load test failed by an error of its own: RuntimeError: injected")
    assert not (failure.folder / "summary.json").exists()
    assert len(failure.written()) == PEOPLE * BROADCASTS
    assert len(pd.read_parquet(failure.folder / "connections.parquet")) == PEOPLE


def test_a_clock_that_is_set_in_the_middle_ends_it(failure):
    """As by NTP, or as after sleep. The clock is set within the process: a test cannot set the machine's."""
    failure.begin(wrong_clock(3600) + "when_sent(5, set_clock)")
    test = failure.end()
    assert test.status == 1
    assert "this machine's clock was set by +3,600.0 s, or it slept" in test.errors[-1]
    assert failure.seconds < 30
    assert len(failure.written()) >= PEOPLE


# Workers and users


def worker(failure, port, name):
    """One worker, in a process that can be killed."""
    return failure.start("--worker", "--master-port", port, folder=failure.tmp_path / name, code=failure.code)


def workers(failure, number):
    """A master and its workers; the workers, and the master's port."""
    port = free_port()
    failure.begin("", "--master", "--master-bind-port", port, "--expect-workers", number)
    return [worker(failure, port, f"{k}") for k in range(number)], port


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "killed"),
    [(signal.SIGKILL, 2), (signal.SIGSTOP, 1), (signal.SIGTERM, 1)],
    ids=["all workers are killed", "a worker freezes", "a worker is told to end"],
)
def test_workers_that_are_lost_end_it(failure, number, killed):
    others, _ = workers(failure, 2)
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
    _, port = workers(failure, 1)
    failure.until_received(3)
    worker(failure, port, "late")
    test = failure.end()
    summary = checked_summary(test)
    assert (test.status, summary["missing"], summary["connections_dropped"]) == (0, 0, 0), test.output
    assert summary["broadcasts"] == BROADCASTS


@pytest.mark.long
def test_a_worker_of_another_version_ends_it(failure):
    other = "from loadtest import exchange\nexchange.VERSION = 'another'\n"
    port = f"{free_port()}"
    failure.begin("", "--master", "--master-bind-port", port, "--expect-workers", 1)
    failure.start("--worker", "--master-port", port, folder=failure.tmp_path / "other", code=other)
    test = failure.end()
    assert test.status == 1
    assert test.errors[-1].endswith("message is of another version: master and workers need the same one.")


def with_users(number):
    """A locustfile's code that wants this many users in the middle."""
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


# Signals


def test_interrupted_while_it_waits_for_workers_it_says_so_and_ends(failure, tmp_path):
    waits = tmp_path / "waits"
    code = f"""
        @events.init.add_listener
        def tell(**_):
            open("{waits}", "w").close()
    """
    failure.begin(code, "--master", "--master-bind-port", free_port(), "--expect-workers", 1)
    poll(waits.exists, "Locust to be ready", timeout_s=LOCUST_S, every_s=0.02)
    failure.test.process.send_signal(signal.SIGINT)
    test = failure.end()
    assert (test.status, test.errors) == (1, ["The test was stopped before it began."])
    assert "Traceback" not in test.output
    assert failure.seconds < LOCUST_S


@pytest.mark.long
def test_interrupted_at_any_moment_it_ends(failure, tmp_path):
    """Signals at moments from Locust's start to its end, in one test after another."""
    for k, seconds in enumerate((0.3, 1.2, 2.0, 2.6, 3.2, 4.0, 5.5, 6.5)):
        failure.folder = tmp_path / f"{k}"
        failure.begin(forked=False)
        time.sleep(seconds)
        failure.test.process.send_signal(signal.SIGINT)
        test = failure.end()
        assert failure.seconds - seconds < STOP_S, seconds
        is_complete = False
        if (failure.folder / "summary.json").exists():
            summary = checked_summary(test)
            is_complete = summary["complete"]
            assert summary["missing"] == 0
        assert test.status in (0 if is_complete else 1, -signal.SIGINT), (seconds, test.output)


# Files and disks


@pytest.mark.long
def test_a_trace_or_a_folder_that_is_deleted_and_a_progress_that_cannot_be_written_do_no_harm(failure):
    trace = failure.tmp_path / "trace.txt"
    trace.write_text("\n".join(f"{k / 10}" for k in range(BROADCASTS)))
    failure.begin("", "--arrivals", "trace", "--trace", trace)
    failure.until_received(3)
    trace.unlink()
    (failure.folder / "progress.json.tmp").unlink(missing_ok=True)
    (failure.folder / "progress.json.tmp").mkdir()
    failure.until_received(9)
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
        from loadtest.lifecycle import LoadTest
        collect = LoadTest._collect
        def fill(self):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
            collect(self)
        LoadTest._collect = fill
        """,
        environment={"TMPDIR": f"{tmp_path}"},
    )
    test = failure.end()
    assert test.status != 0
    assert any("could not be written" in line for line in test.errors), test.output
    assert "Traceback" not in "\n".join(test.errors)
