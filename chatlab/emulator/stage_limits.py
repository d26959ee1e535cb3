"""The limits that a stage sets for its routes, within the emulator, which keeps them and does not enforce them.

Each route has a token bucket of its own: its entry in `RouteSettings`, or else `DefaultRouteSettings`. What is above is
refused before a function runs: a handshake with status 429, a message with an error frame to whoever said it; of a
`$disconnect` nobody hears.
https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html
"""

from ministack.services import apigateway
from refusals import refuse
from temper import Bucket

TOO_MANY = "Too Many Requests"


def enforce():
    """Let stages keep to their limits, from now on, in this process."""
    apigateway._invoke_ws_lambda = _within_limits(apigateway._invoke_ws_lambda)


def _within_limits(invoke):
    buckets = {}  # by API, stage, route and limits: new limits begin with a full bucket

    async def invoke_route(
        api_id, account_id, region, route, stage, connection_id, event_type, request_id, *more, **own
    ):
        rate, burst = _limits(api_id, stage, route["routeKey"])
        if rate is not None:
            key = api_id, stage, route["routeKey"], rate, burst
            if not buckets.setdefault(key, Bucket(rate, burst or rate)).take():
                return refuse(429, TOO_MANY, event_type, connection_id, request_id)
        return await invoke(
            api_id, account_id, region, route, stage, connection_id, event_type, request_id, *more, **own
        )

    return invoke_route


def _limits(api_id, stage, route_key):
    """How many a second the route takes, and how many at once; None where nothing is set."""
    settings = apigateway._stages.get(api_id, {}).get(stage, {})
    of_all, own = settings.get("defaultRouteSettings") or {}, (settings.get("routeSettings") or {}).get(route_key) or {}
    return tuple(own.get(name, of_all.get(name)) for name in ("throttlingRateLimit", "throttlingBurstLimit"))
