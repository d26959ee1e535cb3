"""Signature Version 4 for many posts of one message: what is the same for all of them is computed once.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import os
import time
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from botocore.credentials import EnvProvider


class Signer:
    """The requests that post one message.

    The credentials are read from the environment, and the date is now: a signer is made for each broadcast.

    Args:
        endpoint: the stage's URL without `/@connections`.
        data: the message, bytes.
        now: the time of the signature, a datetime; the present if it is not given.
    """

    def __init__(self, endpoint, data, now=None):
        url = urlsplit(endpoint)
        credentials = EnvProvider().load().get_frozen_credentials()
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        self._made = time.monotonic()
        self._path = url.path.rstrip("/")
        headers = {"content-type": "application/octet-stream", "host": host(url), "x-amz-date": stamp}
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        names = ";".join(headers)  # they are in order
        scope = f"{stamp[:8]}/{os.environ['AWS_DEFAULT_REGION']}/execute-api/aws4_request"
        key = f"AWS4{credentials.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._keyed = hmac.new(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n".encode(), "sha256")
        canonical_headers = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in headers.items())
        # The canonical request's parts in front of the connection's id and behind it. A path is quoted twice there.
        self._before = f"POST\n{quote(self._path, safe='/~')}/%40connections/".encode()
        self._after = f"\n\n{canonical_headers}\n{names}\n{hashlib.sha256(data).hexdigest()}".encode()
        lines = "".join(f"\r\n{name}: {value}" for name, value in headers.items())
        self._head = (
            f" HTTP/1.1{lines}\r\ncontent-length: {len(data)}\r\nauthorization: AWS4-HMAC-SHA256 "
            f"Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature="
        )
        self._body = b"\r\n\r\n" + data

    @property
    def age_s(self):
        """Seconds since the date of the signatures."""
        return time.monotonic() - self._made

    def request(self, connection_id):
        """The whole HTTP request that posts to this connection, bytes."""
        quoted = quote(connection_id, safe="~")
        canonical = hashlib.sha256(self._before + quote(quoted, safe="~").encode() + self._after)
        signature = self._keyed.copy()
        signature.update(canonical.hexdigest().encode())
        line = f"POST {self._path}/@connections/{quoted}{self._head}{signature.hexdigest()}"
        return line.encode() + self._body


def host(url):
    """The Host header of a split URL: without the port where that is the scheme's own, as botocore has it."""
    usual = {"http": 80, "https": 443}[url.scheme]
    return url.hostname if url.port in (None, usual) else f"{url.hostname}:{url.port}"
