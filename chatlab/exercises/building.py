"""The exercises of the notebooks that build: 01 the table, 02 the role, 03 the functions, 05 the page."""

import base64
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.model import OperationModel

from chatlab.cost import PRICES
from chatlab.exercises import Answer, forgiving, not_yet, right
from chatlab.lab import Lab

# --- 01: how long an item lives, a put that replaces nothing, and a scan of all pages ---------------------------------

# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MAX_CONNECTION_S = 2 * 3600
MAX_LIFETIME_S = 24 * 3600
NOW = 1_800_000_000.5  # a Unix time with half a second, as time.time() gives it

Item = dict[str, dict[str, str]]  # an item as DynamoDB takes it: each value with its type


@forgiving
def check_expires_at(lab: Lab, expires_at: Callable[[float], object]) -> Answer:
    """When the item of a connection expires: after the connection's end, and within a day."""
    answer = expires_at(NOW)
    if isinstance(answer, bool) or not isinstance(answer, int):
        return not_yet(f"a Unix time for DynamoDB is a whole number of seconds, an int, and this is {answer!r}.")
    lives_s = answer - NOW
    if lives_s < 0:
        return not_yet("this time is over before the connection opens: add the hours, in seconds, to `now`.")
    if lives_s < MAX_CONNECTION_S:
        return not_yet(
            f"the item may be deleted after {lives_s / 3600:.1f} hours, and a connection can last 2: after that the "
            "person would be connected, and hear nothing."
        )
    if lives_s >= MAX_LIFETIME_S:
        return not_yet(f"an item lives for {lives_s / 3600:.0f} hours: each broadcast posts to ghosts until then.")
    return right("no item ends before its connection, and ghosts are gone a few hours, or days, later.")


@forgiving
def check_put_new(lab: Lab, put_new: Callable[[Item], object]) -> Answer:
    """A put that says whether the item was new, and leaves an older one as it is, even one that has just come."""
    first, second, third = ({"said": {"S": said}} for said in ("first", "second", "third"))
    with _keys(lab, 0) as (key,):
        answers = put_new(key | first), put_new(key | second)
        stored = _stored(lab, key)
    if stored is None:
        return not_yet("the item is not in the table.")
    if stored != key | first:
        return not_yet("the second item took the place of the first: put_item needs a ConditionExpression.")
    if answers[0] is not True:
        return not_yet(f"for a new item it has to return True, and it returned {answers[0]!r}.")
    if answers[1] is not False:
        return not_yet(f"for an item that is there already it has to return False, and it returned {answers[1]!r}.")
    dynamodb: Any = lab.client("dynamodb")
    with _keys(lab, 0) as (key,):

        def put_before(model: OperationModel, **_: object) -> None:
            if model.name not in READS and not others:  # the learner's first write, and not the one below
                others.append(model.name)
                dynamodb.put_item(TableName=lab.table, Item=key | first)

        others: list[str] = []
        with before_each_call(dynamodb, "before-call", put_before):
            answer = put_new(key | third)
        stored = _stored(lab, key)
    if not others:
        return not_yet("write with this notebook's own `dynamodb`: the check watches it.")
    if stored != key | first or answer is not False:
        return not_yet(
            "somebody else put the item between your look and your put, and yours took its place or claims to be new: "
            "let DynamoDB look, by a ConditionExpression of the put."
        )
    return right("DynamoDB looks and writes in one step: of two puts at the same moment it refuses one.")


@forgiving
def check_connection_ids(lab: Lab, connection_ids: Callable[[int], Iterable[str]]) -> Answer:
    """All connection ids, whatever the size of a page."""
    with _keys(lab, 5) as keys:
        expected = {key["connection_id"]["S"] for key in keys}
        for limit in (2, 1_000):
            # DynamoDB ends a page at 1 MB, and this check after two items, whatever the function asks for.
            with before_each_call(lab.client("dynamodb"), "provide-client-params", _two_a_page):
                found = list(connection_ids(limit) or [])
            if missing := len(expected - set(found)):
                return not_yet(
                    f"with pages of {limit:,}, {missing} of 5 ids are missing: as long as a page has a "
                    "LastEvaluatedKey, there is another one."
                )
            if len(found) > len(set(found)):
                return not_yet(f"with pages of {limit:,}, some ids come twice: their people would read it twice.")
    return right("a page at a time, until one has no LastEvaluatedKey. The broadcast reads the table like this.")


