"""What the notebooks have deployed: the code of `lambdas/`, and a role that needs each of its actions.

Without any one action, something stops working. Logs are the exception: the local cloud writes them without the role's
permission, which Lambda needs, so only the policy simulator is asked about them.
"""

import json
import select
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import boto3
import pytest
import websocket
from botocore.exceptions import ClientError

from benchmarks import broadcasts
from chatlab import LabError, cost, packages
from chatlab.lab import STAGE
from chatlab.packages import require_deployed
from tests.support.cells import written
from tests.support.chat import heard, ids, people, put_items, say
from tests.support.labs import sharding
from tests.support.policies import complaints

# --- the code --------------------------------------------------------------------------------------------------------

PEOPLE = 30  # with one chance in 200,000, nobody is in the first of three shards


@pytest.fixture(scope="module")
def sockets(chat):
    """People who stay."""
    with people(chat, PEOPLE) as sockets:
        yield sockets


def test_notebook_03_deploys_the_fast_broadcast_whose_log_line_has_the_metrics_that_are_paid_for(chat, sockets):
    assert require_deployed(chat) == "lambda_broadcast.handler"
    log = say(chat, "hello")
    assert heard(sockets) == ["hello"] * PEOPLE
    outcomes = (log["connections"], log["delivered"], log["gone"], log["failed"], log["shards"])
    assert outcomes == (PEOPLE, PEOPLE, 0, 0, 1)
    assert len(log["_aws"]["CloudWatchMetrics"][0]["Metrics"]) == cost.METRICS


def test_a_split_broadcast_reaches_everyone_once(chat, sockets):
    with sharding(chat, shards=3, above=0):
        assert say(chat, "hello")["shards"] == 3
        assert heard(sockets) == ["hello"] * PEOPLE
        for text in ("and over the socket", "and no copy before this"):
            sockets[0].send(text)
            assert heard(sockets) == [text] * PEOPLE


@pytest.mark.parametrize("variant", ["sequential", "ceiling"])
def test_another_broadcast_reaches_everyone_and_code_that_is_not_the_labs_is_found(chat, sockets, variant):
    broadcasts.deploy(chat, variant)
    try:
        log = say(chat, variant)
        assert (heard(sockets), log["delivered"]) == ([variant] * PEOPLE, PEOPLE)
        if variant == "sequential":
            assert require_deployed(chat) == "lambda_default.handler"
        else:
            with pytest.raises(LabError, match=r"^The function chat-default runs other code .* Run notebook 03_"):
                require_deployed(chat)
    finally:
        broadcasts.deploy(chat, "fanout")


@pytest.mark.parametrize("module", ["lambda_threads", "lambda_kept"])
def test_each_step_of_notebook_07_reaches_everyone_and_forgets_who_is_gone(chat, sockets, module):
    files = packages.read_files(*packages.PARTS["default"])
    files[f"{module}.py"] = written("07_faster")[f"{module}.py"].encode()
    packages.deploy(chat, "default", packages.build_zip(files), f"{module}.handler")
    try:
        put_items(chat, ["gone-long-ago"])
        log = say(chat, "hello")
        assert heard(sockets) == ["hello"] * PEOPLE
        assert [log[name] for name in ("connections", "delivered", "gone", "failed")] == [PEOPLE + 1, PEOPLE, 1, 0]
        assert "gone-long-ago" not in ids(chat)
        for number in range(3):  # over the connections that are kept
            sockets[0].send(f"again {number}")
            assert heard(sockets) == [f"again {number}"] * PEOPLE
    finally:
        broadcasts.deploy(chat, "fanout")


# --- the role --------------------------------------------------------------------------------------------------------

LOGS = ["logs:CreateLogStream", "logs:PutLogEvents"]
# The lab's services: IAM's name of each, and boto3's.
SERVICES = {
    "dynamodb": "dynamodb", "execute-api": "apigatewaymanagementapi", "lambda": "lambda", "logs": "logs",
    "apigateway": "apigatewayv2", "iam": "iam", "s3": "s3", "sts": "sts", "scheduler": "scheduler",
    "cloudwatch": "cloudwatch", "secretsmanager": "secretsmanager",
}  # fmt: skip


def policies(lab):
    """The role's statements by the policy's name. The role has only inline policies, of one statement each."""
    iam = lab.client("iam")
    assert iam.list_attached_role_policies(RoleName=lab.role)["AttachedPolicies"] == []
    found = {}
    for name in iam.list_role_policies(RoleName=lab.role)["PolicyNames"]:
        (found[name],) = iam.get_role_policy(RoleName=lab.role, PolicyName=name)["PolicyDocument"]["Statement"]
    return found


def listed(value):
    return [value] if isinstance(value, str) else value


