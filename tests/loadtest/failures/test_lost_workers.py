"""Workers that are lost, join in the middle, or are of another version; Locust's users, added or stopped by hand."""

import signal

import pytest

from tests.support.failures import BROADCASTS, checked_summary
from tests.support.load_tests import free_port


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
        "from loadtest.locustfile import *\nfrom loadtest import exchange\nexchange.VERSION = 'another'\n"
    )
    port = f"{free_port()}"
    failure.begin("", "--master", "--master-bind-port", port, "--expect-workers", 1)
    failure.start("--worker", "--master-port", port, folder=failure.tmp_path / "other", locustfile=locustfile)
    test = failure.end()
    assert test.status == 1
    assert test.errors[-1].endswith("message is of another version: master and workers need the same one.")


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