READS = frozenset({"GetItem", "BatchGetItem", "TransactGetItems", "Query", "Scan"})


def _two_a_page(params: dict[str, Any], model: OperationModel, **_: object) -> dict[str, Any]:
    return params | {"Limit": 2} if model.name == "Scan" else params


@contextmanager
def before_each_call(client: Any, moment: str, do: Callable[..., object]) -> Iterator[None]:
    """`do` before each call of the client, at one of the moments that botocore has events for."""
    event = f"{moment}.{client.meta.service_model.service_id.hyphenize()}"
    client.meta.events.register(event, do)
    try:
        yield
    finally:
        client.meta.events.unregister(event, do)


@contextmanager
def _keys(lab: Lab, number: int) -> Iterator[list[Item]]:
    """The keys of `number` new items, or of one that is not there yet; the items are deleted at the end."""
    dynamodb: Any = lab.client("dynamodb")
    keys = [{"connection_id": {"S": f"exercise-{uuid.uuid4().hex}"}} for _ in range(number or 1)]
    try:
        for key in keys[:number]:
            dynamodb.put_item(TableName=lab.table, Item=key)
        yield keys
    finally:
        for key in keys:
            dynamodb.delete_item(TableName=lab.table, Key=key)


def _stored(lab: Lab, key: Item) -> Item | None:
    """The item with this key, if there is one."""
    dynamodb: Any = lab.client("dynamodb")
    found: dict[str, Item] = dynamodb.get_item(TableName=lab.table, Key=key, ConsistentRead=True)
    return found.get("Item")


# --- 02: what a report needs, a Deny that wins, and how IAM decides ---------------------------------------------------

ALLOWED, IMPLICIT, EXPLICIT = "allowed", "implicitDeny", "explicitDeny"

Statement = Mapping[str, str | Sequence[str]]
"""Effect, Action and Resource, as in a policy's document; Action and Resource may be a text or a list."""


