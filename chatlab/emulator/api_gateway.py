"""API Gateway's WebSocket APIs, where MiniStack leaves something out, or does it otherwise.

What API Gateway answers for a function that fails, or that it may not invoke: a handshake gets a status, a message an
error frame to its sender alone, and a `$disconnect`, which is best effort, nothing:
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from http.client import responses
from typing import Any, Literal, NamedTuple, TypeAlias

from ministack.core.responses import get_region, new_uuid
from ministack.services import apigateway, ecs, eventbridge, s3, scheduler
from uvicorn.protocols.utils import ClientDisconnected

from chatlab.emulator.calls import App, Message, Receive, Scope, Send
from chatlab.emulator.iam import role_may
from chatlab.emulator.protocols import BUFFERED_BYTES
from chatlab.emulator.traits import TokenBucket

MAX_BUFFERED_BYTES = 512 * 1024
"""How much waits for one client that does not read. AWS documents no size; this holds a few of the largest messages."""
SCHEDULE_INTERVAL_S = 1  # how often MiniStack looks whether a schedule is due; by itself every 10 s
INTERNAL_SERVER_ERROR = "Internal server error"
MAX_INTEGRATION_MS = 29_000
"""https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html"""

Result: TypeAlias = dict[str, Any] | None  # what a function returned; None if it returned nothing

logger = logging.getLogger("ministack")

# MiniStack's own functions, which those below call.
_invoke_target = eventbridge._invoke_target
_handle_websocket = apigateway.handle_websocket
_evaluate_route_selection = apigateway._evaluate_route_selection
_handle_connections_api = apigateway.handle_connections_api


class Invocation(NamedTuple):
    """One invocation of the function behind a WebSocket route, as MiniStack asks for it."""

    api_id: str
    account_id: str
    region: str
    route: dict[str, Any]
    """With its key in "routeKey", and its integration in "target"."""
    stage: str
    connection_id: str
    event_type: Literal["CONNECT", "MESSAGE", "DISCONNECT"]
    request_id: str


Invoke: TypeAlias = Callable[[], Awaitable[Result]]


def wrap_invocations(around: Callable[[Invocation, Invoke], Awaitable[Result]]) -> None:
    """From now on, in this process, call `around(invocation, invoke)` for each; its result counts as the function's."""
    original = apigateway._invoke_ws_lambda

    async def invoke_ws_lambda(*arguments: Any, **options: Any) -> Result:
        return await around(Invocation(*arguments[:8]), lambda: original(*arguments, **options))

    apigateway._invoke_ws_lambda = invoke_ws_lambda


def correct() -> None:
    """From now on, in this process, MiniStack does as API Gateway does."""
    scheduler._SCHEDULE_TICK_INTERVAL = SCHEDULE_INTERVAL_S
    eventbridge._invoke_target = invoke_target
    apigateway.handle_websocket = handle_websocket
    apigateway._evaluate_route_selection = evaluate_route_selection
    apigateway.handle_connections_api = handle_connections_api
    apigateway._ws_connections = _Connections()
    wrap_invocations(_answer)


def delay_group_deletions(seconds: float) -> None:
    """From now on, in this process, a deleted group of schedules is there for that long, with the state DELETING.

    https://docs.aws.amazon.com/scheduler/latest/APIReference/API_DeleteScheduleGroup.html
    That another deletion meanwhile is a conflict is assumed; that a new group of its name is one, too.
    """
    delete = scheduler._delete_schedule_group

    def delete_schedule_group(name: str, query: dict[str, Any]) -> Any:
        group: dict[str, Any] | None = scheduler._schedule_groups.get(name)
        if not group:
            return delete(name, query)
        if group["State"] == "DELETING":
            return scheduler._error(409, "ConflictException", f"Schedule group {name} is being deleted.")
        group["State"] = "DELETING"
        asyncio.get_running_loop().call_later(seconds, delete, name, query)
        return scheduler._json_resp(200, {})

    scheduler._delete_schedule_group = delete_schedule_group


