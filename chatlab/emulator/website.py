"""S3's website endpoints, which the emulator answers as if they were the REST address: with an index document.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/WebsiteEndpoints.html
"""

import re
from xml.etree import ElementTree

from ministack.services import s3

HOST = re.compile(r"(?P<bucket>[a-z0-9.\-]+)\.s3-website[.\-][a-z0-9\-]+\.amazonaws\.com")


def with_websites(app):
    """The ASGI application, of which a website's host name gets the index document of each folder, or 404 if the
    bucket has no website's configuration, and takes nothing but GET and HEAD."""

    async def serve(scope, receive, send):
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


def _index_document(bucket):
    """The suffix that the bucket's website has, or None."""
    configuration = s3._bucket_websites.get_scoped(s3._bucket_owner_account(bucket), None, bucket)
    return ElementTree.fromstring(configuration).findtext(".//{*}IndexDocument/{*}Suffix") if configuration else None


async def _refuse(send, status, code):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": f"<html><h1>{status} {code}</h1></html>".encode()})
