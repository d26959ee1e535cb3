"""Who may speak to the local cloud: an ASGI middleware in front of MiniStack.

Loopback is no fence. Every web page that is open in a browser on this machine can send requests to it, and so can every
other user of the machine. MiniStack answers all of them, takes some well-known keys for root without looking at the
signature, and runs the code that it is given. So the guard refuses, before MiniStack sees it, a request without a valid
signature by a key that MiniStack has issued. Without a key you can do what anybody can do on AWS, too: join the chat,
read the page, and, with an API key of AppSync Events, publish and subscribe there. A web page of another site can do
none of it.
"""

import contextvars
import logging
import re
from urllib.parse import parse_qs, urlsplit

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id
from ministack.core.router import extract_access_key_id
from ministack.core.sigv4 import decode_header_value
from ministack.services import appsync_events, s3

from chatlab.emulator import appsync
from chatlab.emulator.calls import App, Message, Receive, Response, Scope, Send, error_response, read_body, replay

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
MAX_BODY_BYTES = 70_167_211  # the largest that the lab's services take: a function's code, as Lambda limits it
MAX_ANONYMOUS_BODY_BYTES = 64 * 1024

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
UNREPEATED_HEADERS = frozenset(
    {
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"authorization",
        b"content-length",
        b"x-api-key",
        b"sec-websocket-protocol",
    }
)
EXECUTE_API = "/_aws/execute-api/"
WEBSOCKET_API = re.compile(EXECUTE_API + r"[a-z0-9]+/[^/]+(/.*)?")
CONNECTION = re.compile(EXECUTE_API + r"[^/]+/[^/]+/@connections/.+")
MESSAGE_TYPE = b"application/octet-stream"
# An object of a lab's bucket, as `Lab.bucket` names it, or "" for its list. No path may lead out of it.
PAGE = re.compile(r"/[a-z0-9-]{3,20}-page-[0-9a-f]{12}(?!.*/\.{1,2}(/|$))/(?P<object_key>([^/].*)?)")
ANONYMOUS_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})  # S3 refuses the last two, as on AWS
ANONYMOUS_HEADERS = frozenset(
    b"host connection user-agent accept accept-encoding accept-language cache-control range if-match if-none-match"
    b" if-modified-since if-unmodified-since content-type content-length".split()
)
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-authentication-methods.html
AUTHORIZATION = re.compile(
    rb"AWS4-HMAC-SHA256 Credential=(?P<key>\w+)/\d{8}/[a-z0-9-]+/(?P<service>[a-z0-9-]+)/aws4_request, ?"
    rb"SignedHeaders=[a-z0-9;-]+, ?Signature=[0-9a-f]{64}"
)
OWN_SITES = (b"none", b"same-origin")
CORS = b"access-control-"

logger = logging.getLogger("guard")


class Refused(Exception):
    """Says what is wrong with a request, in one sentence."""


