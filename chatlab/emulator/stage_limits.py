"""The limits that a stage sets for its routes, within the emulator, which keeps them and does not enforce them.

Each route has a token bucket of its own, as its entry in `RouteSettings`, or else `DefaultRouteSettings`, says. What is
above is refused before a function runs: a handshake with status 429, a message with an error frame to its sender; of a
`$disconnect` nobody hears.
https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html
"""

from typing import Any

from ministack.services import apigateway

from chatlab.emulator.route_errors import route_error
from chatlab.emulator.route_invocations import Invoke, Result, RouteInvocation, wrap_invocations
from chatlab.emulator.token_bucket import TokenBucket


def enforce_stage_limits() -> None:
    """Let stages keep to their limits, from now on, in this process."""
    # By API, stage, route and limits: new limits begin with a full bucket.
    buckets: dict[tuple[str, str, str, float, float], TokenBucket] = {}

    async def throttle(invocation: RouteInvocation, invoke: Invoke) -> Result:
        route_key: str = invocation.route["routeKey"]
        rate_per_s, burst = _limits(invocation.api_id, invocation.stage, route_key)
        if rate_per_s is not None:
            burst = burst or rate_per_s
            key = invocation.api_id, invocation.stage, route_key, rate_per_s, burst
            if not buckets.setdefault(key, TokenBucket(rate_per_s, burst)).take():
                return route_error(429, "Too Many Requests", invocation)
        return await invoke(invocation)

    wrap_invocations(throttle)


def _limits(api_id: str, stage: str, route_key: str) -> tuple[float | None, float | None]:
    """How many a second the route takes, and how many at once; None where nothing is set."""
    settings: dict[str, Any] = apigateway._stages.get(api_id, {}).get(stage, {})
    of_all, own = settings.get("defaultRouteSettings") or {}, (settings.get("routeSettings") or {}).get(route_key) or {}
    rate_per_s, burst = (own.get(name, of_all.get(name)) for name in ("throttlingRateLimit", "throttlingBurstLimit"))
    return rate_per_s, burst
