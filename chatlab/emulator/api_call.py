"""A request as AWS sees it: which service is called, which operation, by whom, and on what."""

from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from chatlab.emulator.asgi import Scope

CONTROL_PLANE_SERVICES = frozenset({"apigateway", "dynamodb", "iam", "lambda", "logs", "s3", "tagging"})
"""The services that have a control plane here, as signatures name them."""
DATA_OPERATIONS = frozenset({"BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"})
"""DynamoDB's operations on what is in a table."""


@dataclass(frozen=True)
class ApiCall:
    """A call of a service's API."""

    service: str
    """As the signature names it: lambda, s3, apigateway, execute-api, ...; "" if the request is not signed."""
    access_key_id: str
    """A role's begins with ASIA, a user's with AKIA; "" if the request is not signed."""
    operation: str
    """Its name where the protocol has one (DynamoDB, IAM, logs, tags); else method and path, "GET /v2/apis"."""
    host: str
    body: bytes
    parameters: dict[str, str] = field(default_factory=dict)
    """Of an operation of the query protocol (IAM, STS)."""
    query_string: str = ""
    """Of the URL. With S3 it names a part of a bucket, such as "policy", where the call is not about the bucket."""
    region: str = ""
    """As the signature names it."""

    @property
    def bucket_and_object_key(self) -> tuple[str, str]:
        """Of S3: the bucket, in the host's name or in the path, and the object's key; "" where there is none."""
        path = self.operation.partition(" /")[2]
        bucket, separator, _ = self.host.partition(".s3.")
        if separator:
            return bucket, path
        bucket, _, object_key = path.partition("/")
        return bucket, object_key

    @property
    def is_control_plane(self) -> bool:
        """Whether a person makes, changes, removes or reads a resource, not data in it. Functions use data only."""
        if self.service not in CONTROL_PLANE_SERVICES or self.access_key_id.startswith("ASIA"):
            return False
        if self.service == "s3":
            return not self.bucket_and_object_key[1]
        return self.operation not in DATA_OPERATIONS and not self.operation.endswith("/invocations")

    @property
    def is_post_to_connection(self) -> bool:
        """Whether it is a message on its way to one connection."""
        is_post = self.service == "execute-api" and self.operation.startswith("POST ")
        return is_post and "/@connections/" in self.operation


def parse_call(scope: Scope, body: bytes) -> ApiCall:
    """The call that a request makes. Without a body, `b""`, only IAM's and STS's operations stay unknown."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    _, _, credential = headers.get(b"authorization", b"").decode("latin-1").partition("Credential=")
    parts = credential.partition(",")[0].split("/")
    access_key_id, region, service = (parts[0], parts[2], parts[3]) if len(parts) == 5 else ("", "", "")
    parameters: dict[str, str] = {}
    operation = f"{scope['method']} {unquote(scope['path'])}"
    if target := headers.get(b"x-amz-target", b"").decode("latin-1"):
        operation = target.rpartition(".")[2]
    elif headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded"):
        parameters = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
        operation = parameters.get("Action", operation)
    host, query_string = headers.get(b"host", b"").decode("latin-1"), scope.get("query_string", b"").decode("latin-1")
    return ApiCall(service, access_key_id, operation, host, body, parameters, query_string, region)
