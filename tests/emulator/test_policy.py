"""The local cloud under a policy: what it does not allow is refused, also what AWS asks beside a call's own action."""

import json
from contextlib import suppress

import pytest
from botocore.exceptions import ClientError

from chatlab import permissions
from tests.support.labs import lab_in
from tests.support.strangers import (
    TRUST,
    as_list,
    make_budget,
    make_event_api,
    make_log_groups,
    make_role,
    make_schedule_group,
)

EMPTY_ZIP = b"PK\x05\x06" + bytes(18)  # the end of an archive's directory, which has no entries


@pytest.fixture(scope="module")
def restricted(tmp_path_factory):
    """A lab under its own policy, and a function that returns what it was asked for."""
    folder = tmp_path_factory.mktemp("restricted")
    (folder / "policy.json").write_text(json.dumps(permissions.policy()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_POLICY", str(folder / "policy.json"))
        patch.setenv("CHATLAB_RECORD", str(folder / "asked"))
        with lab_in(folder / "home") as lab:
            yield lab, lambda: [json.loads(line) for line in (folder / "asked").read_text().splitlines()]


@pytest.fixture
def lab(restricted):
    return restricted[0]


def code(error):
    return error.value.response["Error"]["Code"]


def create_table(lab, name):
    lab.client("dynamodb").create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=lab.tag_list,
    )


def test_only_the_labs_own_names_and_services_can_be_used(lab):
    create_table(lab, lab.table)
    with pytest.raises(ClientError) as error:
        create_table(lab, "somebody-elses")
    assert code(error) == "AccessDeniedException"
    with pytest.raises(ClientError) as error:
        lab.client("sqs").create_queue(QueueName="chat")
    assert code(error) == "AccessDenied"


def test_an_api_without_the_labs_tag_is_not_deleted(lab):
    gateway = lab.client("apigatewayv2")
    common = {"Name": "any", "ProtocolType": "WEBSOCKET", "RouteSelectionExpression": "$request.body.action"}
    own, foreign = (gateway.create_api(**common, Tags=tags)["ApiId"] for tags in (lab.tags, {"chatlab": "another"}))
    gateway.delete_api(ApiId=own)
    with pytest.raises(ClientError) as error:
        gateway.delete_api(ApiId=foreign)
    assert code(error) == "AccessDeniedException"
    assert gateway.get_api(ApiId=foreign)


def make_a_role(lab, tags):
    lab.client("iam").create_role(RoleName=lab.role, AssumeRolePolicyDocument=json.dumps(TRUST), Tags=as_list(tags))


def make_a_function(lab, tags):
    with suppress(ClientError):  # it is there
        make_a_role(lab, lab.tags)
    create_function(lab, tags)


def delete_event_api(lab):
    appsync = lab.client("appsync")
    appsync.delete_api(apiId=appsync.list_apis()["apis"][0]["apiId"])


TAGGED = {
    "role": (make_a_role, lambda lab: lab.client("iam").delete_role(RoleName=lab.role)),
    "function": (
        make_a_function,
        lambda lab: lab.client("lambda").delete_function(FunctionName=lab.functions["connect"]),
    ),
    "log group": (
        lambda lab, tags: lab.client("logs").create_log_group(logGroupName=lab.log_groups["connect"], tags=tags),
        lambda lab: lab.client("logs").delete_log_group(logGroupName=lab.log_groups["connect"]),
    ),
    "event api": (make_event_api, delete_event_api),
    "schedule group": (
        lambda lab, tags: lab.client("scheduler").create_schedule_group(Name=lab.switch, Tags=as_list(tags)),
        lambda lab: lab.client("scheduler").delete_schedule_group(Name=lab.switch),
    ),
}
"""How to make, and to delete, what has the lab's name."""


@pytest.mark.parametrize(("make", "delete"), TAGGED.values(), ids=TAGGED)
def test_what_has_the_labs_name_and_not_its_tag_is_not_deleted(lab, make, delete):
    make(lab, lab.tags)
    delete(lab)
    make(lab, {"chatlab": "another"})
    with pytest.raises(ClientError) as error:
        delete(lab)
    assert code(error) in ("AccessDenied", "AccessDeniedException")


@pytest.mark.parametrize(
    ("name", "answers"),
    [("chat-load-test", ["InvalidParameterException", ""]), ("somebody-elses", ["AccessDeniedException"] * 2)],
)
def test_a_load_test_stops_and_removes_its_own_tasks_and_cluster_alone(lab, name, answers):
    ecs, found = lab.client("ecs"), []
    if name == lab.load_test:
        create_cluster(lab)
    for call in (
        lambda: ecs.stop_task(cluster=name, task=lab.arn("ecs", f"task/{name}/1")),
        lambda: ecs.delete_cluster(cluster=name),
    ):
        try:
            call()
            found.append("")
        except ClientError as error:
            found.append(error.response["Error"]["Code"])
    assert found == answers


def test_a_security_group_without_the_labs_tag_is_not_deleted(lab):
    ec2 = lab.client("ec2")
    create_security_group(lab, {"chatlab": "another"})
    named = [{"Name": "group-name", "Values": [lab.load_test]}]
    (group,) = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    with pytest.raises(ClientError) as error:
        ec2.delete_security_group(GroupId=group["GroupId"])
    assert code(error) == "UnauthorizedOperation"


def test_anothers_api_and_its_stage_are_not_changed(lab):
    gateway = lab.client("apigatewayv2")
    common = {"Name": "any", "ProtocolType": "WEBSOCKET", "RouteSelectionExpression": "$request.body.action"}
    api = gateway.create_api(**common, Tags={"chatlab": "another"})["ApiId"]
    stage = {"ApiId": api, "StageName": "production"}
    gateway.create_stage(**stage, Tags={"chatlab": "another"})  # what is below an API has none of its tags
    for change in (lambda: gateway.update_api(ApiId=api, Name="mine"), lambda: gateway.update_stage(**stage)):
        with pytest.raises(ClientError) as error:
            change()
        assert code(error) == "AccessDeniedException"


def test_each_question_is_written_down_once(restricted):
    lab, asked = restricted
    for _ in range(2):
        lab.client("dynamodb").list_tables()
        with pytest.raises(ClientError):
            lab.client("dynamodb").delete_table(TableName="any")
    assert asked().count({"action": "dynamodb:ListTables", "resource": "*", "allowed": True}) == 1
    (question,) = (question for question in asked() if question["action"] == "dynamodb:DeleteTable")
    assert question["resource"].endswith(":table/any") and not question["allowed"]


def create_function(lab, tags=None):
    lab.client("lambda").create_function(
        FunctionName=lab.functions["connect"],
        Code={"ZipFile": EMPTY_ZIP},
        Role=f"arn:aws:iam::{lab.account_id}:role/{lab.role}",
        Handler="h.h",
        Runtime="python3.13",
        Tags=tags or lab.tags,
    )


def create_bucket(lab):
    lab.client("s3").create_bucket(
        Bucket=lab.bucket, CreateBucketConfiguration={"LocationConstraint": lab.region, "Tags": lab.tag_list}
    )


def create_stage(lab):
    lab.client("apigatewayv2").create_stage(ApiId="any", StageName="production", Tags=lab.tags)


def get_quota(lab):
    lab.client("service-quotas").get_service_quota(ServiceCode="apigateway", QuotaCode="L-9ED1E49A")


def create_cluster(lab):
    lab.client("ecs").create_cluster(clusterName=lab.load_test, tags=[{"key": "chatlab", "value": lab.name}])


def create_security_group(lab, tags=None):
    vpc = lab.client("ec2").describe_subnets()["Subnets"][0]["VpcId"]
    specification = {"ResourceType": "security-group", "Tags": as_list(tags or lab.tags)}
    lab.client("ec2").create_security_group(
        GroupName=lab.load_test, Description="any", VpcId=vpc, TagSpecifications=[specification]
    )


ASKED_BESIDE = {
    "ecs:TagResource": create_cluster,
    "iam:CreateServiceLinkedRole": create_cluster,
    "ec2:CreateTags": create_security_group,
    "dynamodb:TagResource": lambda lab: create_table(lab, lab.table),
    "iam:TagRole": lambda lab: make_role(lab, lab.tags),
    "iam:PassRole": create_function,
    "lambda:TagResource": create_function,
    "logs:TagResource": lambda lab: make_log_groups(lab, lab.tags),
    "apigateway:TagResource": create_stage,
    "s3:TagResource": create_bucket,
    "servicequotas:GetServiceQuota": get_quota,
    "budgets:TagResource": lambda lab: make_budget(lab, lab.tags),
    "scheduler:TagResource": lambda lab: make_schedule_group(lab, lab.tags),
    "lambda:GetAccountSettings": lambda lab: lab.client("lambda").get_account_settings(),
}


@pytest.fixture(scope="module")
def administrator(tmp_path_factory):
    """A lab whose user may do everything, but can be forbidden something."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CHATLAB_POLICY", "CHATLAB_RECORD"):
            patch.delenv(name, raising=False)
        with lab_in(tmp_path_factory.mktemp("administrator") / "home") as lab:
            yield lab


@pytest.mark.parametrize(("action", "call"), ASKED_BESIDE.items(), ids=ASKED_BESIDE)
def test_what_aws_asks_beside_a_calls_own_action_is_asked_too(administrator, action, call):
    iam, user = administrator.client("iam"), {"UserName": "learner", "PolicyName": "all but one"}
    but = {"Effect": "Deny", "Action": action, "Resource": "*"}
    iam.put_user_policy(**user, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [but]}))
    try:
        with pytest.raises(ClientError, match=f"not authorized to perform: {action} on resource: ") as error:
            call(administrator)
    finally:
        iam.delete_user_policy(**user)
    assert code(error) in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
