"""Lambda's concurrency, within the emulator: so many invocations of the account at a time, whatever asked for them.

The emulator counts those that come by Lambda's own API, and answers 429 (TooManyRequestsException) beyond. Here the
WebSocket's are counted, too. Each counts as long as it would run on AWS, where a function has to start first if none
of its instances is free. And asynchronous ones wait for their turn instead of being lost.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html and .../invocation-async-error-handling.html

What API Gateway makes of a throttled function is assumed from what it makes of one that fails: status 500 for a
handshake, the frame "Internal server error" for a message.
"""

import asyncio
import time
from collections import defaultdict
from contextvars import ContextVar

from ministack.services import apigateway, lambda_svc
from refusals import refuse

WARM_S = 0.03
"""How long `$connect` and `$disconnect` run: a call of DynamoDB and Lambda's own time. Assumed."""
COLD_S = 0.5
"""What an instance takes to start, of a function as this lab's: docs/fanout.md, "The first call"."""
GATHERED_S = 1.0
"""The emulator notices only each half second who has left, and so asks for `$disconnect` in heaps: these may wait."""
LONGEST_WAIT_S = 60
"""What waits in Lambda's queue for longer is dropped here; AWS's own limit is six hours, and notebook 03 sets this."""

_is_queued: ContextVar[bool] = ContextVar("is_queued", default=False)


def limit(at_once):
    """Let functions run no more than `at_once` at a time, from now on, in this process."""
    lambda_svc._ACCOUNT_CONCURRENCY_CAP = at_once
    lambda_svc._acquire_execution_slot = _waiting(lambda_svc._acquire_execution_slot)
    lambda_svc.invoke_async_with_retry = _queued(lambda_svc.invoke_async_with_retry)
    apigateway._invoke_ws_lambda = _leased(apigateway._invoke_ws_lambda)


def _queued(invoke_async):
    """Marks what is invoked asynchronously: the thread that does it inherits the mark."""

    def invoke(func, event):
        token = _is_queued.set(True)
        try:
            invoke_async(func, event)
        finally:
            _is_queued.reset(token)

    return invoke


def _waiting(acquire):
    """Lets what is in the queue wait for its turn."""

    def acquire_slot(func, config):
        give_up = time.monotonic() + LONGEST_WAIT_S
        slot, limit = acquire(func, config)
        while slot is None and _is_queued.get() and time.monotonic() < give_up:
            time.sleep(0.05)
            slot, limit = acquire(func, config)
        return slot, limit

    return acquire_slot


class _Instances:
    """The instances of one function, by when each is free again."""

    def __init__(self):
        self._free_at = []

    def take(self, now):
        """Take one that is free, or a new one: its number, and the seconds that it takes to start."""
        for number, free_at in enumerate(self._free_at):
            if free_at <= now:
                self._free_at[number] = float("inf")
                return number, 0.0
        self._free_at.append(float("inf"))
        return len(self._free_at) - 1, COLD_S

    def leave(self, number, now):
        """Give it back."""
        self._free_at[number] = now


def _leased(invoke):
    """Invocations by API Gateway, each of which takes a part of the concurrency, or is refused."""
    instances = defaultdict(_Instances)

    async def invoke_route(
        api_id, account_id, region, route, stage, connection_id, event_type, request_id, *more, **own
    ):
        function = _function(api_id, route)
        slot, _ = lambda_svc._acquire_execution_slot({}, {"FunctionName": function})
        give_up = time.monotonic() + GATHERED_S
        while slot is None and event_type == "DISCONNECT" and time.monotonic() < give_up:
            await asyncio.sleep(WARM_S)
            slot, _ = lambda_svc._acquire_execution_slot({}, {"FunctionName": function})
        if slot is None:
            lambda_svc._emit_lambda_metrics(function, duration_ms=0.0, error=False, throttle=True)
            return refuse(500, "Internal server error", event_type, connection_id, request_id)
        loop = asyncio.get_running_loop()
        mine = instances[slot]
        number, start_s = mine.take(loop.time())

        def release():
            mine.leave(number, loop.time())
            lambda_svc._release_execution_slot(slot)

        given = api_id, account_id, region, route, stage, connection_id, event_type, request_id, *more
        if event_type != "MESSAGE":
            # The emulator runs them one after another, AWS side by side: they count as long as they would run there.
            loop.call_later(start_s + WARM_S, release)
            done, _ = await asyncio.gather(invoke(*given, **own), asyncio.sleep(start_s + WARM_S))
            return done
        try:
            await asyncio.sleep(start_s)
            return await invoke(*given, **own)
        finally:
            release()

    return invoke_route


def _function(api_id, route):
    """The name of the function behind a route."""
    integration = apigateway._integrations.get(api_id, {}).get(route.get("target", "").rpartition("/")[2], {})
    reference = apigateway._extract_lambda_ref_from_integration_uri(integration.get("integrationUri", ""))
    return lambda_svc._resolve_name_and_qualifier(reference)[0]