def decide(statements: Sequence[Statement], action: str, resource: str) -> str:
    """What IAM decides by a role's statements without conditions: what its simulator calls EvalDecision.

    The names of actions have no case.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_AccessPolicyLanguage_Interplay.html
    """

    def fits(patterns: Sequence[str], name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    effects = {
        statement["Effect"]
        for statement in statements
        if fits([each.lower() for each in _listed(statement["Action"])], action.lower())
        and fits(_listed(statement["Resource"]), resource)
    }
    return EXPLICIT if "Deny" in effects else ALLOWED if "Allow" in effects else IMPLICIT


def _listed(one_or_more: str | Sequence[str]) -> Sequence[str]:
    return [one_or_more] if isinstance(one_or_more, str) else one_or_more


def _surplus(lab: Lab, statement: Statement, action: str, resource: str) -> str:
    """What the statement names beside this action of DynamoDB and this resource; "" if nothing."""
    operations = lab.client("dynamodb").meta.service_model.operation_names
    for pattern in _listed(statement["Action"]):
        if not fnmatchcase(action.lower(), pattern.lower()):
            return pattern
        for name in (f"dynamodb:{operation}" for operation in operations):
            if name != action and fnmatchcase(name.lower(), pattern.lower()):
                return name
    return next((pattern for pattern in _listed(statement["Resource"]) if pattern != resource), "")


def _misspelt(statement: Statement) -> str:
    """What IAM would refuse, or this check does not read; "" if nothing."""
    if more := sorted((statement.keys() - {"Sid"}) ^ {"Effect", "Action", "Resource"}):
        return f"give it Effect, Action and Resource, and nothing else: {', '.join(more)} is missing or too much."
    if statement["Effect"] not in ("Allow", "Deny"):
        return f"Effect is Allow or Deny, written so, and here it is {statement['Effect']!r}."
    return ""


@forgiving
def check_report(lab: Lab, statement: Statement) -> Answer:
    """A statement for a function that counts who is connected, and does nothing else."""
    table = lab.arn("dynamodb", f"table/{lab.table}")
    if sentence := _misspelt(statement):
        return not_yet(sentence)
    if decide([statement], "dynamodb:Scan", table) != ALLOWED:
        return not_yet("to count the items it has to read them, with dynamodb:Scan on this table.")
    surplus = _surplus(lab, statement, "dynamodb:Scan", table)
    if surplus and surplus in _listed(statement["Resource"]):
        return not_yet(f"{surplus} is more than this table, so it may read others: name this table as the Resource.")
    if surplus:
        return not_yet(f"it may also do {surplus}, which a report does not need.")
    return right("one action on one table. A mistake in that function can do no more than read who is connected.")


@forgiving
def check_guard(lab: Lab, guard: Statement) -> Answer:
    """A statement that keeps the table, whatever other policies allow, and forbids nothing else."""
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    table = lab.arn("dynamodb", f"table/{lab.table}")
    if sentence := _misspelt(guard):
        return not_yet(sentence)
    decision = decide([everything, guard], "dynamodb:DeleteTable", table)
    if decision != EXPLICIT:
        return not_yet(f"beside a policy that allows everything, DeleteTable on this table is still {decision}.")
    if surplus := _surplus(lab, guard, "dynamodb:DeleteTable", table):
        return not_yet(f"it also forbids {surplus}, and has to forbid DeleteTable on this table alone.")
    return right("a Deny wins over every Allow, in all policies of the role.")


@forgiving
def check_decide(lab: Lab, decides: Callable[[Sequence[Statement], str, str], object]) -> Answer:
    """IAM's own decision, for statements whose Action and Resource are lists."""
    put_one = {"Effect": "Allow", "Action": ["dynamodb:PutItem"], "Resource": ["table/chat"]}
    all_tables = {"Effect": "Allow", "Action": ["dynamodb:*"], "Resource": ["table/*"]}
    two, both = ["dynamodb:PutItem", "dynamodb:Scan"], ["table/chat", "table/others"]
    two_of_each = {"Effect": "Allow", "Action": two, "Resource": both}
    scan_others = {"Effect": "Allow", "Action": ["dynamodb:Scan"], "Resource": ["table/others"]}
    keep_chat = {"Effect": "Deny", "Action": ["dynamodb:Delete*"], "Resource": ["table/chat"]}
    questions: list[tuple[str, list[Statement], str, str]] = [
        ("no statement at all", [], "dynamodb:PutItem", "table/chat"),
        ("the very action and thing", [put_one], "dynamodb:PutItem", "table/chat"),
        ("another action", [put_one], "dynamodb:DeleteItem", "table/chat"),
        ("another table", [put_one], "dynamodb:PutItem", "table/others"),
        ("a star in both", [all_tables], "dynamodb:Scan", "table/others"),
        ("a Deny after an Allow", [all_tables, keep_chat], "dynamodb:DeleteTable", "table/chat"),
        ("a Deny before an Allow", [keep_chat, all_tables], "dynamodb:DeleteItem", "table/chat"),
        ("a Deny of something else", [keep_chat, all_tables], "dynamodb:DeleteTable", "table/others"),
        ("a Deny and nothing else", [keep_chat], "dynamodb:PutItem", "table/chat"),
        ("the second action, the second thing", [two_of_each], "dynamodb:Scan", "table/others"),
        ("an action of one, a thing of the other", [put_one, scan_others], "dynamodb:PutItem", "table/others"),
    ]
    for what, statements, action, resource in questions:
        expected, found = decide(statements, action, resource), decides(statements, action, resource)
        if found != expected:
            return not_yet(f"{what}: {action} on {resource} is {expected}, and yours says {found!r}.")
    return right(
        "so IAM decides by a role's own policies. Policies of the thing itself (of a bucket or a function), "
        "conditions, boundaries, and the policies of an organisation count, too."
    )


# --- 03: the end of a connection, a message's bytes, and a broadcast of your own --------------------------------------

TABLE, MESSAGE = "chat", '{"text": "Grüße"}'.encode()
BYTES = bytes(range(256))

Event = dict[str, Any]  # API Gateway's


@forgiving
def check_disconnect(lab: Lab, disconnect: Callable[[Event, Any, str], object]) -> Answer:
    """A `$disconnect` that deletes one id, however often it is called, and answers 500 where it can't."""
    dynamodb: Any = lab.client("dynamodb")
    with _keys(lab, 2) as (gone, other), _keys(lab, 0) as (never,):
        for what, key, table, status in (
            ("once", gone, lab.table, 200),
            ("twice for the same id", gone, lab.table, 200),
            ("for an id that was never there", never, lab.table, 200),
            ("with the name of a table that does not exist", other, f"{lab.table}-nowhere", 500),
        ):
            event = {"requestContext": {"connectionId": key["connection_id"]["S"], "routeKey": "$disconnect"}}
            try:
                answer = disconnect(event, dynamodb, table)
            except Exception as error:
                help_ = "catch it, and answer 500" if status == 500 else "an id that is already gone is no error"
                return not_yet(f"called {what}, it ends with {type(error).__name__}: {help_}.")
            if _stored(lab, gone):
                return not_yet("the id is still in the table: delete_item needs its Key.")
            if not _stored(lab, other):
                return not_yet("somebody else's id is deleted, too: only the event's has to go.")
            if _stored(lab, never):
                return not_yet("an id that was never there is in the table now: only delete.")
            if answer != {"statusCode": status}:
                return not_yet(f"called {what}, it has to return a statusCode of {status}, and it returned {answer!r}.")
    return right("deleting is idempotent, so a repeated call does no harm, and a failure becomes a status.")


@forgiving
def check_message(lab: Lab, message: Callable[[Event], object]) -> Answer:
    """The bytes of a message, exactly as they were said."""
    cases: list[tuple[str, Event, bytes]] = [
        ("a text", {"body": "hello", "isBase64Encoded": False}, b"hello"),
        ("an emoji", {"body": "🎉 你好", "isBase64Encoded": False}, "🎉 你好".encode()),
        ("JSON", {"body": '{ "a":  1 }', "isBase64Encoded": False}, b'{ "a":  1 }'),
        ("a space and a line's end", {"body": " \n", "isBase64Encoded": False}, b" \n"),
        ("bytes", {"body": base64.b64encode(BYTES).decode(), "isBase64Encoded": True}, BYTES),
        ("a text that looks like base64", {"body": "aGVsbG8=", "isBase64Encoded": False}, b"aGVsbG8="),
        ("an empty frame", {"body": "", "isBase64Encoded": False}, b""),
        ("an event without a body", {"isBase64Encoded": False}, b""),
        ("a body that is None", {"body": None, "isBase64Encoded": False}, b""),
    ]
    for what, event, expected in cases:
        try:
            found = message(event)
        except Exception as error:
            return not_yet(f"for {what}, it ends with {type(error).__name__}.")
        if not isinstance(found, bytes):
            return not_yet(f"for {what}, it has to return bytes, and it returned {found!r}.")
        if found != expected:
            return not_yet(f"for {what}, the bytes are {expected[:20]!r}, and you say {found[:20]!r}.")
    return right("the function passes the bytes on as they are, so people can say whatever fits into a frame.")


@forgiving
def check_sequential(lab: Lab, sequential: Callable[[Any, Any, str, bytes], object]) -> Answer:
    """A broadcast to a room of five ids on two pages, one client gone: who hears what, and which id is deleted?"""
    room, failed = StandInRoom(), ""
    try:
        sequential(room.client("dynamodb"), room.client("apigatewaymanagementapi"), TABLE, MESSAGE)
    except Exception as error:
        failed = f"it ended with {type(error).__name__}: {error}. "
    posted = [connection_id for connection_id, _ in room.posts]
    if not posted:
        return not_yet(f"{failed}nobody was posted to: scan the table, and post to each id.")
    if failed and posted[-1] == GONE:
        return not_yet("one client is gone (410), and everyone after it hears nothing: catch GoneException, and go on.")
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
        "everyone heard it, and the id that is gone is deleted. Each post waits for the one before: at 8 ms each, the "
        "last of 1,000 people hears it after 8 s. Notebook 07 makes that faster."
    )


