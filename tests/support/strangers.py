"""Things of somebody else's that have the lab's name: how each kind is made, and all that can be told of it."""

import io
import json
import zipfile

from chatlab.lab import STAGE

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


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
        soon = {"Delay": 0.02, "MaxAttempts": 500}
        functions.get_waiter("function_active_v2").wait(FunctionName=function, WaiterConfig=soon)
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


def plain(description):
    """Without what is the answer's and not the thing's."""
    if isinstance(description, dict):
        return {key: plain(value) for key, value in description.items() if key != "ResponseMetadata"}
    return [plain(part) for part in description] if isinstance(description, list) else description