class Guard:
    """The ASGI application `app`, for those who may speak to it.

    `url` is the only address at which it answers, such as "http://127.0.0.1:4566".
    """

    def __init__(self, app: App, url: str) -> None:
        self._app = app
        self._origin, self._host = url.encode(), urlsplit(url).netloc.encode()
        # How Authorization headers begin that name an issued key. A deleted key may stay: its signatures are refused.
        self._issued: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with status 403 and a sentence, or let the request through."""
        try:
            if scope["type"] == "http":
                scope, receive = await self._admit_request(scope, receive)
            elif scope["type"] == "websocket":
                self._admit_websocket(scope)
        except Refused as refused:
            request = f"{scope.get('method', 'WebSocket')} {scope['path'][:100]!r}"
            logger.warning("Refused %s: %s", request, refused)
            await _refuse(scope, receive, send, refused)
            return
        await self._app(scope, receive, _without_cors(send))

    async def _admit_request(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
        """The request as MiniStack may see it."""
        headers = self._headers(scope)
        method, path = scope["method"], scope["path"]
        if method not in METHODS:
            raise Refused(f"Nothing here takes {method[:20]}.")
        body_bytes = _body_bytes(headers)
        if self._has_key(scope, headers):
            if path.startswith(("/_", "//")) and not path.startswith(EXECUTE_API):
                raise Refused("The emulator's own paths are closed.")
            self._require_own_page(headers)
            if not _is_for_connection(scope, headers):
                body = await read_body(receive)
                _require_signature(scope, body)
                receive = replay(body, receive)
            return scope, receive
        events = appsync.ADDRESS.fullmatch(path)
        if events and not events["realtime"] and method == "POST":
            self._require_own_page(headers)
            _require_api_key(events["api_id"], {"x-api-key": headers.get(b"x-api-key", b"").decode("latin-1")})
            kept = [(name, value) for name, value in scope["headers"] if name in (*ANONYMOUS_HEADERS, b"x-api-key")]
            return {**scope, "headers": kept}, receive
        page = PAGE.fullmatch(path)
        allowed = page and (method in ANONYMOUS_METHODS if page["object_key"] else method == "GET")
        if not allowed or scope["query_string"]:
            raise Refused("Without an access key only the page can be read: sign the request, as boto3 does.")
        if not _is_navigation(method, headers):
            self._require_own_page(headers)
        if body_bytes > MAX_ANONYMOUS_BODY_BYTES:
            raise Refused("The body is too large.")
        kept = [(name, value) for name, value in scope["headers"] if name in ANONYMOUS_HEADERS]
        return {**scope, "headers": kept}, receive

    def _admit_websocket(self, scope: Scope) -> None:
        headers = self._headers(scope)
        origin = headers.get(b"origin")  # every browser sends it
        if origin is not None and not _is_loopback(origin):
            raise Refused("A page of another site may not join the chat.")
        if (events := appsync.ADDRESS.fullmatch(scope["path"])) and events["realtime"]:
            subprotocols = headers.get(b"sec-websocket-protocol", b"").decode("latin-1")
            authorization, _ = appsync_events._decode_header_subprotocol(subprotocols)
            _require_api_key(events["api_id"], authorization)
        elif not WEBSOCKET_API.fullmatch(scope["path"]):
            raise Refused("There is no WebSocket API at this address.")
        if self._has_key(scope, headers):
            _require_signature(scope, b"")

    def _headers(self, scope: Scope) -> dict[bytes, bytes]:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(headers) < len(scope["headers"]):
            names = [name for name, _ in scope["headers"]]
            if any(names.count(name) > 1 for name in UNREPEATED_HEADERS):
                raise Refused("A header that says who asks is repeated.")
        # Another name may be made to resolve to 127.0.0.1, and a page of that name would be of the same origin.
        if headers.get(b"host") != self._host:
            raise Refused(f"The local cloud answers at {self._origin.decode()} only.")
        return headers

    def _require_own_page(self, headers: dict[bytes, bytes]) -> None:
        is_own = headers.get(b"origin", self._origin) == self._origin
        if not is_own or headers.get(b"sec-fetch-site", b"none") not in OWN_SITES:
            raise Refused("A page of another site may ask for nothing here.")

    def _has_key(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        """Whether the request names a key that was issued; False if it names none."""
        if authorization := headers.get(b"authorization"):
            beginning = authorization.partition(b"/")[0]
            if beginning not in self._issued or not authorization.isascii():
                signed = AUTHORIZATION.fullmatch(authorization)
                _require_issued(signed["key"].decode() if signed else "")
                self._issued.add(beginning)
            return True
        key = _key_in_query(scope["query_string"])
        if key is not None:
            _require_issued(key)
        return key is not None


def _body_bytes(headers: dict[bytes, bytes]) -> int:
    """How long the body will be: the HTTP parser takes no more than that."""
    if b"transfer-encoding" in headers:
        raise Refused("A request has to say how long its body is.")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or (body_bytes := int(length)) > MAX_BODY_BYTES:
        raise Refused("The body is too large.")
    return body_bytes


def _is_for_connection(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether MiniStack takes a request with an Authorization header for a post to a connection, and nothing else.

    There are thousands a second, and MiniStack itself verifies the signature of each.
    """
    return (
        CONNECTION.fullmatch(scope["path"]) is not None
        and not scope["query_string"]
        and headers.get(b"content-type", MESSAGE_TYPE) == MESSAGE_TYPE
        and b"x-amz-target" not in headers
        and headers[b"authorization"].partition(b",")[0].endswith(b"/execute-api/aws4_request")
    )