def invoke_target(target: dict[str, Any], event: Any, rule: Any, view: Any = None) -> Any:
    """MiniStack's, which also lets a schedule delete a stage or a bucket's policy, or stop a task, if its role may.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
    """
    region: str = get_region()
    match target["Arn"].rpartition(":aws-sdk:")[2], json.loads(target.get("Input") or "{}"):
        case "apigatewayv2:deleteStage", {"ApiId": api_id, "StageName": stage}:
            action, arn = "apigateway:DELETE", f"arn:aws:apigateway:{region}::/apis/{api_id}/stages/{stage}"
            call = partial(apigateway._delete_stage, api_id, stage)
        case "s3:deleteBucketPolicy", {"Bucket": bucket}:
            action, arn = "s3:DeleteBucketPolicy", f"arn:aws:s3:::{bucket}"
            call = partial(s3._delete_bucket_policy, bucket)
        case "ecs:stopTask", {"Cluster": cluster, "Task": task, "Reason": reason}:
            action, arn = "ecs:StopTask", task
            call = partial(ecs._ACTION_MAP["StopTask"], {"cluster": cluster, "task": task, "reason": reason})
        case _:
            return _invoke_target(target, event, rule, view)
    if role_may(target["RoleArn"], action, arn, region):
        return call()
    logger.warning("The role of a schedule is not allowed %s.", action)
    return None


async def handle_websocket(
    scope: Scope, receive: Receive, send: Send, api_id: str, path_override: str | None = None
) -> None:
    """MiniStack's, which also refuses a handshake at a stage that does not exist with 403."""
    owner = apigateway._api_owner(api_id)
    path: str = scope["path"] if path_override is None else path_override
    stage = path.lstrip("/").partition("/")[0]
    if owner and stage not in apigateway._stages.get_scoped(*owner[1:], api_id, {}):
        await receive()
        await apigateway._refuse_ws_handshake(scope, send, 403, "Forbidden", new_uuid(), new_uuid())
    else:
        _outbox.set(Outbox(send, scope["extensions"][BUFFERED_BYTES]))
        await _handle_websocket(scope, receive, send, api_id, path_override=path_override)


def evaluate_route_selection(expression: str, text: str) -> str:
    """MiniStack's, but no message selects `$connect` or `$disconnect`, and `$default` takes what is not JSON.

    "API Gateway calls" these two "when a persistent connection [...] is being initiated", and when one ends:
    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-routes.html
    """
    try:
        route_key: str = _evaluate_route_selection(expression, text)
    except RecursionError:  # JSON that is nested thousands deep: the error would end the connection
        return "$default"
    return "$default" if route_key in ("$connect", "$disconnect") else route_key


async def handle_connections_api(
    method: str, api_id: str, stage: str, connection_id: str, body: bytes, headers: dict[str, str]
) -> tuple[int, dict[str, str], bytes]:
    """MiniStack's, which also refuses a post with 429 if too much waits for its client, as API Gateway does.

    https://docs.aws.amazon.com/botocore/latest/reference/services/apigatewaymanagementapi/client/exceptions/LimitExceededException.html
    """
    connection: dict[str, Any] | None = apigateway._ws_connections.get(connection_id)
    if method == "POST" and connection and connection["outbox"].buffered_bytes() > MAX_BUFFERED_BYTES:
        return 429, {"x-amzn-ErrorType": "LimitExceededException"}, b'{"message": "Too Many Requests"}'
    response: tuple[int, dict[str, str], bytes] = await _handle_connections_api(
        method, api_id, stage, connection_id, body, headers
    )
    return response


class Outbox(NamedTuple):
    """Hands each message of a post to its client at once, where MiniStack has a queue.

    MiniStack's queue is read by a task of each connection, which runs only after all posts under way were taken in,
    and looks twice a second whether the connection has closed.
    """

    send: Send
    """The connection's, which never waits for its client: see `protocols.WebSocketProtocol`."""
    buffered_bytes: Callable[[], int]
    """How much the client has not read yet."""

    async def put(self, text: str | None) -> None:
        """Send it; None, which means that the connection is to be closed, is not for the client."""
        if text is not None:
            with suppress(ClientDisconnected, RuntimeError):  # it is leaving, or is sent away
                await self.send({"type": "websocket.send", "text": text})


_outbox: ContextVar[Outbox] = ContextVar("outbox")
"""Of the connection whose handshake is under way."""


class _Connections(dict[str, dict[str, Any]]):
    """MiniStack's records of open connections, by their ids, each with an outbox of the kind above."""

    def __setitem__(self, connection_id: str, connection: dict[str, Any]) -> None:
        connection["outbox"].put_nowait(None)  # which ends the task that would read this queue
        connection["outbox"] = _outbox.get()
        super().__setitem__(connection_id, connection)


