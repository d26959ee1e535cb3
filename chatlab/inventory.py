"""What exists of a lab, asked of AWS and not remembered.

Written apart from the teardown on purpose: it looks for names and tags in lists, so that it can find what the teardown
forgot.
"""

from contextlib import contextmanager
from datetime import UTC, datetime

import pandas as pd
from botocore.exceptions import ClientError

NOT_FOUND = frozenset(
    {"NoSuchBucket", "NoSuchEntity", "NoSuchTagSet", "NotFoundException", "ResourceNotFoundException"}
)
COLUMNS = ["service", "kind", "id", "created"]


def inventory(lab):
    """A DataFrame of all that carries the lab's name or tag: `service`, `kind`, `id`, `created` (UTC, may be missing).

    What has the lab's name but somebody else's tags is left out: the notebooks refuse to touch it.
    """
    found = [*_dynamodb(lab), *_iam(lab), *_lambda(lab), *_logs(lab), *_apigateway(lab), *_s3(lab)]
    table = pd.DataFrame(found, columns=COLUMNS)
    return table.assign(created=pd.to_datetime(table["created"], utc=True, format="mixed").dt.floor("s"))


@contextmanager
def _unless_gone():
    """AWS's lists lag behind: they name what is deleted, of which it then says that there is no such thing."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_FOUND:
            raise


def _dynamodb(lab):
    dynamodb = lab.client("dynamodb")
    for page in dynamodb.get_paginator("list_tables").paginate():
        for name in page["TableNames"]:
            if name != lab.table and not name.startswith(f"{lab.name}-"):
                continue
            with _unless_gone():
                table = dynamodb.describe_table(TableName=name)["Table"]
                tags = dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"]).get("Tags", [])
                if lab.owns(tags):
                    yield "dynamodb", "table", name, table["CreationDateTime"]


def _iam(lab):
    iam = lab.client("iam")
    for page in iam.get_paginator("list_roles").paginate():
        for role in page["Roles"]:
            name = role["RoleName"]
            if not name.startswith(f"{lab.name}-"):
                continue
            with _unless_gone():
                if not lab.owns(iam.list_role_tags(RoleName=name)["Tags"]):
                    continue
                yield "iam", "role", name, role["CreateDate"]
                for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                    yield "iam", "role policy", f"{name}/{policy}", None
                for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
                    yield "iam", "attached policy", f"{name}/{policy['PolicyName']}", None


def _lambda(lab):
    functions = lab.client("lambda")
    for page in functions.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            name = function["FunctionName"]
            if not name.startswith(f"{lab.name}-"):
                continue
            with _unless_gone():
                if lab.owns(functions.list_tags(Resource=function["FunctionArn"]).get("Tags", {})):
                    yield "lambda", "function", name, function["LastModified"]


def _logs(lab):
    logs = lab.client("logs")
    for name in lab.log_groups.values():
        for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name):
            for group in page["logGroups"]:
                if group["logGroupName"] != name:
                    continue
                with _unless_gone():
                    arn = lab.arn("logs", f"log-group:{name}")
                    if lab.owns(logs.list_tags_for_resource(resourceArn=arn)["tags"]):
                        yield "logs", "log group", name, datetime.fromtimestamp(group["creationTime"] / 1000, UTC)


def _apigateway(lab):
    gateway = lab.client("apigatewayv2")

    def items(operation, api_id):
        return (item for page in gateway.get_paginator(operation).paginate(ApiId=api_id) for item in page["Items"])

    for page in gateway.get_paginator("get_apis").paginate():
        for api in page["Items"]:
            if not lab.owns(api.get("Tags", {})):
                continue
            api_id = api["ApiId"]
            with _unless_gone():
                routes, integrations, stages = (
                    list(items(operation, api_id)) for operation in ("get_routes", "get_integrations", "get_stages")
                )
                yield "apigateway", "api", api_id, api["CreatedDate"]
                for route in routes:
                    yield "apigateway", "route", f"{api_id}/{route['RouteKey']}", None
                for integration in integrations:
                    yield "apigateway", "integration", f"{api_id}/{integration['IntegrationId']}", None
                for stage in stages:
                    yield "apigateway", "stage", f"{api_id}/{stage['StageName']}", stage.get("CreatedDate")


def _s3(lab):
    s3 = lab.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        if name != lab.bucket:
            continue
        with _unless_gone():
            if not lab.owns(s3.get_bucket_tagging(Bucket=name)["TagSet"]):
                continue
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=name)
            objects = sum(page["KeyCount"] for page in pages)
            yield "s3", f"bucket with {objects} objects", name, bucket["CreationDate"]
