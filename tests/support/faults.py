"""A chat whose cloud fails as a test says: what the people in it hear, and whether the log line tells just that."""

import time
from contextlib import contextmanager

import pytest

from chatlab import local_cloud, poll
from tests.support import faulty_cloud
from tests.support.labs import chat_in, wait_for_update

PEOPLE = 20


@contextmanager
def a_faulty_chat(folder, traits=""):
    """A chat in a local cloud that can be made to fail, by `set_faults(state_dir(), ...)`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_cloud, "SERVER", faulty_cloud.__name__)
        patch.setenv("CHATLAB_TRAITS", traits)
        with chat_in(folder) as lab:
            yield lab


def restart(lab, timeout_s):
    """The broadcast in a fresh process, with so many seconds."""
    lab.client("lambda").update_function_configuration(FunctionName=lab.functions["default"], Timeout=timeout_s)
    wait_for_update(lab)


def set_age(lab, connection_ids, age_s):
    """Let these have connected so long ago."""
    for connection_id in connection_ids:
        lab.client("dynamodb").update_item(
            TableName=lab.table, Key={"connection_id": {"S": connection_id}},
            UpdateExpression="SET connected_at = :at",
            ExpressionAttributeValues={":at": {"N": str(int(time.time()) - age_s)}},
        )  # fmt: skip


OUTCOMES = ("delivered", "gone", "failed", "unreached")


def counts(log):
    assert sum(log[outcome] for outcome in OUTCOMES) == log["connections"]
    return {outcome: log[outcome] for outcome in OUTCOMES}


def counts_of(some):
    return dict.fromkeys(OUTCOMES, 0) | some


def is_heard_by_all(room, text):
    poll(lambda: all(room.copies(text)), f"everybody to hear {text!r}", timeout_s=5, every_s=0.02)


def heard(room, text):
    """How many have heard it once, more often, and never."""
    copies = room.copies(text)
    return copies.count(1), sum(number > 1 for number in copies), copies.count(0)


def told(log):
    """What a log line says, without what is 0."""
    names = (*OUTCOMES, "throttled", "retried")
    return ", ".join(f"{name} {log[name]}" for name in names if log.get(name)) + (", error" if "error" in log else "")
