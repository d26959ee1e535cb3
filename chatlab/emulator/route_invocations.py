"""How API Gateway invokes the function of a WebSocket route, and how other modules stand in its way."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ministack.services import apigateway

Result: TypeAlias = dict[str, Any] | None  # what the function returned; None of one that returned nothing


@dataclass(frozen=True)
class RouteInvocation:
    """One invocation, as MiniStack asks for it."""

    api_id: str
    account_id: str
    region: str
    route: dict[str, Any]
    """With its key in "routeKey", and its integration in "target"."""
    stage: str
    connection_id: str
    event_type: Literal["CONNECT", "MESSAGE", "DISCONNECT"]
    request_id: str
    more: tuple[Any, ...]
    """The arguments that MiniStack has after these."""
    options: dict[str, Any]


Invoke: TypeAlias = Callable[[RouteInvocation], Awaitable[Result]]


def wrap_invocations(around: Callable[[RouteInvocation, Invoke], Awaitable[Result]]) -> None:
    """From now on, in this process, call `around(invocation, invoke)` for each; its result counts as the function's."""
    original = apigateway._invoke_ws_lambda

    async def invoke(invocation: RouteInvocation) -> Result:
        result: Result = await original(
            invocation.api_id,
            invocation.account_id,
            invocation.region,
            invocation.route,
            invocation.stage,
            invocation.connection_id,
            invocation.event_type,
            invocation.request_id,
            *invocation.more,
            **invocation.options,
        )
        return result

    async def invoke_ws_lambda(
        api_id: str,
        account_id: str,
        region: str,
        route: dict[str, Any],
        stage: str,
        connection_id: str,
        event_type: Literal["CONNECT", "MESSAGE", "DISCONNECT"],
        request_id: str,
        *more: Any,
        **options: Any,
    ) -> Result:
        invocation = RouteInvocation(
            api_id, account_id, region, route, stage, connection_id, event_type, request_id, more, options
        )
        return await around(invocation, invoke)

    apigateway._invoke_ws_lambda = invoke_ws_lambda
