"""Lambda's concurrency, within the emulator: so many invocations of the account at a time, whatever asked for them.

The emulator counts those that come by Lambda's own API, and answers 429 (TooManyRequestsException) beyond. Here those
of WebSocket routes count, too. Each counts as long as it would run on AWS, where a function has to start first if none
of its instances is free. And asynchronous ones wait for their turn instead of being lost.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html and .../invocation-async-error-handling.html

What API Gateway makes of a throttled function is assumed from what it makes of one that fails: status 500 for a
handshake, the frame "Internal server error" for a message.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

from ministack.services import apigateway, lambda_svc

from chatlab.emulator.route_errors import INTERNAL_SERVER_ERROR, route_error
from chatlab.emulator.route_invocations import Invoke, Result, RouteInvocation, wrap_invocations

WARM_S = 0.03
"""How long `$connect` and `$disconnect` run: a call of DynamoDB and Lambda's own time. Assumed."""
COLD_START_S = 0.5
"""What an instance takes to start, of a function as this lab's: docs/fanout.md, "The first call"."""
MAX_DISCONNECT_WAIT_S = 1.0
"""The emulator notices only each half second who has left, and so invokes many `$disconnect` at once: they may wait."""
MAX_QUEUED_S = 60
"""What waits in Lambda's queue for longer is dropped here; AWS's own limit is six hours, and notebook 03 sets this."""

Slot: TypeAlias = str
"""What one invocation holds of the concurrency. MiniStack names it after the function."""
_Acquire: TypeAlias = Callable[[Any, dict[str, Any]], tuple[Slot | None, Any]]

_is_queued: ContextVar[bool] = ContextVar("is_queued", default=False)


def limit_concurrency(max_invocations: int) -> None:
    """Let no more than `max_invocations` run at a time, from now on, in this process."""
    lambda_svc._ACCOUNT_CONCURRENCY_CAP = max_invocations
    lambda_svc._acquire_execution_slot = _waiting(lambda_svc._acquire_execution_slot)
    lambda_svc.invoke_async_with_retry = _queued(lambda_svc.invoke_async_with_retry)
    wrap_invocations(_hold_slot())


def _queued(invoke_async: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Marks what is invoked asynchronously: the thread that does it inherits the mark."""

    def invoke(func: Any, event: Any) -> None:
        token = _is_queued.set(True)
        try:
            invoke_async(func, event)
        finally:
            _is_queued.reset(token)

    return invoke


def _waiting(acquire: _Acquire) -> _Acquire:
    """Lets what is in the queue wait for its turn."""

    def acquire_slot(func: Any, config: dict[str, Any]) -> tuple[Slot | None, Any]:
        deadline = time.monotonic() + MAX_QUEUED_S
        slot, limit = acquire(func, config)
        while slot is None and _is_queued.get() and time.monotonic() < deadline:
            time.sleep(0.05)
            slot, limit = acquire(func, config)
        return slot, limit

    return acquire_slot


class _Instances:
    """The instances of one function, by when each is free again."""

    def __init__(self) -> None:
        self._free_at: list[float] = []

    def acquire(self, now: float) -> tuple[int, float]:
        """Take one that is free, or a new one: its number, and the seconds that it takes to start."""
        for number, free_at in enumerate(self._free_at):
            if free_at <= now:
                self._free_at[number] = math.inf
                return number, 0.0
        self._free_at.append(math.inf)
        return len(self._free_at) - 1, COLD_START_S

    def release(self, number: int, now: float) -> None:
        """Give it back."""
        self._free_at[number] = now


def _hold_slot() -> Callable[[RouteInvocation, Invoke], Awaitable[Result]]:
    """Lets each invocation by API Gateway hold a slot as long as it would run on AWS, or refuses it."""
    instances: defaultdict[Slot, _Instances] = defaultdict(_Instances)

    async def invoke_with_slot(invocation: RouteInvocation, invoke: Invoke) -> Result:
        function = _function(invocation)
        slot = await _acquire_slot(function, MAX_DISCONNECT_WAIT_S if invocation.event_type == "DISCONNECT" else 0.0)
        if slot is None:
            lambda_svc._emit_lambda_metrics(function, duration_ms=0.0, error=False, throttle=True)
            return route_error(500, INTERNAL_SERVER_ERROR, invocation)
        held = slot
        loop = asyncio.get_running_loop()
        own = instances[held]
        number, start_s = own.acquire(loop.time())

        def release() -> None:
            own.release(number, loop.time())
            lambda_svc._release_execution_slot(held)

        if invocation.event_type != "MESSAGE":
            # The emulator runs them one after another, AWS side by side: they count as long as they would run there.
            loop.call_later(start_s + WARM_S, release)
            result, _ = await asyncio.gather(invoke(invocation), asyncio.sleep(start_s + WARM_S))
            return result
        try:
            await asyncio.sleep(start_s)
            return await invoke(invocation)
        finally:
            release()

    return invoke_with_slot


async def _acquire_slot(function: str, max_wait_s: float) -> Slot | None:
    """A slot for an invocation of the function; None if there is none in time."""
    deadline = time.monotonic() + max_wait_s
    slot: Slot | None
    slot, _ = lambda_svc._acquire_execution_slot({}, {"FunctionName": function})
    while slot is None and time.monotonic() < deadline:
        await asyncio.sleep(WARM_S)
        slot, _ = lambda_svc._acquire_execution_slot({}, {"FunctionName": function})
    return slot


def _function(invocation: RouteInvocation) -> str:
    """The name of the function behind a route."""
    integration_id = invocation.route.get("target", "").rpartition("/")[2]
    integration = apigateway._integrations.get(invocation.api_id, {}).get(integration_id, {})
    reference = apigateway._extract_lambda_ref_from_integration_uri(integration.get("integrationUri", ""))
    name: str = lambda_svc._resolve_name_and_qualifier(reference)[0]
    return name
