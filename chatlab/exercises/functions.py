"""The exercises of notebook 03: the size of a room, what has to be deployed, and a broadcast of your own."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chatlab.exercises.answer import Answer, forgiving, not_yet, right
from chatlab.exercises.stand_ins import GONE, THERE, Room
from chatlab.lab import Lab
from chatlab.limits import read_quotas

SHARE = 0.8  # of the account's requests a second, as in the notebook
TABLE, MESSAGE = "chat", '{"text": "Grüße"}'.encode()

Hashes = Mapping[str, str]
"""By part of the chat, the hash of its code."""


@forgiving
def check_largest_room(lab: Lab, people: float) -> Answer:
    """How many people a broadcast reaches within one second, by the account's quota alone."""
    posts_per_second = SHARE * read_quotas(lab).requests_per_s
    seconds = people / posts_per_second
    if seconds > 1:
        return not_yet(f"a broadcast to {people:,.0f} people takes {seconds:.2f} s: fewer fit into one second.")
    if seconds < 0.95:
        return not_yet(f"a broadcast to {people:,.0f} people takes only {1000 * seconds:.0f} ms: more fit.")
    return right(f"one post for each person, and {posts_per_second:,.0f} posts a second: the quota is the limit.")


@forgiving
def check_outdated(lab: Lab, outdated: Callable[[Hashes, Hashes], Iterable[str] | None]) -> Answer:
    """Which functions need an update: those whose code on the disk is not what Lambda has."""
    disk = {"connect": "a", "default": "b", "disconnect": "c"}
    cases: list[tuple[str, Hashes, list[str]]] = [
        ("all three are as on the disk", dict(disk), []),
        ("the broadcast has other code", disk | {"default": "of yesterday"}, ["default"]),
        ("two have each other's code", disk | {"connect": "c", "disconnect": "a"}, ["connect", "disconnect"]),
        ("disconnect is not there at all", {"connect": "a", "default": "b"}, ["disconnect"]),
    ]
    for what, deployed, expected in cases:
        found = sorted(outdated(disk, deployed) or [])
        if found != expected:
            return not_yet(f"where {what}, it has to name {_named(expected)}, and it names {_named(found)}.")
    return right("equal hashes mean equal code, so nothing is uploaded twice: that is what makes the cell idempotent.")


@forgiving
def check_sequential(lab: Lab, sequential: Callable[[Any, Any, str, bytes], object]) -> Answer:
    """A broadcast to a room of five ids on two pages, one of them gone: who hears what, and who is forgotten?"""
    room, failed = Room(), ""
    try:
        sequential(room.client("dynamodb"), room.client("apigatewaymanagementapi"), TABLE, MESSAGE)
    except Exception as error:
        failed = f"it ended with {type(error).__name__}: {error}. "
    posted = [connection_id for connection_id, _ in room.posts]
    if not posted:
        return not_yet(f"{failed}nobody was posted to: scan the table, and post to each id.")
    if failed and posted[-1] == GONE:
        return not_yet("one client is gone (410), and those behind it hear nothing: catch GoneException, and go on.")
    if failed:
        return not_yet(failed)
    if missing := [name for name in THERE if name not in posted]:
        return not_yet(f"{_named(missing)} heard nothing: a scan has pages, and LastEvaluatedKey leads to the next.")
    if len(posted) > len(set(posted)):
        return not_yet("somebody was posted to twice, and would read the message twice.")
    if any(data != MESSAGE for _, data in room.posts):
        return not_yet("what was posted is not what was said: pass `data` on as it is.")
    if room.deleted != [GONE]:
        return not_yet(f"delete the id that answers 410, and no other; you deleted {_named(room.deleted)}.")
    return right(
        "everyone heard it, and who is gone is forgotten. Each post waits for the one before: at 8 ms each, the last "
        "of 1,000 people hears it after 8 s. Notebook 07 deploys such a broadcast, and measures that."
    )


def _named(names: list[str]) -> str:
    return ", ".join(names) or "none"
