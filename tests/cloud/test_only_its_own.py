"""What has the lab's name but not its tags is somebody else's: it is the same afterwards, whatever is run."""

import io
import json
import zipfile

import pytest

from chatlab import Lab, LabError, list_resources
from chatlab.errors import NotOurs
from chatlab.names import STAGE
from chatlab.notebooks import BUILD, TEARDOWN
from tests.support.cells import creating, run_cells
from tests.support.labs import lab_in

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A local cloud for all cases, each of which has a lab of its own name in it."""
    with lab_in(tmp_path_factory.mktemp("cloud")) as lab:
        yield lab


def as_list(tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def make_table(lab, tags):
    dynamodb = lab.client("dynamodb")
    dynamodb.create_table(
        TableName=lab.table,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=as_list(tags),
    )
    dynamodb.put_item(TableName=lab.table, Item={"id": {"S": "somebody's"}})


def describe_table(lab):
    dynamodb = lab.client("dynamodb")
    table = dynamodb.describe_table(TableName=lab.table)
    return [
        table,
        dynamodb.list_tags_of_resource(ResourceArn=table["Table"]["TableArn"]),
        dynamodb.describe_time_to_live(TableName=lab.table),
        dynamodb.scan(TableName=lab.table),
    ]


def make_role(lab, tags, name=None):
    iam, name = lab.client("iam"), {"RoleName": name or lab.role}
    iam.create_role(AssumeRolePolicyDocument=json.dumps(TRUST), Tags=as_list(tags), **name)
    theirs = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sns:Publish", "Resource": "*"}]}
    iam.put_role_policy(PolicyName="theirs", PolicyDocument=json.dumps(theirs), **name)
    iam.attach_role_policy(PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess", **name)


def describe_role(lab, name=None):
    iam, name = lab.client("iam"), {"RoleName": name or lab.role}
    policies = iam.list_role_policies(**name)
    return [
        iam.get_role(**name), iam.list_role_tags(**name), policies, iam.list_attached_role_policies(**name),
        [iam.get_role_policy(PolicyName=policy, **name) for policy in policies["PolicyNames"]],
    ]  # fmt: skip


def make_functions(lab, tags):
    iam, functions = lab.client("iam"), lab.client("lambda")
    role = iam.create_role(RoleName=f"theirs-{lab.name}", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("theirs.py", "def handler(event, context): return 'theirs'")
    for function in lab.functions.values():
        functions.create_function(
            FunctionName=function, Runtime="python3.13", Role=role["Arn"], Handler="theirs.handler",
            Code={"ZipFile": package.getvalue()}, Tags=tags,
        )  # fmt: skip
        functions.get_waiter("function_active_v2").wait(FunctionName=function)
        functions.add_permission(
            FunctionName=function, StatementId="websocket-api", Action="lambda:InvokeFunction",
            Principal="apigateway.amazonaws.com", SourceArn="arn:aws:execute-api:us-east-1:000000000000:theirs/*",
        )  # fmt: skip


def describe_functions(lab):
    functions = lab.client("lambda")
    found = []
    for function in lab.functions.values():
        description = functions.get_function(FunctionName=function)
        description.pop("Code")  # an address that is signed anew each time
        found += [description, functions.get_policy(FunctionName=function)]
        found += [functions.list_function_event_invoke_configs(FunctionName=function)]
    return found


def make_log_groups(lab, tags):
    logs = lab.client("logs")
    for group in lab.log_groups.values():
        logs.create_log_group(logGroupName=group, **({"tags": tags} if tags else {}))
        logs.create_log_stream(logGroupName=group, logStreamName="theirs")
        event = {"timestamp": 1_764_000_000_000, "message": "somebody's"}
        logs.put_log_events(logGroupName=group, logStreamName="theirs", logEvents=[event])


def describe_log_groups(lab):
    logs, found = lab.client("logs"), []
    for group in lab.log_groups.values():
        arn = lab.arn("logs", f"log-group:{group}")
        found += [logs.describe_log_groups(logGroupNamePrefix=group), logs.list_tags_for_resource(resourceArn=arn)]
        found += [logs.get_log_events(logGroupName=group, logStreamName="theirs")["events"]]
    return found


def make_api(lab, tags):
    gateway = lab.client("apigatewayv2")
    expression = {"RouteSelectionExpression": "$request.body.theirs"}
    api_id = gateway.create_api(Name=lab.api, ProtocolType="WEBSOCKET", Tags=tags, **expression)["ApiId"]
    gateway.create_route(ApiId=api_id, RouteKey="$default")
    gateway.create_stage(ApiId=api_id, StageName=STAGE, Tags=tags, AutoDeploy=True)


def describe_api(lab):
    gateway = lab.client("apigatewayv2")
    (theirs,) = (
        api for api in gateway.get_apis()["Items"] if api["RouteSelectionExpression"] == "$request.body.theirs"
        and api["Name"] == lab.api
    )  # fmt: skip
    api_id = {"ApiId": theirs["ApiId"]}
    return [theirs, gateway.get_routes(**api_id), gateway.get_integrations(**api_id), gateway.get_stages(**api_id)]


def make_bucket(lab, tags):
    s3 = lab.client("s3")
    s3.create_bucket(Bucket=lab.bucket)
    if tags:
        s3.put_bucket_tagging(Bucket=lab.bucket, Tagging={"TagSet": as_list(tags)})
    s3.put_object(Bucket=lab.bucket, Key="index.html", Body=b"somebody's")


def describe_bucket(lab):
    s3 = lab.client("s3")

    def said(operation, **arguments):
        try:
            return getattr(s3, operation)(Bucket=lab.bucket, **arguments)
        except s3.exceptions.ClientError as error:
            return error.response["Error"]["Code"]

    return [
        *(said(f"get_bucket_{part}") for part in ("tagging", "policy", "website", "versioning", "ownership_controls")),
        said("get_public_access_block"), said("list_objects_v2"), s3.list_buckets()["Buckets"],
        s3.get_object(Bucket=lab.bucket, Key="index.html")["Body"].read(),
    ]  # fmt: skip


def make_schedule_group(lab, tags):
    scheduler = lab.client("scheduler")
    scheduler.create_schedule_group(Name=lab.switch, Tags=as_list(tags))
    scheduler.create_schedule(
        Name="remove-the-stage", GroupName=lab.switch, ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:sqs:us-east-1:000000000000:theirs", "RoleArn": "arn:aws:iam::000000000000:role/theirs"},
    )  # fmt: skip


def describe_schedule_group(lab):
    scheduler, name = lab.client("scheduler"), {"Name": lab.switch}
    group = scheduler.get_schedule_group(**name)
    schedule = scheduler.get_schedule(Name="remove-the-stage", GroupName=lab.switch)
    return [group, scheduler.list_tags_for_resource(ResourceArn=group["Arn"]), schedule]


def make_budget(lab, tags):
    budget = {
        "BudgetName": lab.alarm, "BudgetType": "COST", "TimeUnit": "ANNUALLY",
        "BudgetLimit": {"Amount": "7", "Unit": "USD"},
    }  # fmt: skip
    lab.client("budgets").create_budget(AccountId=lab.account_id, Budget=budget, ResourceTags=as_list(tags))


def describe_budget(lab):
    budgets, arn = lab.client("budgets"), f"arn:aws:budgets::{lab.account_id}:budget/{lab.alarm}"
    return [
        budgets.describe_budget(AccountId=lab.account_id, BudgetName=lab.alarm)["Budget"],
        budgets.list_tags_for_resource(ResourceARN=arn),
    ]


KINDS = {
    "table": (make_table, describe_table),
    "role": (make_role, describe_role),
    "functions": (make_functions, describe_functions),
    "log-groups": (make_log_groups, describe_log_groups),
    "api": (make_api, describe_api),
    "bucket": (make_bucket, describe_bucket),
    "schedules": (make_schedule_group, describe_schedule_group),
    "budget": (make_budget, describe_budget),
    "switch-role": (
        lambda lab, tags: make_role(lab, tags, lab.switch_role),
        lambda lab: describe_role(lab, lab.switch_role),
    ),
}
STOPS_AT = {
    "table": "01_dynamodb_table", "role": "02_iam_role", "functions": "03_lambda_functions",
    "log-groups": "03_lambda_functions", "bucket": "05_frontend_on_s3", "schedules": "04_websocket_api",
    "switch-role": "04_websocket_api",
}  # fmt: skip


def plain(description):
    """Without what is the answer's and not the thing's."""
    if isinstance(description, dict):
        return {key: plain(value) for key, value in description.items() if key != "ResponseMetadata"}
    return [plain(part) for part in description] if isinstance(description, list) else description


TAGS = {"untagged": {}, "tagged": {"chatlab": "theirs"}}
HAS_NO_TAGS = {"api", "bucket", "functions"}
"""Kinds of which AWS says in another way that there are no tags than that they are none."""


def case(kind, word):
    """A kind with or without tags. The one of the two that says more is in `make test`."""
    says_more = word == ("untagged" if kind in HAS_NO_TAGS else "tagged")
    return pytest.param(kind, TAGS[word], id=f"{kind}-{word}", marks=[] if says_more else pytest.mark.long)


def build(check):
    """Run what the notebooks create, each by itself; which errors stopped which. Afterwards `check` each."""
    stopped = {}
    for name in BUILD[1:]:
        try:
            run_cells(name, creating(name))
        except LabError as error:
            stopped[name] = error
        check(name)
    return stopped


@pytest.mark.parametrize(("kind", "tags"), [case(kind, word) for kind in KINDS for word in TAGS])
def test_a_strangers_thing_of_the_labs_name_is_the_same_afterwards(cloud, kind, tags):
    make, describe = KINDS[kind]
    lab = Lab.choose("local", f"{kind}-{'b' if tags else 'a'}", hours=8)
    make(lab, tags)
    before = plain(describe(lab))

    def is_unchanged(name):
        assert plain(describe(lab)) == before, f"{name} changed it"

    stopped = build(is_unchanged)
    if kind in ("api", "budget"):  # an API's name need not be unique, so there are two now; a budget is notebook 00's
        assert not stopped
    else:
        first = next(iter(stopped))
        assert first == STOPS_AT[kind]
        assert isinstance(stopped[first], NotOurs) and "it is not this lab's" in str(stopped[first])
    said = run_cells(TEARDOWN)
    assert kind == "api" or "Left alone, because it is not this lab's: " in said
    is_unchanged(TEARDOWN)
    assert list_resources(lab).empty


@pytest.mark.parametrize("word", TAGS)
def test_where_all_is_a_strangers_nothing_is_made_and_nothing_changed(cloud, word):
    lab = Lab.choose("local", f"all-{word}", hours=8)
    for make, _ in KINDS.values():
        make(lab, TAGS[word])

    def all_of_it():
        return {kind: plain(describe(lab)) for kind, (_, describe) in KINDS.items()}

    before = all_of_it()

    def is_unchanged(name):
        assert all_of_it() == before, f"{name} changed something"

    stopped = build(is_unchanged)
    assert list(stopped) == BUILD[1:]
    assert all(isinstance(error, NotOurs) for error in stopped.values())
    assert run_cells(TEARDOWN).count("Left alone, because it is not this lab's: ") == 12
    is_unchanged(TEARDOWN)
    assert list_resources(lab).empty


def test_a_notebook_names_the_one_whose_part_it_stands_on(cloud):
    lab = Lab.choose("local", "parts")
    for name, sentence in [
        ("03_lambda_functions", "There is no table parts yet: run notebook 01_dynamodb_table first."),
        ("04_websocket_api", "There is no table parts yet: run notebook 01_dynamodb_table first."),
        (
            "05_frontend_on_s3",
            "Not all of the functions parts-connect, parts-default, parts-disconnect are there yet: run notebook "
            "03_lambda_functions first.",
        ),
    ]:
        with pytest.raises(LabError) as error:
            run_cells(name)
        assert str(error.value) == sentence
    assert list_resources(lab).empty
    run_cells("01_dynamodb_table")
    with pytest.raises(LabError, match=rf"There is no role {lab.role} yet: run notebook 02_iam_role first\."):
        run_cells("03_lambda_functions")
    run_cells("02_iam_role")
    with pytest.raises(
        LabError, match="Not all of the functions parts-connect, parts-default, parts-disconnect are there"
    ):
        run_cells("04_websocket_api")
