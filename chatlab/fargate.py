"""The load test as tasks of AWS Fargate: the code that they fetch, and what becomes of them in the reader's words."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from chatlab.errors import DENIED, NOT_FOUND, LabError, error_code
from chatlab.lab import Lab
from chatlab.packages import build_zip
from chatlab.paths import ROOT
from loadtest import live
from loadtest.task import NOT_HANDED_OVER, Order

IMAGE = "public.ecr.aws/docker/library/python:3.12.12-slim"
"""Docker's own image of Python, from AWS's public registry: Docker Hub lets strangers fetch few.
https://docs.aws.amazon.com/AmazonECR/latest/public/public-service-quotas.html"""
NO_CODE = 4
"""A task's exit status if it did not get its code: notebook 10 has the lines that fetch it."""
SILENT_S = 300
"""A task that gives no sign for so long is given up."""

STATES = {
    "PROVISIONING": "AWS looks for room",
    "PENDING": "AWS fetches the image",
    "ACTIVATING": "AWS starts the container",
    "RUNNING": "the container fetches its code",
    "installing": "pip installs the load test from PyPI",
    "running": "the load test begins, or waits for the others",
    "DEACTIVATING": "AWS ends it",
    "STOPPING": "AWS ends it",
    "DEPROVISIONING": "AWS ends it",
}
"""What a task does, by what AWS says of it, or, once it has its code, it says itself.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html"""

WHY = {
    "CannotPullContainerError": "AWS could not fetch its image: is there such an IMAGE, and can its subnet reach it?",
    "ResourceInitializationError": "Its subnet could not reach what Fargate needs: name one with a way to the internet "
    "in SUBNET.",
    "network interface provisioning": "AWS had no network interface for it: run it again, with fewer TASKS if need be.",
    "Capacity is unavailable": "AWS has no room for it now: run it again later, or name another SUBNET.",
    "number of vCPUs": "Your account's quota of Fargate vCPUs is used up: ask for fewer TASKS, wait until other tasks "
    "have ended, or let Service Quotas raise it (AWS Fargate, L-3032A538).",
    "OutOfMemory": "Its memory was not enough: ask for fewer CONNECTIONS in each task, with more TASKS.",
}
"""Why a task could not start or was ended, by a part of AWS's reason.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html"""
BY_STATUS = {
    NO_CODE: "It did not get its code in time: the address is good for 15 minutes. Run it again.",
    NOT_HANDED_OVER: "It could not hand over its results: their addresses have expired, or it can't reach S3.",
}

Task = Mapping[str, Any]  # as ECS describes it
Said = Mapping[str, Any]  # what a task has said of itself, loadtest.task; {} before it has


def build_code(order: Order) -> bytes:
    """The zip with the load test, its locked requirements and what is to be done: the same bytes for the same order."""
    files = [*(ROOT / "loadtest").rglob("*.py"), ROOT / "loadtest" / "requirements.txt"]
    contents = {file.relative_to(ROOT).as_posix(): file.read_bytes() for file in sorted(files)}
    return build_zip(contents | {"task.json": json.dumps(order).encode()})


def require_session(lab: Lab, seconds: float) -> str:
    """What to know of the credentials that sign the addresses: these end with their session.

    Raises LabError if the session ends within that many seconds.
    """
    credentials = lab.session.get_credentials()
    if credentials is None or not credentials.token:
        return "Your credentials have no end."
    ends = getattr(credentials, "_expiry_time", None)  # botocore's, which has no public name for it
    if ends is None:
        return "Nobody knows when your session ends: if it does during the test, no results arrive."
    left_s = (ends - datetime.now(UTC)).total_seconds()
    if left_s < seconds:
        raise LabError(
            f"Your session ends in {max(0, left_s) / 60:.0f} minutes, and the test may take {seconds / 60:.0f}: its "
            "results could not be handed over. Sign in anew, and run this again."
        )
    return f"Your session ends in {left_s / 60:.0f} minutes, after the test."


def private_address(task: Task) -> str:
    """A task's address in its subnet; "" before it has one."""
    details = [detail for each in task.get("attachments", []) for detail in each.get("details", [])]
    return next((detail["value"] for detail in details if detail["name"] == "privateIPv4Address"), "")


