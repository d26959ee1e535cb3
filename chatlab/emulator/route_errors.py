"""What API Gateway answers for a function that fails, or that it may not invoke: on a handshake and to a message.

A handshake gets a status, a message an error frame, to its sender alone; of a `$disconnect` nobody hears, since it is
best effort: https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
"""

import json
from contextvars import ContextVar
from dataclasses import dataclass

from chatlab.emulator.asgi import App, Message, Receive, Scope, Send
from chatlab.emulator.route_invocations import Invoke, Result, RouteInvocation, wrap_invocations

INTERNAL_SERVER_ERROR = "Internal server error"


@dataclass
class _Handshake:
    """Of the handshake under way: the status and message with which it is refused, once that is known."""

    refusal: tuple[int, str] | None = None


_handshake: ContextVar[_Handshake] = ContextVar("handshake")


def with_refused_handshakes(app: App) -> App:
    """The application, whose handshakes are refused as `route_error` says: the emulator itself knows 403 only."""

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await app(scope, receive, send)
            return
        handshake = _Handshake()
        _handshake.set(handshake)

        async def send_status(message: Message) -> None:
            if handshake.refusal and message["type"] == "websocket.close":
                status, sentence = handshake.refusal
                await send({"type": "websocket.http.response.start", "status": status, "headers": []})
                body = json.dumps({"message": sentence}).encode()
                message = {"type": "websocket.http.response.body", "body": body}
            await send(message)

        await app(scope, receive, send_status)

    return refusing


def hide_function_errors() -> None:
    """From now on, in this process: the emulator would send the text of a function's error to whoever sent the message.

    That is of a function that raises, is killed or takes too long.
    """

    async def hide(invocation: RouteInvocation, invoke: Invoke) -> Result:
        result = await invoke(invocation)
        if result and result.get("statusCode") == 500 and "body" in result:
            return route_error(500, INTERNAL_SERVER_ERROR, invocation)
        return result

    wrap_invocations(hide)


def route_error(status: int, message: str, invocation: RouteInvocation) -> Result:
    """What the emulator is to take for the function's result, so that the error goes where API Gateway sends it."""
    if invocation.event_type == "CONNECT":
        _handshake.get().refusal = status, message
        return {"statusCode": status}
    if invocation.event_type == "MESSAGE":  # the emulator sends the body to whoever sent the message, and nobody else
        frame = {
            "message": message, "connectionId": invocation.connection_id, "requestId": invocation.request_id,
        }  # fmt: skip
        return {"statusCode": status, "body": json.dumps(frame)}
    return None
