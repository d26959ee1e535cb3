"""Eventual consistency: on AWS a change is seen a few seconds after it was made, in MiniStack at once.

The functions make traits: see `chatlab.emulator.traits`.
"""

import json
import math
import time

from chatlab.emulator.calls import ApiCall, Forward, Play, Response, error_response, json_response


class _Changes:
    """When each resource was changed, by name."""

    def __init__(self) -> None:
        self._changed_at: dict[str, float] = {}

    def note(self, name: str) -> None:
        """It changes now."""
        self._changed_at[name] = time.monotonic()

    def age_s(self, name: str) -> float:
        """Seconds since the change; infinite if there was none."""
        return time.monotonic() - self._changed_at.get(name, -math.inf)


ROLE_MESSAGES = (
    "The role defined for the function cannot be assumed by Lambda.",
    "Lambda was unable to configure access to your environment variables because the KMS key is invalid for "
    "CreateGrant. Please check your KMS key settings. KMS Exception: InvalidArnException KMS Message: ARN does not "
    "refer to a valid principal",
)


def new_role(settles_s: float) -> Play:
    """Lambda can't assume a new role: it says so in one way for half of the time, then in another.

    terraform-provider-aws #4633; Lambda's documentation has the first sentence only.
    """
    created = _Changes()

    async def play(call: ApiCall, forward: Forward) -> Response:
        if call.operation == "POST /2015-03-31/functions":
            age_s = created.age_s(json.loads(call.body)["Role"].rpartition("/")[2])
            if age_s <= settles_s:
                message = ROLE_MESSAGES[age_s > settles_s / 2]
                return error_response("lambda", 400, "InvalidParameterValueException", message)
        response = await forward()
        if call.operation == "CreateRole" and response.status == 200:
            created.note(call.parameters["RoleName"])
        return response

    return play


def new_service_role(settles_s: float) -> Play:
    """The first cluster of an account makes ECS's service-linked role, which can't be assumed yet.

    terraform-provider-aws #15452; the seconds are 10 to 20 in teleport #44194.
    """
    asked = _Changes()
    message = "Unable to assume the service linked role. Please verify that the ECS service linked role exists."

    async def play(call: ApiCall, forward: Forward) -> Response:
        if call.service == "ecs" and call.operation == "CreateCluster":
            if asked.age_s("role") == math.inf:
                asked.note("role")
            if asked.age_s("role") < settles_s:
                return error_response("ecs", 400, "InvalidParameterException", message)
        return await forward()

    return play


def late_policy(settles_s: float) -> Play:
    """What a role's policy newly allows is still refused.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    """
    allowed = _Changes()  # by action

    def action_of(call: ApiCall) -> str:
        if call.is_post_to_connection:
            return "execute-api:ManageConnections"
        if call.operation.endswith("/invocations"):
            return "lambda:InvokeFunction"
        return f"{call.service}:{call.operation}"

    async def play(call: ApiCall, forward: Forward) -> Response:
        action = action_of(call)
        if call.access_key_id.startswith("ASIA") and allowed.age_s(action) <= settles_s:
            status = 400 if call.service == "dynamodb" else 403
            return error_response(call.service, status, "AccessDeniedException", f"Not authorized: {action}")
        response = await forward()
        if call.operation == "PutRolePolicy" and response.status == 200:
            for statement in json.loads(call.parameters["PolicyDocument"])["Statement"]:
                actions: str | list[str] = statement["Action"]
                for newly_allowed in [actions] if isinstance(actions, str) else actions:
                    allowed.note(newly_allowed)
        return response

    return play


def stale_lists(lag_s: float) -> Play:
    """Lists of buckets and roles, and tags, stay as they were read once.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel (lists of buckets), and IAM's
    page on eventual consistency.
    """
    read: dict[tuple[str, str, str, bytes], tuple[float, Response]] = {}  # when, and what, by call

    async def play(call: ApiCall, forward: Forward) -> Response:
        is_buckets = call.service == "s3" and call.operation == "GET /" and not call.bucket_and_object_key[0]
        if not is_buckets and call.operation not in ("ListRoles", "GetResources", "ListTagsOfResource"):
            return await forward()
        key = call.service, call.operation, call.host, call.body
        read_at, response = read.get(key, (-math.inf, None))
        if response is None or time.monotonic() - read_at >= lag_s:
            response = await forward()
            if response.status == 200:
                read[key] = time.monotonic(), response
        return response

    return play


def late_tags(settles_s: float) -> Play:
    """The tags with which a table was made are not shown yet.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TagResource.html
    """
    created = _Changes()

    async def play(call: ApiCall, forward: Forward) -> Response:
        response = await forward()
        if call.operation == "CreateTable" and response.status == 200:
            created.note(json.loads(call.body)["TableName"])
        if call.operation == "ListTagsOfResource" and response.status == 200:
            table: str = json.loads(call.body)["ResourceArn"].rpartition("/")[2]
            if created.age_s(table) < settles_s:
                return json_response(200, {"Tags": []}, "application/x-amz-json-1.0")
        return response

    return play


def busy_bucket_name(settles_s: float) -> Play:
    """The name of a deleted bucket can't be used yet.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshooting.html
    """
    deleted = _Changes()
    message = "A conflicting conditional operation is currently in progress against this resource. Please try again."

    async def play(call: ApiCall, forward: Forward) -> Response:
        bucket, object_key = call.bucket_and_object_key
        if call.service != "s3" or object_key or call.query_string:
            return await forward()
        if call.operation.startswith("PUT /") and deleted.age_s(bucket) <= settles_s:
            return error_response("s3", 409, "OperationAborted", message)
        response = await forward()
        if call.operation.startswith("DELETE /") and response.status == 204:
            deleted.note(bucket)
        return response

    return play
