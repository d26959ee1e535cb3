"""The exercises of notebooks 01 and 02: what is right, in more than one way, and what each wrong answer is told."""

import math
from fnmatch import fnmatchcase

import pytest
from botocore.exceptions import ClientError

from chatlab.exercises import building
from tests.support.cells import creating, run_cells
from tests.support.labs import lab_in


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab with its table."""
    with lab_in(tmp_path_factory.mktemp("table")) as lab:
        run_cells("01_dynamodb_table", creating("01_dynamodb_table"))
        yield lab


def judge(lab, check, answer, sentence):
    """It is right where no `sentence` is expected; else it is wrong, and this is in the hint, one line of text."""
    judged = check(lab, answer)
    assert judged.is_right == (not sentence), judged
    assert sentence in judged.message and "\n" not in judged.message


@pytest.mark.parametrize(("expires_at", "sentence"), [
    (lambda now: int(now) + 3 * 3600, ""),
    (lambda now: math.ceil(now + 2.5 * 3600), ""),
    (lambda now: int(now) + 3600, "a connection can last 2"),
    (lambda now: int(now) + 24 * 3600 + 1, "posts to ghosts until then"),
    (lambda now: now + 3 * 3600, "a whole number of seconds, an int, and this is"),
    (lambda now: str(int(now) + 3 * 3600), "a whole number of seconds, an int, and this is"),
    (lambda now: 3 * 3600, "add the hours, in seconds, to `now`"),
])  # fmt: skip
def test_how_long_an_item_lives(expires_at, sentence):
    judge(None, building.check_expires_at, expires_at, sentence)


def by_condition(dynamodb, table, item):
    try:
        dynamodb.put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(connection_id)")
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def by_an_update(dynamodb, table, item):
    """As some write it: an update makes the item if there is none."""
    try:
        dynamodb.update_item(
            TableName=table,
            Key={"connection_id": item["connection_id"]},
            UpdateExpression="SET said = :said",
            ConditionExpression="attribute_not_exists(connection_id)",
            ExpressionAttributeValues={":said": item["said"]},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return False
    return True


def by_a_look(dynamodb, table, item):
    """Between the look and the put there is time for somebody else."""
    key = {"connection_id": item["connection_id"]}
    if "Item" in dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True):
        return False
    dynamodb.put_item(TableName=table, Item=item)
    return True


def by_silence(dynamodb, table, item):
    by_condition(dynamodb, table, item)


def by_a_condition_that_is_raised(dynamodb, table, item):
    dynamodb.put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(connection_id)")
    return True


@pytest.mark.parametrize(("put_new", "sentence"), [
    (by_condition, ""),
    (by_an_update, ""),
    (by_a_look, "somebody else put the item between your look and your put"),
    (by_silence, "for a new item it has to return True, and it returned None"),
    (by_a_condition_that_is_raised, "it ended with ConditionalCheckFailedException"),
    (lambda dynamodb, table, item: True, "the item is not in the table"),
    (lambda dynamodb, table, item: bool(dynamodb.put_item(TableName=table, Item=item)), "took the place of the first"),
])  # fmt: skip
def test_a_put_of_what_is_new(lab, put_new, sentence):
    dynamodb = lab.client("dynamodb")
    judge(lab, building.check_put_new, lambda item: put_new(dynamodb, lab.table, item), sentence)
    assert dynamodb.scan(TableName=lab.table)["Items"] == []


def test_a_put_that_the_check_can_not_watch_is_not_right(lab):
    other = lab.client("dynamodb", region_name=lab.region)
    sentence = "write with this notebook's own `dynamodb`"
    judge(lab, building.check_put_new, lambda item: by_a_look(other, lab.table, item), sentence)


def by_a_loop(dynamodb, limit, **table):
    found, more = [], {}
    while True:
        page = dynamodb.scan(Limit=limit, **table, **more)
        found += [item["connection_id"]["S"] for item in page["Items"]]
        if "LastEvaluatedKey" not in page:
            return found
        more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def by_a_paginator(dynamodb, limit, **table):
    pages = dynamodb.get_paginator("scan").paginate(PaginationConfig={"PageSize": limit}, **table)
    return (item["connection_id"]["S"] for page in pages for item in page["Items"])


def of_one_page(dynamodb, limit, **table):
    return [item["connection_id"]["S"] for item in dynamodb.scan(Limit=limit, **table)["Items"]]


def of_one_page_without_a_limit(dynamodb, limit, **table):
    return [item["connection_id"]["S"] for item in dynamodb.scan(**table)["Items"]]


def of_two_pages(dynamodb, limit, **table):
    page = dynamodb.scan(Limit=limit, **table)
    more = dynamodb.scan(Limit=limit, ExclusiveStartKey=page["LastEvaluatedKey"], **table)
    return [item["connection_id"]["S"] for item in page["Items"] + more["Items"]]


def with_the_first_page_twice(dynamodb, limit, **table):
    return of_one_page(dynamodb, limit, **table) + by_a_loop(dynamodb, limit, **table)


@pytest.mark.parametrize(("connection_ids", "sentence"), [
    (by_a_loop, ""),
    (by_a_paginator, ""),
    (of_one_page, "with pages of 2, 3 of 5 ids are missing"),
    (of_one_page_without_a_limit, "3 of 5 ids are missing"),
    (of_two_pages, "with pages of 2, 1 of 5 ids are missing"),
    (with_the_first_page_twice, "some ids come twice"),
    (lambda dynamodb, limit, **table: None, "5 of 5 ids are missing"),
])  # fmt: skip
def test_the_ids_of_all_pages(lab, connection_ids, sentence):
    dynamodb, table = lab.client("dynamodb"), {"TableName": lab.table, "ConsistentRead": True}
    judge(lab, building.check_connection_ids, lambda limit: connection_ids(dynamodb, limit, **table), sentence)
    assert dynamodb.scan(TableName=lab.table)["Items"] == []


def statement(action, resource, effect="Allow", **more):
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


SCAN = "dynamodb:Scan"


@pytest.mark.parametrize(("answer", "sentence"), [
    (lambda table: statement(SCAN, table), ""),
    (lambda table: statement([SCAN], [table], Sid="CountThem"), ""),
    (lambda table: statement("dynamodb:scan", table), ""),  # IAM's names of actions have no case
    (lambda table: statement("dynamodb:*", "*"), "it may also do dynamodb:BatchExecuteStatement"),
    (lambda table: statement(SCAN, "*"), "* is more than this table"),
    (lambda table: statement(SCAN, f"{table}*"), "is more than this table"),
    (lambda table: statement(SCAN, [table, f"{table}/index/room"]), "/index/room is more than this table"),
    (lambda table: statement([SCAN, "dynamodb:BatchWriteItem"], table), "also do dynamodb:BatchWriteItem"),
    (lambda table: statement([SCAN, "dynamodb:batchw*"], table), "also do dynamodb:batchw*"),
    (lambda table: statement([SCAN, "iam:PassRole"], table), "also do iam:PassRole"),
    (lambda table: statement(["s3:*", SCAN], table), "also do s3:*"),
    (lambda table: statement("*", table), "also do dynamodb:"),
    (lambda table: statement("dynamodb:Query", table), "has to read them, with dynamodb:Scan"),
    (lambda table: statement(SCAN, table, "Deny"), "has to read them, with dynamodb:Scan"),
    (lambda table: statement(SCAN, table, "allow"), "Effect is Allow or Deny"),
    (lambda table: {"Effect": "Allow", "NotAction": "dynamodb:*", "Resource": table}, "Action, NotAction is missing"),
])  # fmt: skip
def test_what_a_report_needs(lab, answer, sentence):
    judge(lab, building.check_report, answer(lab.arn("dynamodb", f"table/{lab.table}")), sentence)


DELETE = "dynamodb:DeleteTable"


@pytest.mark.parametrize(("answer", "sentence"), [
    (lambda table: statement(DELETE, table, "Deny"), ""),
    (lambda table: statement(["dynamodb:deletetable"], [table], "Deny"), ""),
    (lambda table: statement([], [], "Allow"), "DeleteTable on this table is still allowed"),
    (lambda table: statement(DELETE, table), "DeleteTable on this table is still allowed"),
    (lambda table: statement(DELETE, "*", "Deny"), "it also forbids *"),
    (lambda table: statement("dynamodb:Delete*", table, "Deny"), "it also forbids dynamodb:Delete"),
    (lambda table: statement([DELETE, "s3:*"], table, "Deny"), "it also forbids s3:*"),
    (lambda table: statement([DELETE, "iam:PassRole"], table, "Deny"), "it also forbids iam:PassRole"),
    (lambda table: statement("*", table, "Deny"), "it also forbids dynamodb:"),
])  # fmt: skip
def test_a_statement_that_keeps_the_table(lab, answer, sentence):
    judge(lab, building.check_guard, answer(lab.arn("dynamodb", f"table/{lab.table}")), sentence)


def fits(given, action, resource, match=fnmatchcase):
    return any(match(action, pattern) for pattern in given["Action"]) and any(
        match(resource, pattern) for pattern in given["Resource"]
    )


def in_one_go(statements, action, resource):
    effects = {given["Effect"] for given in statements if fits(given, action, resource)}
    return "explicitDeny" if "Deny" in effects else "allowed" if effects else "implicitDeny"


def by_two_loops(statements, action, resource):
    """With the action's case left aside, as IAM does."""
    decision = "implicitDeny"
    for effect, answer in (("Allow", "allowed"), ("Deny", "explicitDeny")):
        for given in statements:
            lower = given | {"Action": [pattern.lower() for pattern in given["Action"]]}
            if given["Effect"] == effect and fits(lower, action.lower(), resource):
                decision = answer
    return decision


