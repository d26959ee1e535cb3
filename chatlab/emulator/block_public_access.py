"""Block Public Access of the account, which the emulator does not have: none is set, as in a new account.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_GetPublicAccessBlock.html
"""

from chatlab.emulator.asgi import App, Receive, Scope, Send, respond

PATH = "/v20180820/configuration/publicAccessBlock"
NOT_SET = (
    b"<?xml version='1.0'?><ErrorResponse><Error><Code>NoSuchPublicAccessBlockConfiguration</Code>"
    b"<Message>The public access block configuration was not found</Message></Error></ErrorResponse>"
)


def with_account_settings(app: App) -> App:
    """The application, which also answers those who read the account's settings: 404, since there are none."""

    async def with_settings(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["method"], scope["path"]) == ("GET", PATH):
            await respond(send, 404, [(b"content-type", b"application/xml")], NOT_SET)
        else:
            await app(scope, receive, send)

    return with_settings