def integration(invocation: Invocation) -> dict[str, Any]:
    """The integration behind a route."""
    integration_id = invocation.route.get("target", "").rpartition("/")[2]
    found: dict[str, Any] = apigateway._integrations.get(invocation.api_id, {}).get(integration_id, {})
    return found


async def _answer(invocation: Invocation, invoke: Invoke) -> Result:
    """Refuse a handshake with the status of the function that refuses it, and keep the text of an error from everybody.

    Reports of AWS's answers: https://github.com/dherault/serverless-offline/pull/1301 (the function's own status),
    https://github.com/serverless/serverless-websockets-plugin/issues/13 (502 if it raises),
    https://github.com/Kludex/mangum/issues/128 (a function that takes longer than the integration's time-out runs on).
    """
    function = asyncio.ensure_future(invoke())
    timeout_ms = min(integration(invocation).get("timeoutInMillis", MAX_INTEGRATION_MS), MAX_INTEGRATION_MS)
    if not (await asyncio.wait({function}, timeout=timeout_ms / 1000))[0]:
        return route_error(504, "Endpoint request timed out", invocation)
    result = function.result()
    status = int((result or {}).get("statusCode", 200))
    if result and status == 500 and "body" in result:  # MiniStack's, of a function that raises or is killed
        return route_error(502 if invocation.event_type == "CONNECT" else 500, INTERNAL_SERVER_ERROR, invocation)
    if invocation.event_type == "CONNECT" and not 200 <= status < 300:
        return route_error(status, responses.get(status, ""), invocation)
    return result


_refusal: ContextVar[list[tuple[int, str]]] = ContextVar("refusal")
"""Of the handshake under way: in this list is the status and message with which it is refused, once that is known."""


def route_error(status: int, message: str, invocation: Invocation) -> Result:
    """A result with which MiniStack sends the error to where API Gateway sends it."""
    if invocation.event_type == "CONNECT":
        _refusal.get().append((status, message))
        return {"statusCode": status}
    if invocation.event_type == "MESSAGE":  # MiniStack sends the body to the sender of the message, and nobody else
        frame = {
            "message": message, "connectionId": invocation.connection_id, "requestId": invocation.request_id,
        }  # fmt: skip
        return {"statusCode": status, "body": json.dumps(frame)}
    return None


def with_refused_handshakes(app: App) -> App:
    """The application, which refuses a handshake as `route_error` says: MiniStack itself refuses with 403 only."""

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await app(scope, receive, send)
            return
        refusal: list[tuple[int, str]] = []
        _refusal.set(refusal)

        async def send_status(message: Message) -> None:
            if refusal and message["type"] == "websocket.close":
                status, sentence = refusal[0]
                await send({"type": "websocket.http.response.start", "status": status, "headers": []})
                body = json.dumps({"message": sentence}).encode()
                message = {"type": "websocket.http.response.body", "body": body}
            await send(message)

        await app(scope, receive, send_status)

    return refusing


def enforce_stage_limits() -> None:
    """From now on, in this process, each route takes what its stage sets for it: MiniStack only keeps the numbers.

    Each route has a token bucket, as its entry in `RouteSettings` says, or else `DefaultRouteSettings`. What exceeds it
    is refused with 429 before a function runs.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html
    """
    # By API, stage, route and limits: new limits begin with a full bucket.
    buckets: dict[tuple[str, str, str, float, float], TokenBucket] = {}

    async def throttle(invocation: Invocation, invoke: Invoke) -> Result:
        api_id, stage, route_key = invocation.api_id, invocation.stage, invocation.route["routeKey"]
        settings: dict[str, Any] = apigateway._stages.get(api_id, {}).get(stage, {})
        limits = (settings.get("defaultRouteSettings") or {}) | (settings.get("routeSettings") or {}).get(route_key, {})
        if (rate_per_s := limits.get("throttlingRateLimit")) is not None:
            burst = limits.get("throttlingBurstLimit") or rate_per_s
            key = api_id, stage, route_key, rate_per_s, burst
            if not buckets.setdefault(key, TokenBucket(rate_per_s, burst)).take():
                return route_error(429, "Too Many Requests", invocation)
        return await invoke()

    wrap_invocations(throttle)