def by_the_first_that_fits(statements, action, resource):
    for given in statements:
        if fits(given, action, resource):
            return "allowed" if given["Effect"] == "Allow" else "explicitDeny"
    return "implicitDeny"


def by_the_last_that_fits(statements, action, resource):
    return by_the_first_that_fits(statements[::-1], action, resource)


def without_stars(statements, action, resource):
    effects = [given["Effect"] for given in statements if fits(given, action, resource, match=str.__eq__)]
    return "explicitDeny" if "Deny" in effects else "allowed" if effects else "implicitDeny"


def by_the_first_of_each_list(statements, action, resource):
    return in_one_go([{key: each[:1] if key != "Effect" else each for key, each in given.items()}
                      for given in statements], action, resource)  # fmt: skip


def with_lists_in_one_heap(statements, action, resource):
    heaps = {}
    for given in statements:
        heap = heaps.setdefault(given["Effect"], {"Effect": given["Effect"], "Action": [], "Resource": []})
        heap["Action"], heap["Resource"] = heap["Action"] + given["Action"], heap["Resource"] + given["Resource"]
    return in_one_go(list(heaps.values()), action, resource)


@pytest.mark.parametrize(("decide", "sentence"), [
    (in_one_go, ""),
    (by_two_loops, ""),
    (by_the_first_that_fits, "a Deny after an Allow"),
    (by_the_last_that_fits, "a Deny before an Allow"),
    (without_stars, "a star in both"),
    (by_the_first_of_each_list, "the second action, the second thing"),
    (with_lists_in_one_heap, "an action of one, a thing of the other"),
    (lambda statements, action, resource: None, "no statement at all"),
    (lambda statements, action, resource: statements[0]["Effect"], "it ended with IndexError"),
])  # fmt: skip
def test_how_iam_decides(decide, sentence):
    judge(None, building.check_decide, decide, sentence)
