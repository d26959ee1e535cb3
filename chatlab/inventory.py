"""What exists of a lab: ask AWS twice, by name and by tag, and remember nothing.

This is written apart from the teardown on purpose, so that it finds what the teardown forgets.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from chatlab.errors import ignore_denied, ignore_missing
from chatlab.lab import OWNER, Lab

COLUMNS = ["service", "kind", "id", "created"]

Resource = tuple[str, str, str, datetime | str | None]
"""Values of these columns; the last is None if the service does not say when."""


def list_resources(lab: Lab) -> pd.DataFrame:
    """A DataFrame of all that carries the lab's name and tags: `service`, `kind`, `id`, `created` (UTC, or missing).

    It looks for the name in the services' own lists, and then asks for the tags of each resource that has the name. A
    resource with the lab's name but somebody else's tags is left out: the notebooks do not touch it. So is one whose
    name only begins like the lab's, if you may not ask for its tags. Raises ClientError for one of exactly the lab's
    name: whether that is the lab's is not known.
    """
    finders = (_dynamodb, _iam, _lambda, _logs, _apigateway, _s3, _scheduler, _budgets, _appsync, _ecs, _ec2)
    found = [resource for find in finders for resource in find(lab)]
    table = pd.DataFrame(found, columns=COLUMNS)
    return table.assign(created=pd.to_datetime(table["created"], utc=True, format="mixed").dt.floor("s"))


def list_tagged_arns(lab: Lab) -> list[str]:
    """The ARNs of all that carries the lab's tags, of any name and service, from the tagging API: a second opinion.

    The tagging API lags behind, so the service of each resource is asked whether it exists. It knows no roles, which
    `list_resources` finds by their name:
    https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/supported-services.html
    """
    filters = [{"Key": key, "Values": [value]} for key, value in lab.own_tags.items()]
    return [arn for arn in sorted(_tagged(lab, filters)) if _exists(lab, arn)]


def list_labs(lab: Lab) -> list[tuple[str, bool]]:
    """The labs in this account and Region that have anything tagged, whatever machine they were made on.

    Of each the name, and whether it is a colleague's: two people's labs of one name are two.

    The tagging API may lag behind.
    """
    filters: list[dict[str, Any]] = [{"Key": "chatlab"}, {"Key": "chatlab-region", "Values": [lab.region]}]
    return sorted({(tags["chatlab"], tags.get(OWNER) != lab.owner) for tags in _tagged(lab, filters).values()})


def _tagged(lab: Lab, filters: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """By ARN, the tags of what the tagging API lists."""
    tagging = lab.client("resourcegroupstaggingapi")
    found = _items(tagging, "get_resources", "ResourceTagMappingList", TagFilters=filters)
    return {mapping["ResourceARN"]: {tag["Key"]: tag["Value"] for tag in mapping["Tags"]} for mapping in found}


def _items(client: Any, operation: str, key: str, **arguments: object) -> list[Any]:
    """All items of a list that AWS hands out in pages, which have them under `key`."""
    return [item for page in client.get_paginator(operation).paginate(**arguments) for item in page.get(key, [])]


def _exists(lab: Lab, arn: str) -> bool:
    """Whether it exists. If the lab does not use its service, or you may not ask, the tagging API is believed."""
    _, _, service, _, _, resource = arn.split(":", 5)
    name = resource.rpartition("/")[2]
    describe: dict[str, Callable[[], object]] = {
        "dynamodb": lambda: lab.client("dynamodb").describe_table(TableName=name),
        "lambda": lambda: lab.client("lambda").get_function(FunctionName=arn),
        "s3": lambda: lab.client("s3").head_bucket(Bucket=name),
        "apigateway": lambda: lab.client("apigatewayv2").get_api(ApiId=resource.split("/")[2]),
        "logs": lambda: lab.client("logs").list_tags_for_resource(resourceArn=arn.removesuffix(":*")),
        "scheduler": lambda: lab.client("scheduler").get_schedule_group(Name=name),
        "appsync": lambda: lab.client("appsync").get_api(apiId=resource.split("/")[1]),
        "budgets": lambda: lab.client("budgets").describe_budget(AccountId=lab.account_id, BudgetName=name),
        "ec2": lambda: lab.client("ec2").describe_security_groups(GroupIds=[name]),
        "ecs": lambda: _ecs_has(lab, arn, resource),
    }
    exists = False
    with ignore_missing():
        asked: object = True
        with ignore_denied():
            asked = describe.get(service, lambda: True)()
        exists = bool(asked)
    return exists


def _ignore_denied_of_others(lab: Lab, name: str) -> AbstractContextManager[None]:
    """Ignore that you may not ask about `name`, unless it is exactly a name of the lab's."""
    own = (lab.table, lab.role, *lab.functions.values())
    return nullcontext() if name in own else ignore_denied()


