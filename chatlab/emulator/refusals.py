"""What API Gateway answers for a function that fails, or that it may not run: on a handshake and to a message.

A handshake gets a status, a message an error frame, to its sender alone; of a `$disconnect` nobody hears, since it is
best effort: https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
"""

import json
import logging
from contextvars import ContextVar

from ministack.services import apigateway

_handshake: ContextVar[dict] = ContextVar("handshake")


def answering(app):
    """The application, whose handshakes are refused as `refuse` has said: the emulator itself knows status 403 only."""
    # uvicorn complains of each handshake that is refused with a status, although ASGI allows it.
    complaint = "ASGI callable returned without completing handshake."
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.getMessage() != complaint)

    async def answer_handshake(scope, receive, send):
        if scope["type"] != "websocket":
            await app(scope, receive, send)
            return
        handshake = {}
        _handshake.set(handshake)

        async def answer(message):
            if handshake and message["type"] == "websocket.close":
                await send({"type": "websocket.http.response.start", "status": handshake["status"], "headers": []})
                body = json.dumps({"message": handshake["message"]}).encode()
                message = {"type": "websocket.http.response.body", "body": body}
            await send(message)

        await app(scope, receive, answer)

    return answer_handshake


def hide_what_failing_functions_say():
    """A function that raises, is killed or takes too long: the emulator would send its error's text to the speaker."""
    invoke = apigateway._invoke_ws_lambda

    async def invoke_route(
        api_id, account_id, region, route, stage, connection_id, event_type, request_id, *more, **own
    ):
        answer = await invoke(
            api_id, account_id, region, route, stage, connection_id, event_type, request_id, *more, **own
        )
        if answer and answer.get("statusCode") == 500 and "body" in answer:
            return refuse(500, "Internal server error", event_type, connection_id, request_id)
        return answer

    apigateway._invoke_ws_lambda = invoke_route


def refuse(status, message, event_type, connection_id, request_id):
    """Instead of running a route's function: what the emulator is to take for the function's answer."""
    if event_type == "CONNECT":
        _handshake.get().update(status=status, message=message)
        return {"statusCode": status}
    if event_type == "MESSAGE":  # the emulator sends the body to whoever spoke, and to nobody else
        frame = {"message": message, "connectionId": connection_id, "requestId": request_id}
        return {"statusCode": status, "body": json.dumps(frame)}
    return None
