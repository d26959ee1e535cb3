"""Things of somebody else's that have the lab's name: how each kind is made, and all that AWS says of it."""

import io
import json
import zipfile

from chatlab.lab import STAGE
from tests.support.events import CONFIG
from tests.support.tasks import define, run

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
THEIRS = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sns:Publish", "Resource": "*"}]}
EXPRESSION = "$request.body.theirs"


def as_list(tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def said(lab, service, *questions, **arguments):
    """What the service answers to each of these operations; for what a bucket does not have, the error's code."""
    client, answers = lab.client(service), []
    for question in questions:
        try:
            answers.append(getattr(client, question)(**arguments))
        except client.exceptions.ClientError as error:
            if service != "s3":
                raise
            answers.append(error.response["Error"]["Code"])
    return answers


def make_table(lab, tags):
    dynamodb = lab.client("dynamodb")
    dynamodb.create_table(
        TableName=lab.table, AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST", Tags=as_list(tags),
    )  # fmt: skip
    dynamodb.put_item(TableName=lab.table, Item={"id": {"S": "somebody's"}})


def describe_table(lab):
    arn = lab.arn("dynamodb", f"table/{lab.table}")
    about = said(lab, "dynamodb", "describe_table", "describe_time_to_live", "scan", TableName=lab.table)
    return [*about, *said(lab, "dynamodb", "list_tags_of_resource", ResourceArn=arn)]


def make_role(lab, tags, name=None):
    iam, name = lab.client("iam"), {"RoleName": name or lab.role}
    iam.create_role(AssumeRolePolicyDocument=json.dumps(TRUST), Tags=as_list(tags), **name)
    iam.put_role_policy(PolicyName="theirs", PolicyDocument=json.dumps(THEIRS), **name)
    iam.attach_role_policy(PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess", **name)


def describe_role(lab, name=None):
    name = {"RoleName": name or lab.role}
    about = said(lab, "iam", "get_role", "list_role_tags", "list_role_policies", "list_attached_role_policies", **name)
    return [*about, *said(lab, "iam", "get_role_policy", PolicyName="theirs", **name)]


def make_functions(lab, tags):
    functions = lab.client("lambda")
    role = lab.client("iam").create_role(RoleName=f"theirs-{lab.name}", AssumeRolePolicyDocument=json.dumps(TRUST))
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("theirs.py", "def handler(event, context): return 'theirs'")
    for function in lab.functions.values():
        functions.create_function(
            FunctionName=function, Runtime="python3.13", Role=role["Role"]["Arn"], Handler="theirs.handler",
            Code={"ZipFile": package.getvalue()}, Tags=tags,
        )  # fmt: skip
        soon = {"Delay": 0.02, "MaxAttempts": 500}
        functions.get_waiter("function_active_v2").wait(FunctionName=function, WaiterConfig=soon)
        functions.add_permission(
            FunctionName=function, StatementId="websocket-api", Action="lambda:InvokeFunction",
            Principal="apigateway.amazonaws.com", SourceArn="arn:aws:execute-api:us-east-1:000000000000:theirs/*",
        )  # fmt: skip


def describe_functions(lab):
    questions = "get_function", "get_policy", "list_function_event_invoke_configs"
    return [said(lab, "lambda", *questions, FunctionName=function) for function in lab.functions.values()]


def make_log_groups(lab, tags):
    logs = lab.client("logs")
    for group in lab.log_groups.values():
        logs.create_log_group(logGroupName=group, **({"tags": tags} if tags else {}))
        logs.create_log_stream(logGroupName=group, logStreamName="theirs")
        event = {"timestamp": 1_764_000_000_000, "message": "somebody's"}
        logs.put_log_events(logGroupName=group, logStreamName="theirs", logEvents=[event])


def describe_log_groups(lab):
    answers = []
    for group in lab.log_groups.values():
        answers += said(lab, "logs", "describe_log_groups", logGroupNamePrefix=group)
        answers += said(lab, "logs", "list_tags_for_resource", resourceArn=lab.arn("logs", f"log-group:{group}"))
        answers.append(lab.client("logs").get_log_events(logGroupName=group, logStreamName="theirs")["events"])
    return answers


def make_api(lab, tags):
    gateway = lab.client("apigatewayv2")
    theirs = {"Name": lab.api, "ProtocolType": "WEBSOCKET", "RouteSelectionExpression": EXPRESSION, "Tags": tags}
    api_id = gateway.create_api(**theirs)["ApiId"]
    gateway.create_route(ApiId=api_id, RouteKey="$default")
    gateway.create_stage(ApiId=api_id, StageName=STAGE, Tags=tags, AutoDeploy=True)


def describe_api(lab):
    apis = lab.client("apigatewayv2").get_apis()["Items"]
    (api,) = (api for api in apis if (api["Name"], api["RouteSelectionExpression"]) == (lab.api, EXPRESSION))
    return [api, *said(lab, "apigatewayv2", "get_routes", "get_integrations", "get_stages", ApiId=api["ApiId"])]


def make_bucket(lab, tags):
    s3 = lab.client("s3")
    s3.create_bucket(Bucket=lab.bucket)
    if tags:
        s3.put_bucket_tagging(Bucket=lab.bucket, Tagging={"TagSet": as_list(tags)})
    s3.put_object(Bucket=lab.bucket, Key="index.html", Body=b"somebody's")


def describe_bucket(lab):
    parts = (f"get_bucket_{part}" for part in ("tagging", "policy", "website", "versioning", "ownership_controls"))
    about = said(lab, "s3", *parts, "get_public_access_block", "list_objects_v2", Bucket=lab.bucket)
    s3 = lab.client("s3")
    return [*about, s3.list_buckets()["Buckets"], s3.get_object(Bucket=lab.bucket, Key="index.html")["Body"].read()]


def make_schedule_group(lab, tags):
    scheduler = lab.client("scheduler")
    scheduler.create_schedule_group(Name=lab.switch, Tags=as_list(tags))
    scheduler.create_schedule(
        Name="remove-the-stage", GroupName=lab.switch, ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:sqs:us-east-1:000000000000:theirs", "RoleArn": "arn:aws:iam::000000000000:role/theirs"},
    )  # fmt: skip


def describe_schedule_group(lab):
    (group,) = said(lab, "scheduler", "get_schedule_group", Name=lab.switch)
    tags = said(lab, "scheduler", "list_tags_for_resource", ResourceArn=group["Arn"])
    return [group, tags, said(lab, "scheduler", "get_schedule", Name="remove-the-stage", GroupName=lab.switch)]


def make_budget(lab, tags):
    limit = {"Amount": "7", "Unit": "USD"}
    budget = {"BudgetName": lab.alarm, "BudgetType": "COST", "TimeUnit": "ANNUALLY", "BudgetLimit": limit}
    lab.client("budgets").create_budget(AccountId=lab.account_id, Budget=budget, ResourceTags=as_list(tags))


def describe_budget(lab):
    arn = f"arn:aws:budgets::{lab.account_id}:budget/{lab.alarm}"
    budget = lab.client("budgets").describe_budget(AccountId=lab.account_id, BudgetName=lab.alarm)["Budget"]
    return [budget, *said(lab, "budgets", "list_tags_for_resource", ResourceARN=arn)]


def make_event_api(lab, tags):
    lab.client("appsync").create_api(name=lab.event_api, eventConfig=CONFIG, tags=tags)


def describe_event_api(lab):
    return said(lab, "appsync", "list_apis")


def make_load_test(lab, tags, running=False):
    """What notebook 10 makes, with two revisions of the definition; the ARN of a task, if one is to run."""
    ecs, ec2, lower = lab.client("ecs"), lab.client("ec2"), [{"key": key, "value": tags[key]} for key in tags]
    lab.client("s3").create_bucket(Bucket=lab.load_test_bucket)
    lab.client("s3").put_bucket_tagging(Bucket=lab.load_test_bucket, Tagging={"TagSet": as_list(tags)})
    lab.client("s3").put_object(Bucket=lab.load_test_bucket, Key="code.zip", Body=b"somebody's")
    ecs.create_cluster(clusterName=lab.load_test, tags=lower)
    definition = [define(lab, lower), define(lab, lower)][1]
    ecs.deregister_task_definition(taskDefinition=f"{lab.load_test}:1")
    group = ec2.create_security_group(
        GroupName=lab.load_test, Description="any", VpcId=ec2.describe_subnets()["Subnets"][0]["VpcId"],
        TagSpecifications=[{"ResourceType": "security-group", "Tags": as_list(tags)}],
    )["GroupId"]  # fmt: skip
    task = run(lab, definition, [group], tags=lower) if running else None
    if task:
        ecs.get_waiter("tasks_running").wait(cluster=lab.load_test, tasks=[task], WaiterConfig={"Delay": 0.1})
    return task


def describe_load_test(lab):
    s3, named = lab.client("s3"), [{"Name": "group-name", "Values": [lab.load_test]}]
    return [
        *said(lab, "ecs", "describe_clusters", clusters=[lab.load_test], include=["TAGS"]),
        *said(lab, "ecs", "describe_task_definition", taskDefinition=lab.load_test, include=["TAGS"]),
        *said(lab, "ecs", "list_task_definitions", familyPrefix=lab.load_test, status="INACTIVE"),
        *said(lab, "ec2", "describe_security_groups", Filters=named),
        s3.get_object(Bucket=lab.load_test_bucket, Key="code.zip")["Body"].read(),
    ]


KINDS = {
    "load-test": (make_load_test, describe_load_test),
    "table": (make_table, describe_table),
    "role": (make_role, describe_role),
    "functions": (make_functions, describe_functions),
    "log-groups": (make_log_groups, describe_log_groups),
    "api": (make_api, describe_api),
    "bucket": (make_bucket, describe_bucket),
    "event-api": (make_event_api, describe_event_api),
    "schedules": (make_schedule_group, describe_schedule_group),
    "budget": (make_budget, describe_budget),
    "switch-role": (
        lambda lab, tags: make_role(lab, tags, lab.switch_role),
        lambda lab: describe_role(lab, lab.switch_role),
    ),
}
OF_THE_ANSWER = ("ResponseMetadata", "Code")  # the second is a function's address, which is signed anew each time


def plain(description):
    """Without what is the answer's and not the thing's."""
    if isinstance(description, dict):
        return {key: plain(value) for key, value in description.items() if key not in OF_THE_ANSWER}
    return [plain(part) for part in description] if isinstance(description, list) else description