# Each yields the resources of one service.


def _dynamodb(lab: Lab) -> Iterator[Resource]:
    dynamodb = lab.client("dynamodb")
    for name in _items(dynamodb, "list_tables", "TableNames"):
        if name != lab.table and not name.startswith(f"{lab.name}-"):
            continue
        with ignore_missing(), _ignore_denied_of_others(lab, name):
            table = dynamodb.describe_table(TableName=name)["Table"]
            if lab.owns(dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"]).get("Tags", [])):
                yield "dynamodb", "table", name, table["CreationDateTime"]
                for index in table.get("GlobalSecondaryIndexes", []):
                    yield "dynamodb", "index", f"{name}/{index['IndexName']}", None


def _iam(lab: Lab) -> Iterator[Resource]:
    iam = lab.client("iam")
    for role in _items(iam, "list_roles", "Roles"):
        name = role["RoleName"]
        with ignore_missing(), _ignore_denied_of_others(lab, name):
            if name.startswith(f"{lab.name}-") and lab.owns(iam.list_role_tags(RoleName=name)["Tags"]):
                yield "iam", "role", name, role["CreateDate"]
                for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                    yield "iam", "role policy", f"{name}/{policy}", None
                for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
                    yield "iam", "attached policy", f"{name}/{attached['PolicyName']}", None


def _lambda(lab: Lab) -> Iterator[Resource]:
    functions = lab.client("lambda")
    for function in _items(functions, "list_functions", "Functions"):
        name, arn = function["FunctionName"], function["FunctionArn"]
        with ignore_missing(), _ignore_denied_of_others(lab, name):
            if name.startswith(f"{lab.name}-") and lab.owns(functions.list_tags(Resource=arn).get("Tags", {})):
                yield "lambda", "function", name, function["LastModified"]


def _logs(lab: Lab) -> Iterator[Resource]:
    logs = lab.client("logs")
    for name in lab.log_groups.values():
        arn = lab.arn("logs", f"log-group:{name}")
        for group in _items(logs, "describe_log_groups", "logGroups", logGroupNamePrefix=name):
            with ignore_missing():
                if group["logGroupName"] == name and lab.owns(logs.list_tags_for_resource(resourceArn=arn)["tags"]):
                    yield "logs", "log group", name, datetime.fromtimestamp(group["creationTime"] / 1000, UTC)


def _apigateway(lab: Lab) -> Iterator[Resource]:
    gateway = lab.client("apigatewayv2")
    for api in _items(gateway, "get_apis", "Items"):
        if not lab.owns(api.get("Tags", {})):
            continue
        api_id, keys = api["ApiId"], {"route": "RouteKey", "integration": "IntegrationId", "stage": "StageName"}
        with ignore_missing():  # of an API that is gone nothing is yielded: all is asked first
            found = {kind: _items(gateway, f"get_{kind}s", "Items", ApiId=api_id) for kind in keys}
            yield "apigateway", "api", api_id, api["CreatedDate"]
            for kind, items in found.items():
                for item in items:
                    yield "apigateway", kind, f"{api_id}/{item[keys[kind]]}", item.get("CreatedDate")


def _s3(lab: Lab) -> Iterator[Resource]:
    s3 = lab.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        if name not in (lab.bucket, lab.load_test_bucket):
            continue
        with ignore_missing(), ignore_denied() if name == lab.load_test_bucket else nullcontext():
            if lab.owns(s3.get_bucket_tagging(Bucket=name)["TagSet"]):
                objects = len(_items(s3, "list_objects_v2", "Contents", Bucket=name))
                yield "s3", f"bucket with {objects} objects", name, bucket["CreationDate"]


def _scheduler(lab: Lab) -> Iterator[Resource]:
    scheduler = lab.client("scheduler")
    with ignore_missing(), ignore_denied():
        for group in _items(scheduler, "list_schedule_groups", "ScheduleGroups", NamePrefix=lab.switch):
            name, arn = group["Name"], group["Arn"]
            # The lab's policy does not let you ask for the tags of another lab's group.
            if name == lab.switch and lab.owns(scheduler.list_tags_for_resource(ResourceArn=arn)["Tags"]):
                yield "scheduler", "schedule group", name, group["CreationDate"]
                for schedule in _items(scheduler, "list_schedules", "Schedules", GroupName=name):
                    yield "scheduler", "schedule", f"{name}/{schedule['Name']}", schedule["CreationDate"]


def _budgets(lab: Lab) -> Iterator[Resource]:
    if lab.partition != "aws":  # elsewhere AWS Budgets has no endpoint, or bills in another way
        return
    budgets = lab.client("budgets")
    with ignore_denied():  # in many accounts only some users may look at the bills
        for budget in _items(budgets, "describe_budgets", "Budgets", AccountId=lab.account_id):
            name = budget["BudgetName"]
            if not name.startswith(f"{lab.name}-"):
                continue
            arn = f"arn:{lab.partition}:budgets::{lab.account_id}:budget/{name}"
            with ignore_missing(), ignore_denied():
                if lab.owns(budgets.list_tags_for_resource(ResourceARN=arn).get("ResourceTags", [])):
                    yield "budgets", "budget", name, None


def _appsync(lab: Lab) -> Iterator[Resource]:
    appsync = lab.client("appsync")
    with ignore_denied():  # who may not ask has made none
        for api in _items(appsync, "list_apis", "apis"):
            if not lab.owns(api.get("tags", {})):
                continue
            api_id = api["apiId"]
            with ignore_missing():
                namespaces = _items(appsync, "list_channel_namespaces", "channelNamespaces", apiId=api_id)
                keys = _items(appsync, "list_api_keys", "apiKeys", apiId=api_id)
                yield "appsync", "event api", api_id, api["created"]
                for namespace in namespaces:
                    yield "appsync", "channel namespace", f"{api_id}/{namespace['name']}", namespace["created"]
                for number, key in enumerate(keys, start=1):  # its id is the secret
                    expires = datetime.fromtimestamp(key["expires"], UTC)
                    yield "appsync", "api key", f"{api_id}/{number}, until {expires:%Y-%m-%d}", None


# ECS goes on showing what is gone: tasks for an hour, clusters and task definitions for longer.


def _ecs_has(lab: Lab, full: str, resource: str) -> bool:
    ecs = lab.client("ecs")
    match resource.split("/"):
        case "cluster", cluster:
            return any(each["status"] == "ACTIVE" for each in ecs.describe_clusters(clusters=[cluster])["clusters"])
        case "task", cluster, _:
            tasks = ecs.describe_tasks(cluster=cluster, tasks=[full])["tasks"]
            return any(each["lastStatus"] != "STOPPED" for each in tasks)
    with suppress(ecs.exceptions.ClientException):  # there is no such task definition
        definition = ecs.describe_task_definition(taskDefinition=full)["taskDefinition"]
        return bool(definition["status"] != "DELETE_IN_PROGRESS")
    return False


def _ecs(lab: Lab) -> Iterator[Resource]:
    ecs, named = lab.client("ecs"), {"cluster": lab.load_test}
    with ignore_missing(), ignore_denied():  # who may not ask has made none
        for cluster in ecs.describe_clusters(clusters=[lab.load_test], include=["TAGS"])["clusters"]:
            if cluster["status"] != "ACTIVE" or not lab.owns(cluster.get("tags", [])):
                continue
            yield "ecs", "cluster", lab.load_test, None
            for desired in ("RUNNING", "STOPPED"):  # a task that is told to stop has not yet
                for page in ecs.get_paginator("list_tasks").paginate(desiredStatus=desired, **named):
                    arns = page["taskArns"]
                    for task in ecs.describe_tasks(tasks=arns, **named)["tasks"] if arns else []:
                        yield from _task(task)
    with ignore_denied():
        for status in ("ACTIVE", "INACTIVE"):
            family = {"familyPrefix": lab.load_test, "status": status}
            for arn in _items(ecs, "list_task_definitions", "taskDefinitionArns", **family):
                with suppress(ecs.exceptions.ClientException):
                    found = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
                    if found["taskDefinition"]["family"] == lab.load_test and lab.owns(found.get("tags", [])):
                        yield "ecs", "task definition", arn.rpartition("/")[2], found["taskDefinition"]["registeredAt"]


def _task(task: dict[str, Any]) -> Iterator[Resource]:
    """A task, unless it has stopped, and its network interface."""
    if task["lastStatus"] != "STOPPED":
        yield "ecs", "task", task["taskArn"].rpartition("/")[2], task["createdAt"]
        for detail in (each for attachment in task.get("attachments", []) for each in attachment["details"]):
            if detail["name"] == "networkInterfaceId":
                yield "ec2", "network interface", detail["value"], None


def _ec2(lab: Lab) -> Iterator[Resource]:
    named = [{"Name": "group-name", "Values": [lab.load_test]}]
    with ignore_denied():
        for group in _items(lab.client("ec2"), "describe_security_groups", "SecurityGroups", Filters=named):
            if lab.owns(group.get("Tags", [])):
                yield "ec2", "security group", group["GroupId"], None
