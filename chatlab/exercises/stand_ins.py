"""A table and `@connections` for one exercise: boto3's own clients, whose requests are answered here and never sent."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

GONE = "left-without-a-word"
FIRST_PAGE, SECOND_PAGE = ["ada", GONE, "grace"], ["edsger", "barbara"]
THERE = [name for name in FIRST_PAGE + SECOND_PAGE if name != GONE]
"""Who has to hear a broadcast."""


@dataclass
class Room:
    """Five connection ids on two pages of a scan; of one the client is gone. What is asked of it is written down."""

    posts: list[tuple[str, bytes]] = field(default_factory=list)
    """Connection ids and messages, in order."""
    deleted: list[str] = field(default_factory=list)

    def client(self, service: str) -> Any:  # boto3 makes the class of each client when it runs
        """A boto3 client of `dynamodb` or `apigatewaymanagementapi`."""
        session = boto3.Session("none", "none", region_name="us-east-1")
        client = session.client(service, endpoint_url="http://127.0.0.1:9")
        client.meta.events.register("before-send", self._answer)
        return client

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        body = request.body or b""
        body = body if isinstance(body, bytes) else str(body).encode()
        if target := request.headers.get("X-Amz-Target"):
            operation = (target if isinstance(target, str) else target.decode()).rpartition(".")[2]
            status, headers, answer = self._table(operation, json.loads(body))
        else:
            status, headers, answer = self._post(unquote(urlsplit(request.url).path).rpartition("/")[2], body)
        return AWSResponse(request.url, status, HTTPHeaders.from_dict(headers), _Raw(json.dumps(answer).encode()))

    def _table(self, operation: str, asked: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
        if operation == "Scan" and not asked.get("ExclusiveStartKey"):
            return 200, {}, _page(FIRST_PAGE) | {"LastEvaluatedKey": {"connection_id": {"S": FIRST_PAGE[-1]}}}
        if operation == "Scan":
            return 200, {}, _page(SECOND_PAGE)
        if operation == "DeleteItem":
            self.deleted.append(asked["Key"]["connection_id"]["S"])
            return 200, {}, {}
        return 400, {}, {"__type": "ValidationException", "message": f"This exercise needs no {operation}."}

    def _post(self, connection_id: str, data: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
        self.posts.append((connection_id, data))
        if connection_id == GONE:
            return 410, {"x-amzn-ErrorType": "GoneException"}, {"message": "GoneException"}
        return 200, {}, {}


def _page(names: list[str]) -> dict[str, Any]:
    return {"Items": [{"connection_id": {"S": name}} for name in names], "Count": len(names)}


class _Raw(io.BytesIO):
    """A response's body, as botocore reads it."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()
