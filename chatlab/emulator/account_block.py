"""The account's own Block Public Access, of which the emulator knows nothing: none is set, as in a new account.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_GetPublicAccessBlock.html
"""

PATH = "/v20180820/configuration/publicAccessBlock"
NONE = (
    b"<?xml version='1.0'?><ErrorResponse><Error><Code>NoSuchPublicAccessBlockConfiguration</Code>"
    b"<Message>The public access block configuration was not found</Message></Error></ErrorResponse>"
)


def with_account_block(app):
    """The application, with an answer to those who ask for it."""

    async def answering(scope, receive, send):
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("GET", PATH):
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"application/xml")]})
        await send({"type": "http.response.body", "body": NONE})

    return answering
