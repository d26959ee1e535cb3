"""Eventual consistency: on AWS a change is seen some seconds after it was made, in the emulator at once."""

import json
import math
import time

from chatlab.emulator.api_call import ApiCall
from chatlab.emulator.responses import Response, json_error, s3_error
from chatlab.emulator.traits.trait import Trait


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


class NewRole(Trait):
    """Lambda can't assume a role for some seconds after it was made, and says so in two ways.

    terraform-provider-aws #4633; Lambda's documentation has the first sentence only.
    """

    MESSAGES = (
        "The role defined for the function cannot be assumed by Lambda.",
        "Lambda was unable to configure access to your environment variables because the KMS key is invalid for "
        "CreateGrant. Please check your KMS key settings. KMS Exception: InvalidArnException KMS Message: ARN does not "
        "refer to a valid principal",
    )

    def __init__(self, settles_s: float = 10.0) -> None:
        self._settles_s, self._created = settles_s, _Changes()

    def before(self, call: ApiCall) -> Response | None:
        """CreateFunction is refused while the role is new: the first half of the time in one way, then in the other."""
        if call.operation != "POST /2015-03-31/functions":
            return None
        role: str = json.loads(call.body)["Role"].rpartition("/")[2]
        age_s = self._created.age_s(role)
        if age_s > self._settles_s:
            return None
        return json_error(400, "InvalidParameterValueException", self.MESSAGES[age_s > self._settles_s / 2])

    def after(self, call: ApiCall, response: Response) -> Response:
        """Notes when a role was made."""
        if call.operation == "CreateRole" and response.status == 200:
            self._created.note(call.parameters["RoleName"])
        return response


class LatePolicy(Trait):
    """What a policy of a role newly allows is refused for some seconds.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    """

    def __init__(self, settles_s: float = 4.0) -> None:
        self._settles_s, self._allowed = settles_s, _Changes()  # by action

    def before(self, call: ApiCall) -> Response | None:
        """A function's call is refused while its permission is new."""
        action = self._action(call)
        if not call.access_key_id.startswith("ASIA") or self._allowed.age_s(action) > self._settles_s:
            return None
        status = 400 if call.service == "dynamodb" else 403
        return json_error(status, "AccessDeniedException", f"Not authorized: {action}")

    def after(self, call: ApiCall, response: Response) -> Response:
        """Notes when an action was allowed."""
        if call.operation == "PutRolePolicy" and response.status == 200:
            for statement in json.loads(call.parameters["PolicyDocument"])["Statement"]:
                actions: str | list[str] = statement["Action"]
                for action in [actions] if isinstance(actions, str) else actions:
                    self._allowed.note(action)
        return response

    @staticmethod
    def _action(call: ApiCall) -> str:
        if call.is_post_to_connection:
            return "execute-api:ManageConnections"
        if call.operation.endswith("/invocations"):
            return "lambda:InvokeFunction"
        return f"{call.service}:{call.operation}"


class StaleLists(Trait):
    """Lists and tags that were read once are the same for some seconds.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel (lists of buckets), and IAM's
    page on eventual consistency.
    """

    OPERATIONS = frozenset({"ListRoles", "GetResources", "ListTagsOfResource"})

    def __init__(self, lag_s: float = 3.0) -> None:
        self._lag_s = lag_s
        self._read: dict[tuple[str, str, str, bytes], tuple[float, Response]] = {}  # when, and what, by call

    def before(self, call: ApiCall) -> Response | None:
        """The list as it was read before."""
        read_at, response = self._read.get(self._key(call), (-math.inf, None))
        return response if time.monotonic() - read_at < self._lag_s else None

    def after(self, call: ApiCall, response: Response) -> Response:
        """Keeps a list."""
        if response.status == 200 and self._is_list(call) and self.before(call) is None:
            self._read[self._key(call)] = time.monotonic(), response
        return response

    def _is_list(self, call: ApiCall) -> bool:
        is_buckets = call.service == "s3" and call.operation == "GET /" and not call.bucket_and_object_key[0]
        return call.operation in self.OPERATIONS or is_buckets

    @staticmethod
    def _key(call: ApiCall) -> tuple[str, str, str, bytes]:
        return call.service, call.operation, call.host, call.body


class BusyBucketName(Trait):
    """A bucket's name conflicts for a while after the bucket was deleted.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshooting.html
    """

    def __init__(self, settles_s: float = 8.0) -> None:
        self._settles_s, self._deleted = settles_s, _Changes()

    def before(self, call: ApiCall) -> Response | None:
        """CreateBucket is refused with 409 while the name is busy."""
        if not self._is_for_bucket(call, "PUT") or self._deleted.age_s(call.bucket_and_object_key[0]) > self._settles_s:
            return None
        return s3_error(
            409, "OperationAborted",
            "A conflicting conditional operation is currently in progress against this resource. Please try again.",
        )  # fmt: skip

    def after(self, call: ApiCall, response: Response) -> Response:
        """Notes when a bucket was deleted."""
        if self._is_for_bucket(call, "DELETE") and response.status == 204:
            self._deleted.note(call.bucket_and_object_key[0])
        return response

    @staticmethod
    def _is_for_bucket(call: ApiCall, method: str) -> bool:
        is_bucket = not call.bucket_and_object_key[1] and not call.query_string
        return call.service == "s3" and call.operation.startswith(f"{method} /") and is_bucket


class LateTags(Trait):
    """For some seconds the tags with which a table was made are not shown.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TagResource.html
    """

    def __init__(self, settles_s: float = 4.0) -> None:
        self._settles_s, self._created = settles_s, _Changes()

    def after(self, call: ApiCall, response: Response) -> Response:
        """Notes when a table was made, and shows no tags of a new one."""
        if call.operation == "CreateTable" and response.status == 200:
            self._created.note(json.loads(call.body)["TableName"])
        if call.operation == "ListTagsOfResource" and response.status == 200:
            table: str = json.loads(call.body)["ResourceArn"].rpartition("/")[2]
            if self._created.age_s(table) < self._settles_s:
                return Response(200, [(b"content-type", b"application/x-amz-json-1.0")], b'{"Tags": []}')
        return response


class LateMetrics(Trait):
    """CloudWatch's metrics can be read only some time later: `metrics.py` keeps them back."""

    DELAY_S = 20.0
    """On AWS it is one to three minutes."""

    def __init__(self, delay_s: float = DELAY_S) -> None:
        """`delay_s`: for how long."""
