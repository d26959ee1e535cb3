"""What becomes of tasks, in the reader's words. ECS's answers are made up: notebook 10's tests have real ones."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from botocore.credentials import Credentials, RefreshableCredentials

from chatlab import LabError, fargate
from chatlab.fargate import NO_CODE, Watch
from loadtest.task import NOT_HANDED_OVER

RUNNING = {"lastStatus": "RUNNING"}


def stopped(stopped_reason, code="EssentialContainerExited", **container):
    return {"lastStatus": "STOPPED", "stopCode": code, "stoppedReason": stopped_reason, "containers": [container]}


@pytest.mark.parametrize(
    ("task", "said", "expected"),
    [
        (stopped("Essential container in task exited", exitCode=0), {}, ""),
        (stopped("Essential container in task exited", exitCode=1), {"message": "Nobody came."}, "Nobody came."),
        (stopped("Essential container in task exited", exitCode=NO_CODE), {}, "It did not get its code in time"),
        (stopped("Essential", exitCode=NOT_HANDED_OVER), {}, "It could not hand over its results"),
        (stopped("Essential", exitCode=137, reason="OutOfMemoryError: killed"), {}, "Its memory was not enough"),
        (stopped("Essential", exitCode=137), {}, "Exit status: 137. AWS says: Essential"),
        (stopped("CannotPullContainerError: not found", "TaskFailedToStart"), {}, "AWS could not fetch its image"),
        (stopped("Scheduled", "TerminationNotice", exitCode=1), {"message": "x"}, "It was stopped before its end. AWS"),
        (stopped("Timeout waiting for network interface provisioning", "TaskFailedToStart"), {}, "AWS had no network"),
        (stopped("", "TaskFailedToStart"), {}, "Exit status: -1. AWS says: nothing"),
    ],
)
def test_why_a_task_has_stopped(task, said, expected):
    assert fargate.why_stopped(task, said)[: len(expected) or None] == expected


def test_a_task_that_ends_early_is_named_and_one_that_gives_no_sign_is_given_up(monkeypatch):
    shown, now = [], [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    watch = Watch()
    monkeypatch.setattr(watch, "_show", lambda text, **_: shown.append(text))
    assert not watch.is_over([RUNNING, {"lastStatus": "PENDING"}], [{}, {}])
    assert not watch.is_over([RUNNING, RUNNING], [{"state": "installing", "at": 1}, {}])
    assert shown == [
        "the container fetches its code (1), AWS fetches the image (1)",
        "pip installs the load test from PyPI (1), the container fetches its code (1)",
    ]
    now[0] = 299
    assert not watch.is_over([RUNNING, RUNNING], [{"state": "installing", "at": 2}, {}])
    now[0] = 599
    assert not watch.is_over([RUNNING, RUNNING], [{"state": "installing", "at": 2}, {}])
    now[0] = 600
    with pytest.raises(LabError, match=r"^No task has given a sign for 5 minutes: pip installs"):
        watch.is_over([RUNNING, RUNNING], [{"state": "installing", "at": 2}, {}])
    with pytest.raises(LabError, match=r"^Task 1 of 2 has ended: Exit status: 9\."):
        watch.is_over([RUNNING, stopped("Essential", exitCode=9)], [{}, {}])
    assert watch.is_over([stopped("Essential", exitCode=0)], [{}])


def test_a_session_that_ends_before_the_test_is_said_beforehand():
    def lab(credentials):
        return SimpleNamespace(session=SimpleNamespace(get_credentials=lambda: credentials))

    def ending(minutes):
        ends = datetime.now(UTC) + timedelta(minutes=minutes, seconds=10)
        return lab(RefreshableCredentials("key", "secret", "token", ends, lambda: None, "made up"))

    assert fargate.require_session(lab(Credentials("key", "secret")), 1200) == "Your credentials have no end."
    assert fargate.require_session(lab(Credentials("key", "secret", "token")), 1200).startswith("Nobody knows when")
    assert fargate.require_session(ending(60), 1200) == "Your session ends in 60 minutes, after the test."
    with pytest.raises(LabError, match=r"ends in 30 minutes, and the test may take 40: .* Sign in anew"):
        fargate.require_session(ending(30), 2400)
