"""Responses of AWS's services, and how each service writes an error."""

import json
from dataclasses import dataclass

from chatlab.emulator.asgi import Headers, Send, respond


@dataclass
class Response:
    """A whole response to a call."""

    status: int
    headers: Headers
    body: bytes

    async def send(self, send: Send) -> None:
        """Send it as it is."""
        await respond(send, self.status, self.headers, self.body)


def json_error(status: int, code: str, message: str) -> Response:
    """An error as the services with JSON write it."""
    body = json.dumps({"message": message, "Message": message, "__type": code}).encode()
    return Response(status, [(b"content-type", b"application/json"), (b"x-amzn-errortype", code.encode())], body)


def s3_error(status: int, code: str, message: str) -> Response:
    """An error as S3 writes it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Response(status, [(b"content-type", b"application/xml")], body)


def iam_error(status: int, code: str, message: str) -> Response:
    """An error as IAM writes it."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    body = f'<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">{error}</ErrorResponse>'.encode()
    return Response(status, [(b"content-type", b"text/xml")], body)


# A service that is not named writes its errors as DynamoDB does.
ERROR_WRITERS = {"s3": s3_error, "iam": iam_error}
THROTTLING_ERRORS = {
    "s3": (503, "SlowDown"), "iam": (400, "Throttling"), "lambda": (429, "TooManyRequestsException"),
    "apigateway": (429, "TooManyRequestsException"),
}  # fmt: skip
INTERNAL_ERRORS = {"s3": "InternalError", "iam": "ServiceFailure", "lambda": "ServiceException"}


def throttling_error(service: str) -> Response:
    """What a service answers to one call too many."""
    write = ERROR_WRITERS.get(service, json_error)
    status, code = THROTTLING_ERRORS.get(service, (400, "ThrottlingException"))
    return write(status, code, "Rate exceeded")


def internal_error(service: str) -> Response:
    """What a service answers when it fails itself: status 500."""
    write = ERROR_WRITERS.get(service, json_error)
    return write(500, INTERNAL_ERRORS.get(service, "InternalServerError"), "Internal failure")