def why_stopped(task: Task, said: Said) -> str:
    """Why a stopped task has not done its work, in the reader's words; "" if it has."""
    containers = task.get("containers", [])
    reasons = " ".join(filter(None, [task.get("stoppedReason"), *(each.get("reason") for each in containers)]))
    exited = next((int(each["exitCode"]) for each in containers if "exitCode" in each), -1)
    if task.get("stopCode") not in ("EssentialContainerExited", "TaskFailedToStart"):  # somebody did it, or AWS
        return explain(reasons, "It was stopped before its end.")
    if exited == 0:
        return ""
    return f"{said.get('message') or explain(reasons, BY_STATUS.get(exited, f'Exit status: {exited}.'))}"


def explain(reasons: str, otherwise: str = "") -> str:
    """What AWS's reason means and what to do, and the reason itself."""
    why = next((WHY[word] for word in WHY if word in reasons), otherwise)
    return f"{why} AWS says: {reasons or 'nothing'}".strip()


def stop_with_the_chat(lab: Lab, tasks: Sequence[str]) -> str:
    """Let notebook 04's switch stop these tasks (ARNs), too, when `HOURS` are over; a sentence that says what it does.

    A call of the scheduler needs the task's ARN, so each task gets its own, which notebook 99 removes with the group:
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
    """
    if lab.options.hours is None:
        return "Without HOURS, each task's own time-out alone ends it if this machine dies."
    scheduler, group = lab.client("scheduler"), {"GroupName": lab.switch}
    try:
        switch = scheduler.get_schedule(Name="remove-the-stage", **group)
        for task in tasks:
            called = {"Cluster": lab.load_test, "Task": task, "Reason": "HOURS are over."}
            scheduler.create_schedule(
                Name=f"stop-{task.rpartition('/')[2]}",
                ScheduleExpression=switch["ScheduleExpression"],
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": f"arn:{lab.partition}:scheduler:::aws-sdk:ecs:stopTask",
                    "RoleArn": switch["Target"]["RoleArn"],
                    "Input": json.dumps(called),
                },
                **group,
            )
    except ClientError as error:
        if error_code(error) not in DENIED | NOT_FOUND:
            raise
        return f"Warning: the switch does not stop the tasks, because AWS refuses it: {error}"
    return f"The switch stops what is left of them: {switch['ScheduleExpression']}."


class Watch:
    """Follows tasks, of which the first one counts, and shows what they do as one text that changes."""

    def __init__(self) -> None:
        self._show, self._sign, self._heard_at = live.Display(), "", time.monotonic()

    def is_over(self, tasks: Sequence[Task], said: Sequence[Said]) -> bool:
        """Show what the tasks do; whether the first one has ended, and well.

        Raises LabError, in one sentence, if one has ended otherwise, or if none gives a sign for `SILENT_S`.
        """
        states = [self._state(task, own) for task, own in zip(tasks, said, strict=True)]
        test = said[0].get("test")
        text = live.describe(test) if test else ", ".join(f"{state} ({n})" for state, n in Counter(states).items())
        stopped = [k for k, task in enumerate(tasks) if task["lastStatus"] == "STOPPED"]
        whys = {k: why_stopped(tasks[k], said[k]) for k in stopped}
        self._show(text, last=0 in stopped or any(whys.values()))
        for k, why in whys.items():
            if why:
                which = "The task" if len(tasks) == 1 else f"Task {k} of {len(tasks)}"
                raise LabError(f"{which} has ended: {why}")
        if (sign := f"{states} {said}") != self._sign:
            self._sign, self._heard_at = sign, time.monotonic()
        if time.monotonic() - self._heard_at > SILENT_S:
            raise LabError(f"No task has given a sign for {SILENT_S / 60:.0f} minutes: {text}. They are stopped.")
        return 0 in stopped

    def _state(self, task: Task, said: Said) -> str:
        last = str(task["lastStatus"])
        state = str(said.get("state", last)) if last == "RUNNING" else last
        return STATES.get(state, "it has ended")
