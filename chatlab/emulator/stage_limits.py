"""The limits that a stage sets for its routes, within the emulator, which keeps them and does not enforce them.

Each route has a token bucket of its own: its entry in `RouteSettings`, or else `DefaultRouteSettings`. What is above is
refused before a function runs: a handshake with status 429, a message with an error frame to whoever said it; of a
`$disconnect` nobody hears.
https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html
"""

import json
from contextvars import ContextVar

from ministack.services import apigateway
from temper import Bucket

TOO_MANY = "Too Many Requests"

_handshake: ContextVar[dict] = ContextVar("limited_handshake")


def limited(app):
    """The application, whose stages keep to their limits. Changes the emulator in this process."""
    apigateway._invoke_ws_lambda = _within_limits(apigateway._invoke_ws_lambda)

    async def refusing(scope, receive, send):
        if scope["type"] != "websocket":
            await app(scope, receive, send)
            return
        handshake = {"is_refused": False}
        _handshake.set(handshake)

        async def answer(message):
            if handshake["is_refused"] and message["type"] == "websocket.close":
                await send({"type": "websocket.http.response.start", "status": 429, "headers": []})
                message = {"type": "websocket.http.response.body", "body": json.dumps({"message": TOO_MANY}).encode()}
            await send(message)

        await app(scope, receive, answer)

    return refusing


def _within_limits(invoke):
    buckets = {}  # by API, stage, route and limits: new limits begin with a full bucket

    async def invoke_route(
        api_id, account_id, region, route, stage, connection_id, event_type, request_id, *more, **own
    ):
        rate, burst = _limits(api_id, stage, route["routeKey"])
        if rate is not None:
            key = api_id, stage, route["routeKey"], rate, burst
            if not buckets.setdefault(key, Bucket(rate, burst or rate)).take():
                return _refused(event_type, connection_id, request_id)
        return await invoke(
            api_id, account_id, region, route, stage, connection_id, event_type, request_id, *more, **own
        )

    return invoke_route


def _limits(api_id, stage, route_key):
    """How many a second the route takes, and how many at once; None where nothing is set."""
    settings = apigateway._stages.get(api_id, {}).get(stage, {})
    of_all, own = settings.get("defaultRouteSettings") or {}, (settings.get("routeSettings") or {}).get(route_key) or {}
    return tuple(own.get(name, of_all.get(name)) for name in ("throttlingRateLimit", "throttlingBurstLimit"))


def _refused(event_type, connection_id, request_id):
    if event_type == "CONNECT":
        _handshake.get()["is_refused"] = True
        return {"statusCode": 429}
    if event_type == "MESSAGE":  # the emulator sends the body to whoever spoke, and to nobody else
        frame = {"message": TOO_MANY, "connectionId": connection_id, "requestId": request_id}
        return {"statusCode": 429, "body": json.dumps(frame)}
    return None
