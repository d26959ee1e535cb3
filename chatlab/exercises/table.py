"""The exercises of notebook 01: how long an item lives, a put that replaces nothing, and a scan of all pages."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from chatlab.exercises.answer import Answer, forgiving, not_yet, right
from chatlab.lab import Lab

# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MAX_CONNECTION_S = 2 * 3600
MAX_LIFETIME_S = 24 * 3600
NOW = 1_800_000_000.5  # a Unix time with half a second, as time.time() gives it

Item = dict[str, dict[str, str]]
"""An item as DynamoDB takes it: each value with its type."""


@forgiving
def check_expires_at(lab: Lab, expires_at: Callable[[float], object]) -> Answer:
    """When the item of a connection expires: after the connection's end, and within a day."""
    answer = expires_at(NOW)
    if isinstance(answer, bool) or not isinstance(answer, int):
        return not_yet(f"a Unix time for DynamoDB is a whole number of seconds, an int, and this is {answer!r}.")
    lives_s = answer - NOW
    if lives_s < MAX_CONNECTION_S:
        return not_yet(
            f"the item may be deleted after {lives_s / 3600:.1f} hours, and a connection can last 2: whoever stays "
            "would be connected, and hear nothing."
        )
    if lives_s >= MAX_LIFETIME_S:
        return not_yet(f"an item lives for {lives_s / 3600:.0f} hours: each broadcast posts to ghosts until then.")
    return right("no item ends before its connection, and ghosts are gone a few hours, or days, later.")


@forgiving
def check_put_new(lab: Lab, put_new: Callable[[Item], object]) -> Answer:
    """A put that tells whether the item was new, and leaves an older one as it is."""
    first, second = {"said": {"S": "first"}}, {"said": {"S": "second"}}
    with _items(lab, 0) as (key,):
        answers = put_new(key | first), put_new(key | second)
        stored = lab.client("dynamodb").get_item(TableName=lab.table, Key=key, ConsistentRead=True).get("Item")
    if stored is None:
        return not_yet("the item is not in the table.")
    if stored != key | first:
        return not_yet("the second item took the place of the first: put_item needs a ConditionExpression.")
    if answers[0] is not True:
        return not_yet(f"of an item that was put it has to return True, and it returned {answers[0]!r}.")
    if answers[1] is not False:
        return not_yet(f"of an item that was there already it has to return False, and it returned {answers[1]!r}.")
    return right("DynamoDB looks and writes in one step, so of two who put at the same moment one is refused.")


@forgiving
def check_connection_ids(lab: Lab, connection_ids: Callable[[int], Iterable[str]]) -> Answer:
    """All connection ids, whatever the size of a page."""
    with _items(lab, 5) as keys:
        expected = {key["connection_id"]["S"] for key in keys}
        for limit in (2, 1_000):
            found = list(connection_ids(limit) or [])
            if missing := len(expected - set(found)):
                return not_yet(
                    f"with pages of {limit:,}, {missing} of 5 ids are missing: as long as a page has a "
                    "LastEvaluatedKey, there is another one."
                )
            if len(found) > len(set(found)):
                return not_yet(f"with pages of {limit:,}, some ids come twice: whoever it is would read twice.")
    return right("a page at a time, until one has no LastEvaluatedKey. The broadcast reads the table like this.")


@contextmanager
def _items(lab: Lab, number: int) -> Iterator[list[Item]]:
    """The keys of so many new items, or of one that is not there yet; deleted at the end."""
    dynamodb: Any = lab.client("dynamodb")
    keys = [{"connection_id": {"S": f"exercise-{uuid.uuid4().hex}"}} for _ in range(number or 1)]
    try:
        for key in keys[:number]:
            dynamodb.put_item(TableName=lab.table, Item=key)
        yield keys
    finally:
        for key in keys:
            dynamodb.delete_item(TableName=lab.table, Key=key)
