"""Lambda's concurrency, which in MiniStack counts too little: how many invocations of the account run at a time.

MiniStack counts those that come by Lambda's own API, and answers 429 (TooManyRequestsException) beyond the limit. Here
those of WebSocket routes count, too. Each counts as long as it would run on AWS, where a function has to start first if
none of its instances is free. And asynchronous ones wait for their turn instead of being lost.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html and .../invocation-async-error-handling.html

What API Gateway makes of a throttled function is assumed from what it makes of one that fails: status 500 for a
handshake, the frame "Internal server error" for a message.
"""

import asyncio
import os
import time
from collections import Counter
from contextvars import ContextVar
from functools import cache
from threading import BoundedSemaphore
from typing import Any, NamedTuple, TypeAlias

from ministack.core import lambda_runtime
from ministack.services import apigateway, lambda_svc

from chatlab.emulator.api_gateway import (
    INTERNAL_SERVER_ERROR,
    Invocation,
    Invoke,
    Result,
    integration,
    route_error,
    wrap_invocations,
)

WARM_S = 0.03
"""How long `$connect` and `$disconnect` run: a call of DynamoDB and Lambda's own time. Assumed."""
COLD_START_S = 0.5
"""How long an instance of a function such as this lab's takes to start: docs/fanout.md, "The first call"."""
MAX_DISCONNECT_WAIT_S = 1.0
"""How long a `$disconnect` may wait for its turn: MiniStack invokes many at once when many clients leave."""
MAX_QUEUED_S = 60
"""An event that waits longer in Lambda's queue is dropped. On AWS it is six hours, and notebook 03 sets this value."""

Slot: TypeAlias = str
"""What one invocation holds of the concurrency. MiniStack names it after the function."""

_is_queued: ContextVar[bool] = ContextVar("is_queued", default=False)
# MiniStack's own functions, which those below call.
_acquire_execution_slot = lambda_svc._acquire_execution_slot
_invoke_async_with_retry = lambda_svc.invoke_async_with_retry


INSTANCES = (os.cpu_count() or 1) + 1
"""Of one function, for handshakes: Lambda starts one for each invocation, which here would share the cores. One more
than there are cores, since each waits half of the time for this process."""


@cache
def _free_instances(function: str, qualifier: str, number: int) -> BoundedSemaphore:
    return BoundedSemaphore(number)


class Instances(NamedTuple):
    """Of a function, for one invocation of a route: with MiniStack's own, such invocations run one after another."""

    function: str
    config: dict[str, Any]
    code_zip: bytes
    qualifier: str = "$LATEST"

    def invoke(self, event: dict[str, Any], request_id: str) -> dict[str, Any]:
        """Let an instance that is free do it, or a new one; wait for one if there are `INSTANCES`.

        Messages wait for the one before: two broadcasts at a time would only share the cores, and the second one would
        start its instance in the middle of a load test.
        """
        number = 1 if event["requestContext"]["eventType"] == "MESSAGE" else INSTANCES
        with _free_instances(self.config.get("FunctionArn", self.function), self.qualifier, number):
            worker, _ = lambda_runtime.acquire_worker(*self)
            try:
                result: dict[str, Any] = worker.invoke(event, request_id)
                return result
            finally:
                lambda_runtime.release_worker(worker)


def correct() -> None:
    """From now on, in this process, the handshakes of a WebSocket API run side by side."""
    lambda_runtime.get_or_create_worker = Instances


def limit_concurrency(max_invocations: int) -> None:
    """Let no more than `max_invocations` run at a time, from now on, in this process."""
    lambda_svc._ACCOUNT_CONCURRENCY_CAP = max_invocations
    lambda_svc._acquire_execution_slot = acquire_execution_slot
    lambda_svc.invoke_async_with_retry = invoke_async_with_retry
    idle_instances: Counter[Slot] = Counter()

    async def hold_slot(invocation: Invocation, invoke: Invoke) -> Result:
        """Let an invocation by API Gateway hold a slot as long as it would run on AWS, or refuse it."""
        function = _function(invocation)
        slot = await _acquire_slot(function, MAX_DISCONNECT_WAIT_S if invocation.event_type == "DISCONNECT" else 0.0)
        if slot is None:
            lambda_svc._emit_lambda_metrics(function, duration_ms=0.0, error=False, throttle=True)
            return route_error(500, INTERNAL_SERVER_ERROR, invocation)
        held, start_s = slot, COLD_START_S
        if idle_instances[held]:
            idle_instances[held] -= 1
            start_s = 0.0

        def release() -> None:
            idle_instances[held] += 1
            lambda_svc._release_execution_slot(held)

        if invocation.event_type != "MESSAGE":
            # All of them run side by side on AWS, and a few here: they count as long as they would run there.
            asyncio.get_running_loop().call_later(start_s + WARM_S, release)
            result, _ = await asyncio.gather(invoke(), asyncio.sleep(start_s + WARM_S))
            return result
        try:
            await asyncio.sleep(start_s)
            return await invoke()
        finally:
            release()

    wrap_invocations(hold_slot)


def invoke_async_with_retry(func: Any, event: Any) -> None:
    """MiniStack's, which marks the invocation as queued: the thread that does it inherits the mark."""
    token = _is_queued.set(True)
    try:
        _invoke_async_with_retry(func, event)
    finally:
        _is_queued.reset(token)


def acquire_execution_slot(func: Any, config: dict[str, Any]) -> tuple[Slot | None, Any]:
    """MiniStack's, where what is queued waits for its turn."""
    deadline = time.monotonic() + MAX_QUEUED_S
    slot, limit = _acquire_execution_slot(func, config)
    while slot is None and _is_queued.get() and time.monotonic() < deadline:
        time.sleep(0.05)
        slot, limit = _acquire_execution_slot(func, config)
    return slot, limit


async def _acquire_slot(function: str, max_wait_s: float) -> Slot | None:
    """A slot for an invocation of the function; None if there is none in time."""
    deadline = time.monotonic() + max_wait_s
    slot: Slot | None
    slot, _ = lambda_svc._acquire_execution_slot({}, {"FunctionName": function})
    while slot is None and time.monotonic() < deadline:
        await asyncio.sleep(WARM_S)
        slot, _ = lambda_svc._acquire_execution_slot({}, {"FunctionName": function})
    return slot


def _function(invocation: Invocation) -> str:
    """The name of the function behind a route."""
    reference = apigateway._extract_lambda_ref_from_integration_uri(integration(invocation).get("integrationUri", ""))
    name: str = lambda_svc._resolve_name_and_qualifier(reference)[0]
    return name