def _named(names: list[str]) -> str:
    return ", ".join(names) or "none"


GONE = "left-without-a-word"
FIRST_PAGE, SECOND_PAGE = ["ada", GONE, "grace"], ["edsger", "barbara"]
THERE = [name for name in FIRST_PAGE + SECOND_PAGE if name != GONE]  # who has to hear a broadcast


@dataclass
class StandInRoom:
    """Five connection ids on two pages of a scan, one of a client that is gone; and a record of the calls.

    Its boto3 clients are real, but their calls are answered here and never sent, as `botocore.stub.Stubber` does it.
    """

    posts: list[tuple[str, bytes]] = field(default_factory=list)  # connection ids and messages, in order
    deleted: list[str] = field(default_factory=list)

    def client(self, service: str) -> Any:  # boto3 makes the class of each client when it runs
        """A boto3 client of `dynamodb` or `apigatewaymanagementapi`."""
        session = boto3.Session("none", "none", region_name="us-east-1")
        client = session.client(service, endpoint_url="http://127.0.0.1:9")
        client.meta.events.register("before-call", self._answer)
        return client

    def _answer(self, model: OperationModel, params: dict[str, Any], **_: object) -> tuple[AWSResponse, dict[str, Any]]:
        status, answer, body = 200, {}, params["body"]
        if model.name == "Scan" and json.loads(body).get("ExclusiveStartKey"):
            answer = _page(SECOND_PAGE)
        elif model.name == "Scan":
            answer = _page(FIRST_PAGE) | {"LastEvaluatedKey": {"connection_id": {"S": FIRST_PAGE[-1]}}}
        elif model.name == "DeleteItem":
            self.deleted.append(json.loads(body)["Key"]["connection_id"]["S"])
        elif model.name == "PostToConnection":
            connection_id = unquote(params["url_path"].rpartition("/")[2])
            self.posts.append((connection_id, body))
            if connection_id == GONE:
                status, answer = 410, {"Error": {"Code": "GoneException", "Message": ""}}
        else:
            message = f"This exercise needs no {model.name}."
            status, answer = 400, {"Error": {"Code": "ValidationException", "Message": message}}
        return AWSResponse("", status, HTTPHeaders(), None), answer


