"""Signature Version 4 for many posts of one message: what all of them have in common is computed once.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import os
import time
from datetime import UTC, datetime
from urllib.parse import SplitResult, quote, urlsplit

from botocore.credentials import EnvProvider
from botocore.exceptions import NoCredentialsError

LIFETIME_S = 120  # API Gateway refuses a signature that is five minutes old


class Signer:
    """The requests that post one message.

    Make one for each broadcast: it reads the credentials from the environment and signs for the present time. It does
    so again after `LIFETIME_S`.

    Args:
        endpoint: the stage's URL without `/@connections`.
        data: the message.

    Raises:
        NoCredentialsError: if the environment has none.
    """

    def __init__(self, endpoint: str, data: bytes) -> None:
        self._url, self._data = urlsplit(endpoint), data
        self._prepare()

    def request(self, connection_id: str) -> bytes:
        """The whole HTTP request that posts to this connection. Raises NoCredentialsError."""
        if time.monotonic() - self._signed_at > LIFETIME_S:
            self._prepare()
        quoted = quote(connection_id, safe="~")
        canonical = hashlib.sha256(self._before + quote(quoted, safe="~").encode() + self._after)
        signature = self._hmac.copy()
        signature.update(canonical.hexdigest().encode())
        line = f"POST {self._path}/@connections/{quoted}{self._head}{signature.hexdigest()}"
        return line.encode() + self._body

    def _prepare(self) -> None:
        """Compute what all requests share: the signing key, the headers and the canonical request around an id."""
        url, data = self._url, self._data
        if not (found := EnvProvider().load()):
            raise NoCredentialsError
        credentials = found.get_frozen_credentials()
        timestamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._signed_at = time.monotonic()
        self._path = url.path.rstrip("/")
        headers = {"content-type": "application/octet-stream", "host": host(url), "x-amz-date": timestamp}
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        names = ";".join(headers)  # they are in order
        scope = f"{timestamp[:8]}/{os.environ['AWS_DEFAULT_REGION']}/execute-api/aws4_request"
        key = f"AWS4{credentials.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._hmac = hmac.new(key, f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n".encode(), "sha256")
        canonical_headers = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in headers.items())
        # The parts of the canonical request before and after the connection's id. There a path is quoted twice.
        self._before = f"POST\n{quote(self._path, safe='/~')}/%40connections/".encode()
        self._after = f"\n\n{canonical_headers}\n{names}\n{hashlib.sha256(data).hexdigest()}".encode()
        lines = "".join(f"\r\n{name}: {value}" for name, value in headers.items())
        self._head = (
            f" HTTP/1.1{lines}\r\ncontent-length: {len(data)}\r\nauthorization: AWS4-HMAC-SHA256 "
            f"Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature="
        )
        self._body = b"\r\n\r\n" + data


def host(url: SplitResult) -> str:
    """The Host header for a split URL, without the scheme's default port, as botocore writes it."""
    default = {"http": 80, "https": 443}[url.scheme]
    return f"{url.hostname}" if url.port in (None, default) else f"{url.hostname}:{url.port}"
