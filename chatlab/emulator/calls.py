"""Calls of AWS's services and the responses to them, as they pass through ASGI applications.

ASGI is the interface between a Python web server and an application: https://asgi.readthedocs.io/en/latest/specs/main.html
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

Scope: TypeAlias = MutableMapping[str, Any]  # what its keys hold depends on its "type"
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

CONTROL_PLANE_SERVICES = frozenset({"apigateway", "dynamodb", "ec2", "ecs", "iam", "lambda", "logs", "s3", "tagging"})
"""The services that have a control plane here, as signatures name them."""
DATA_OPERATIONS = frozenset({"BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"})
"""DynamoDB's operations on what is in a table."""
REALTIME_PATH = "/event/realtime"
"""How the path of a WebSocket of AppSync Events ends."""


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False) and message["type"] != "http.disconnect"
    return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` for the next application, since the body of the request has been read already."""
    bodies = [body]

    async def receive_again() -> Message:
        return {"type": "http.request", "body": bodies.pop(), "more_body": False} if bodies else await receive()

    return receive_again


@dataclass(frozen=True)
class ApiCall:
    """A call of a service's API."""

    service: str
    """As the signature names it: lambda, s3, apigateway, execute-api, ...; "" if the request is not signed."""
    access_key_id: str
    """A role's begins with ASIA, a user's with AKIA; "" if the request is not signed."""
    operation: str
    """Its name where the protocol has one (DynamoDB, IAM, logs, tags), else method and path: "GET /v2/apis"."""
    host: str
    body: bytes
    parameters: dict[str, str]
    """The parameters of an operation of the query protocol (IAM, STS)."""
    query_string: str
    """The URL's. With S3 it names a part of a bucket, such as "policy"; without one the call is about the bucket."""
    region: str
    """As the signature names it."""

    @property
    def bucket_and_object_key(self) -> tuple[str, str]:
        """S3's bucket, from the host name or the path, and the object's key; "" where there is none."""
        path = self.operation.partition(" /")[2]
        bucket, separator, _ = self.host.partition(".s3.")
        if separator:
            return bucket, path
        bucket, _, object_key = path.partition("/")
        return bucket, object_key

    @property
    def is_control_plane(self) -> bool:
        """Whether a person makes, changes, removes or reads a resource, not the data in it. Functions use data only."""
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
    """The call that a request makes. Without the body (`b""`) only the operations of IAM and STS stay unknown."""
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


@dataclass
class Response:
    """A whole response to a call."""

    status: int
    headers: Headers
    body: bytes

    async def send(self, send: Send) -> None:
        """Send it as it is."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


Forward: TypeAlias = Callable[[], Awaitable[Response]]
"""Hands a call on, to the next trait or to MiniStack, and returns the response."""
Play: TypeAlias = Callable[[ApiCall, Forward], Awaitable[Response]]
"""Plays a trait of AWS's for one call: see `chatlab.emulator.traits`."""


def json_response(status: int, body: dict[str, Any], content_type: str = "application/json") -> Response:
    """A response as the services with JSON write it."""
    return Response(status, [(b"content-type", content_type.encode())], json.dumps(body).encode())


def error_response(service: str, status: int, code: str, message: str) -> Response:
    """An error as the service writes it. A service that is not named here writes its errors as DynamoDB does."""
    error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    if service == "s3":
        return Response(status, [(b"content-type", b"application/xml")], f"<?xml version='1.0'?>{error}".encode())
    if service == "ec2":
        body = f"<Response><Errors>{error}</Errors><RequestID>none</RequestID></Response>"
        return Response(status, [(b"content-type", b"text/xml")], body.encode())
    if service in ("iam", "s3control", "sts"):
        return Response(status, [(b"content-type", b"text/xml")], f"<ErrorResponse>{error}</ErrorResponse>".encode())
    response = json_response(status, {"message": message, "Message": message, "__type": code})
    response.headers.append((b"x-amzn-errortype", code.encode()))
    return response