def _page(names: list[str]) -> dict[str, Any]:
    return {"Items": [{"connection_id": {"S": name}} for name in names], "Count": len(names)}


# --- 05: what a dollar pays, how long a browser keeps a file, and who may read an object ------------------------------

GET_DOLLARS = 0.0004 / 1_000  # S3, us-east-1
PRIVATE = "private/"

# Three builds of a page, and what the bucket has when the last one is to be uploaded.
OLD = {"index.html", "favicon.svg", "assets/index-a1.js", "assets/logo-77.svg"}
NEW = {"index.html", "favicon.svg", "robots.txt", "assets/index-b2.js", "assets/logo-77.svg"}
OLDER = {"manifest.json", "assets/index-09.js"}
KEPT = PRIVATE + "neighbour.txt"

PAGE, NEIGHBOUR, ASSET = (
    f"arn:aws:s3:::bucket/{key}" for key in ("index.html", "private/neighbour.txt", "assets/a.js")
)
ALLOW = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}


@forgiving
def check_visits(lab: Lab, visits: float) -> Answer:
    """How many first visits to the page a dollar pays, after the free 100 GB: each fetches every file once."""
    pages = lab.client("s3").get_paginator("list_objects_v2").paginate(Bucket=lab.bucket)
    sizes = [found["Size"] for page in pages for found in page["Contents"] if not found["Key"].startswith(PRIVATE)]
    requests, sent = visits * len(sizes) * GET_DOLLARS, visits * sum(sizes) / 1e9 * PRICES["GB out"]
    if not 0.95 <= requests + sent <= 1.001:
        return not_yet(
            f"{visits:,.0f} visits cost {requests:.4f} dollars for their requests and {sent:.4f} for the bytes sent: "
            "the two together have to be one dollar."
        )
    return right(f"{len(sizes)} requests and {sum(sizes):,} bytes a visit; nothing runs while nobody comes.")


