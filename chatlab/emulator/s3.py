"""S3's website endpoints, which have an index document: MiniStack answers there as at the REST address.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/WebsiteEndpoints.html
"""

import re
from xml.etree import ElementTree

from ministack.services import s3

from chatlab.emulator.calls import App, Receive, Response, Scope, Send

HOST = re.compile(r"(?P<bucket>[a-z0-9.\-]+)\.s3-website[.\-][a-z0-9\-]+\.amazonaws\.com")


def with_websites(app: App) -> App:
    """The application, which serves a website at its host name: the index document of each folder, to GET and HEAD.

    For a bucket without the configuration of a website the answer is 404.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        host = dict(scope.get("headers", [])).get(b"host", b"").decode()
        if scope["type"] != "http" or not (website := HOST.fullmatch(host)):
            await app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _refuse(send, 405, "MethodNotAllowed")
        elif not (index := _index_document(website["bucket"])):
            await _refuse(send, 404, "NoSuchWebsiteConfiguration")
        else:
            path = f"{scope['path']}{index}" if scope["path"].endswith("/") else scope["path"]
            await app({**scope, "path": path, "raw_path": path.encode()}, receive, send)

    return serve


def _index_document(bucket: str) -> str | None:
    """The name of the file that stands for a folder in the bucket's website; None if it has no website."""
    configuration: bytes | None = s3._bucket_websites.get_scoped(s3._bucket_owner_account(bucket), None, bucket)
    return ElementTree.fromstring(configuration).findtext(".//{*}IndexDocument/{*}Suffix") if configuration else None


async def _refuse(send: Send, status: int, code: str) -> None:
    body = f"<html><h1>{status} {code}</h1></html>".encode()
    await Response(status, [(b"content-type", b"text/html")], body).send(send)