def _require_issued(key: str) -> None:
    """Refuse a key that MiniStack's IAM or STS has not given out. Some of those it just takes for root's."""
    if not iam_evaluator.is_root_access_key(key):
        account_id: str | None = iam_evaluator.find_iam_access_key_account(key)
        if isinstance(iam_evaluator.resolve_credential(key, account_id), iam_evaluator.ResolvedCredential):
            return
    raise Refused("This local cloud has not issued the access key: run notebook 00_start, which makes one.")


def _require_api_key(api_id: str, authorization: dict[str, str] | None) -> None:
    if not appsync.is_authorized(api_id, authorization):
        raise Refused("AppSync Events asks for an API key that this API has issued, and that has not expired.")


def _require_signature(scope: Scope, body: bytes) -> None:
    """Refuse a signature that is not valid, in a header or in the URL.

    MiniStack verifies it, but not at each place where it answers. What it notes of the request while it does so
    stays in a context of its own.
    """
    try:
        error: str | None = contextvars.copy_context().run(_signature_error, scope, body)
    except (TypeError, ValueError):  # it compares and parses only what is ASCII
        error = "IncompleteSignature"
    if error:
        raise Refused(f"The signature of the request is not valid ({error}).")


def _is_loopback(origin: bytes) -> bool:
    try:
        parts = urlsplit(origin.decode("ascii"))
        return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK
    except ValueError:
        return False


def _is_navigation(method: str, headers: dict[bytes, bytes]) -> bool:
    """Whether somebody follows a link to the page, as from a notebook: no other page sees the response."""
    return (
        method == "GET"
        and b"origin" not in headers
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest") == b"document"
    )


def _without_cors(send: Send) -> Send:
    """No answer may be read by a page of another origin, whatever MiniStack allows."""

    async def send_without_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [header for header in message["headers"] if header[0][:15].lower() != CORS]
        await send(message)

    return send_without_cors


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    """Answer with status 403, in the form in which boto3 reads errors, and end the connection."""
    signed = AUTHORIZATION.fullmatch(dict(scope["headers"]).get(b"authorization", b""))
    if signed:
        service = signed["service"].decode()
        code = "AccessDenied" if service in ("iam", "s3", "sts") else "AccessDeniedException"
        response = error_response(service, 403, code, str(refused))
    else:
        response = Response(403, [(b"content-type", b"text/plain; charset=utf-8")], f"{refused}\n".encode())
    response.headers += [(b"content-length", str(len(response.body)).encode()), (b"connection", b"close")]
    kind = ""
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        kind = "websocket."
    await send({"type": f"{kind}http.response.start", "status": 403, "headers": response.headers})
    await send({"type": f"{kind}http.response.body", "body": response.body})


def _key_in_query(query_string: bytes) -> str | None:
    """The access key that a URL names, where MiniStack looks for it; None if the URL has no part of a signature."""
    query = _parse_query(query_string)
    return extract_access_key_id({}, query) if iam_evaluator._signature_attempted("", query) else None


def _signature_error(scope: Scope, body: bytes) -> str | None:
    """AWS's code for what is wrong with the signature of a request; None if it is valid."""
    method, path = scope.get("method", "GET"), scope["raw_path"].decode("ascii")
    query = _parse_query(scope["query_string"])
    iam_evaluator.pin_signed_request(method, path, query, scope["headers"])
    iam_evaluator.pin_signed_body(body)
    request = iam_evaluator._signed_request.get()
    if request is None:
        return "MissingAuthenticationToken"
    if request.s3_scoped:  # the newer form of a presigned URL, which MiniStack leaves to S3
        headers = {name.decode("latin-1"): decode_header_value(value) for name, value in scope["headers"]}
        return "SignatureDoesNotMatch" if s3._verify_presigned_sigv4(method, scope["path"], headers, query) else None
    account_id = iam_evaluator.find_iam_access_key_account(request.access_key_id) or get_account_id()
    checked = iam_evaluator.authenticate(request.access_key_id, account_id)
    if isinstance(checked, iam_evaluator.ResolvedCredential):
        return None
    return getattr(checked, "code", "MissingAuthenticationToken")


def _parse_query(query_string: bytes) -> dict[str, list[str]]:
    return parse_qs(query_string.decode("ascii"), keep_blank_values=True)