@forgiving
def check_steps(lab: Lab, steps: Callable[[set[str], set[str], set[str]], Iterable[tuple[str, str]]]) -> Answer:
    """An upload during which everybody gets all files of one build, at any moment."""
    bucket = dict.fromkeys(OLD | OLDER | {KEPT}, "old")
    moments = [dict(bucket)]
    for action, key in steps(set(bucket), set(OLD), set(NEW)):
        if action not in ("put", "delete") or (action == "put" and key not in NEW):
            return not_yet(f'{action} {key}: a step is ("put", a key of the new build) or ("delete", a key).')
        bucket.pop(key, None)
        if action == "put":
            bucket[key] = "new"
        moments.append(dict(bucket))
    for number, moment in enumerate(moments):
        if "index.html" not in moment:
            return not_yet(f"after step {number} there is no index.html for a visitor: just put the new one.")
    for number, moment in enumerate(moments):
        build = moment["index.html"]
        for later in moments[number:]:
            if missing := (OLD if build == "old" else NEW) - later.keys():
                why = "was deleted" if min(missing) in OLD else "is not there yet"
                return not_yet(f"the {build} index.html, got after step {number}, needs {min(missing)}, which {why}.")
    if KEPT not in bucket:
        return not_yet(f"{KEPT} was never a part of the page: it is somebody else's, and you deleted it.")
    for key in sorted(NEW):
        if key not in bucket:
            return not_yet(f"{key} of the new build is not uploaded.")
        if bucket[key] == "old" and not key.startswith("assets/"):
            return not_yet(
                f"{key} is still the old one: its name has no hash, so its content may differ in each build."
            )
    if left := OLDER & bucket.keys():
        return not_yet(f"{min(left)}, which neither build has, is still there.")
    return right("files first, then the index that names them; and a build's files stay until the next upload but one.")


@forgiving
def check_may_read(lab: Lab, may_read: Callable[[dict[str, Any], str], bool | None]) -> Answer:
    """Whether a bucket's policy lets a stranger read an object."""
    deny = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "s3:*"}
    somebody = {"AWS": "arn:aws:iam::111122223333:role/editor"}
    cases: list[tuple[str, list[dict[str, Any]], str, bool]] = [
        ("the page's own policy", [ALLOW | {"Resource": [PAGE, ASSET]}], ASSET, True),
        ("the page's own policy", [ALLOW | {"Resource": [PAGE, ASSET]}], NEIGHBOUR, False),
        ("no statement at all", [], PAGE, False),
        ("one resource, not a list", [ALLOW | {"Resource": PAGE}], PAGE, True),
        ("a wildcard for all assets", [ALLOW | {"Resource": "arn:aws:s3:::bucket/assets/*"}], ASSET, True),
        ("everyone as {'AWS': '*'}", [ALLOW | {"Principal": {"AWS": "*"}, "Resource": PAGE}], PAGE, True),
        ("somebody else's permission", [ALLOW | {"Principal": somebody, "Resource": PAGE}], PAGE, False),
        ("another action", [ALLOW | {"Action": ["s3:PutObject"], "Resource": PAGE}], PAGE, False),
        ("s3:* and all objects", [ALLOW | {"Action": "s3:*", "Resource": "arn:aws:s3:::bucket/*"}], NEIGHBOUR, True),
        ("Deny beside Allow", [ALLOW | {"Resource": PAGE}, deny | {"Resource": "arn:aws:s3:::*"}], PAGE, False),
    ]
    for what, statements, arn, expected in cases:
        found = may_read({"Version": "2012-10-17", "Statement": statements}, arn)
        if bool(found) != expected or found is None:
            answer = "may" if expected else "may not"
            return not_yet(f"{what}: a stranger {answer} read {arn.partition('/')[2]}, and you say {found}.")
    return right("nothing is allowed unless a statement says so, and one Deny outweighs every Allow.")