def permissions(lab):
    """All that the role may do, as pairs of an action and a resource."""
    return {
        (action, resource)
        for statement in policies(lab).values()
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


@contextmanager
def without(lab, action, once=lambda: None):
    """The role without one action, from the moment at which `once` returns."""
    iam = lab.client("iam")
    ((name, statement),) = ((n, s) for n, s in policies(lab).items() if action in listed(s["Action"]))

    def put(actions):
        policy = {"Version": "2012-10-17", "Statement": [statement | {"Action": actions}]}
        iam.put_role_policy(RoleName=lab.role, PolicyName=name, PolicyDocument=json.dumps(policy))

    answer = once()
    put([other for other in listed(statement["Action"]) if other != action] or ["none:None"])
    try:
        yield answer
    finally:
        put(statement["Action"])


def one_can_connect(lab):
    try:
        with people(lab, 1):
            return True
    except websocket.WebSocketBadStatusException as refused:
        return refused.status_code != 500


def an_item_is_deleted(lab):
    put_items(lab, ["leaving"])
    event = {"requestContext": {"connectionId": "leaving", "routeKey": "$disconnect"}}
    lab.client("lambda").invoke(FunctionName=lab.functions["disconnect"], Payload=json.dumps(event))
    return "leaving" not in ids(lab)


def somebody_is_heard(lab):
    with people(lab, 1) as (ada,):
        is_delivered = say(lab, "hello?").get("delivered")
        ada.settimeout(10 if is_delivered else 0.2)
        try:
            return ada.recv() == "hello?"
        except websocket.WebSocketTimeoutException:
            return False


def a_large_broadcast_is_split(lab):
    put_items(lab, [f"of-many-{number}" for number in range(30)])
    with sharding(lab, shards=3, above=5):
        return say(lab, "hello")["shards"] == 3


NEEDED = {
    "dynamodb:PutItem": one_can_connect,
    "dynamodb:DeleteItem": an_item_is_deleted,
    "dynamodb:Scan": somebody_is_heard,
    "execute-api:ManageConnections": somebody_is_heard,
    "lambda:InvokeFunction": a_large_broadcast_is_split,
}


@pytest.mark.parametrize(("action", "works"), NEEDED.items(), ids=NEEDED)
def test_without_an_action_something_stops_working(chat, action, works):
    with without(chat, action):
        assert not works(chat)
    assert works(chat)


def test_a_permission_that_is_taken_away_in_the_middle_of_a_broadcast_is_missing_from_the_next_post_on(chat):
    def begin():
        saying = pool.submit(say, chat, "to some")
        select.select(everybody, [], [], 20)  # somebody hears it
        return saying

    broadcasts.deploy(chat, "sequential")
    try:
        with people(chat, PEOPLE) as everybody, ThreadPoolExecutor(1) as pool:
            with without(chat, "execute-api:ManageConnections", begin) as saying:
                log = saying.result()
            some = select.select(everybody, [], [], 0)[0]
            assert 0 < len(some) < PEOPLE and heard(some) == ["to some"] * len(some)
    finally:
        broadcasts.deploy(chat, "fanout")
    assert log["failed"] and "is not authorized to perform: execute-api:ManageConnections" in log["error"]


def test_the_role_has_no_action_that_is_not_needed(chat):
    """Each is tried above, or Lambda writes the function's logs with it."""
    assert {action for action, _ in permissions(chat)} == {*NEEDED, *LOGS}


def decisions(lab, actions, *resources):
    """The pairs of an action and a resource that the policy simulator allows the role."""
    iam = lab.client("iam")
    role = iam.get_role(RoleName=lab.role)["Role"]["Arn"]
    results = [
        result
        for resource in resources
        for page in iam.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=role, ActionNames=actions, ResourceArns=[resource]
        )
        for result in page["EvaluationResults"]
    ]
    assert len(results) == len(actions) * len(resources)
    return {(r["EvalActionName"], r["EvalResourceName"]) for r in results if r["EvalDecision"] == "allowed"}


def test_the_role_may_do_nothing_else_with_what_is_the_labs(chat):
    """All operations of the services, on each of the things that the role may use."""
    session = boto3.Session(region_name=chat.region)
    asked = [
        f"{prefix}:{operation}"
        for prefix, service in SERVICES.items()
        for operation in session.client(service, endpoint_url="http://127.0.0.1:9").meta.service_model.operation_names
    ]
    asked += [f"apigateway:{method}" for method in ("GET", "POST", "PUT", "PATCH", "DELETE")]
    mine = {(action, resource.replace("*", "any")) for action, resource in permissions(chat)}
    asked = sorted({*asked, *(action for action, _ in mine), "execute-api:Invoke", "iam:PassRole"})
    assert len(asked) > 500
    assert decisions(chat, asked, *sorted({resource for _, resource in mine})) == mine


def test_the_role_may_do_nothing_with_what_is_beside(chat):
    api = chat.require_api()
    actions = sorted({action for action, _ in permissions(chat)})
    beside = [
        "*",
        chat.arn("dynamodb", f"table/{chat.table}-2"),
        chat.arn("dynamodb", f"table/{chat.table}/index/any"),
        chat.arn("lambda", f"function:{chat.functions['connect']}"),
        chat.arn("lambda", f"function:{chat.functions['disconnect']}"),
        chat.arn("lambda", f"function:{chat.functions['default']}-2"),
        chat.arn("execute-api", f"{api}/{STAGE}/PUT/@connections/any"),
        chat.arn("execute-api", f"{api}/{STAGE}/GET/@connections/any"),
        chat.arn("execute-api", f"{api}/another/POST/@connections/any"),
        chat.arn("execute-api", f"another/{STAGE}/POST/@connections/any"),
        chat.arn("logs", f"log-group:{chat.log_groups['default']}-2:log-stream:any"),
        *(f"arn:aws:{service}:eu-west-3:{chat.account_id}:{name}" for service, name in [
            ("dynamodb", f"table/{chat.table}"), ("lambda", f"function:{chat.functions['default']}"),
        ]),
    ]  # fmt: skip
    assert decisions(chat, actions, *beside) == set()


def test_a_linter_has_nothing_against_its_policies(chat):
    role = chat.client("iam").get_role(RoleName=chat.role)["Role"]
    assert complaints("trust", role["AssumeRolePolicyDocument"]) == []
    statements = list(policies(chat).values())  # all in one document, since the linter is slow
    assert complaints("identity", {"Version": "2012-10-17", "Statement": statements}) == []


def test_only_lambda_may_put_the_role_on(chat):
    role = chat.client("iam").get_role(RoleName=chat.role)["Role"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    with pytest.raises(ClientError, match="not authorized to perform: sts:AssumeRole"):
        chat.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="mine")
