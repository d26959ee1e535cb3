"""The access keys that the emulator gives out: the person's own, and those of functions."""

import contextvars
import json
import os
import secrets
from pathlib import Path
from typing import Any, TypeAlias, TypedDict
from urllib.parse import parse_qs
from xml.etree import ElementTree

import httpx
from ministack.app import app as ministack_app
from ministack.core import iam_evaluator, lambda_runtime
from ministack.core.responses import get_account_id
from ministack.core.router import extract_access_key_id
from ministack.core.sigv4 import decode_header_value
from ministack.services import lambda_svc, s3

from chatlab.emulator.asgi import App, Message, Receive, Scope, Send

USER = "learner"
Policy: TypeAlias = dict[str, Any]
ADMINISTRATOR: Policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class AccessKey(TypedDict):
    """A key, as IAM's CreateAccessKey names its parts."""

    AccessKeyId: str
    SecretAccessKey: str


def is_issued(access_key_id: str) -> bool:
    """Whether a key was given out by the emulator's IAM or STS, and is none of those that it takes for root."""
    if iam_evaluator.is_root_access_key(access_key_id):
        return False
    account_id: str | None = iam_evaluator.find_iam_access_key_account(access_key_id)
    return isinstance(iam_evaluator.resolve_credential(access_key_id, account_id), iam_evaluator.ResolvedCredential)


def key_in_query(query_string: bytes) -> str | None:
    """The access key that a URL names, where the emulator looks for it; None if nothing in it is of a signature."""
    query = _parse(query_string)
    return extract_access_key_id({}, query) if iam_evaluator._signature_attempted("", query) else None


def signature_error(scope: Scope, body: bytes) -> str | None:
    """AWS's code for what is wrong with a request's signature, in a header or in the URL; None if it is valid.

    The emulator verifies it, but not at each place where it answers. What it notes of the request while it does so
    stays in a context of its own.
    """
    try:
        error: str | None = contextvars.copy_context().run(_signature_error, scope, body)
    except (TypeError, ValueError):  # it compares and parses only what is ASCII
        return "IncompleteSignature"
    return error


def _signature_error(scope: Scope, body: bytes) -> str | None:
    method, path, query = scope.get("method", "GET"), scope["raw_path"].decode("ascii"), _parse(scope["query_string"])
    iam_evaluator.pin_signed_request(method, path, query, scope["headers"])
    iam_evaluator.pin_signed_body(body)
    request = iam_evaluator._signed_request.get()
    if request is None:
        return "MissingAuthenticationToken"
    if request.s3_scoped:  # the newer form of a presigned URL, which the emulator leaves to S3
        headers = {name.decode("latin-1"): decode_header_value(value) for name, value in scope["headers"]}
        return "SignatureDoesNotMatch" if s3._verify_presigned_sigv4(method, scope["path"], headers, query) else None
    account_id = iam_evaluator.find_iam_access_key_account(request.access_key_id) or get_account_id()
    checked = iam_evaluator.authenticate(request.access_key_id, account_id)
    if isinstance(checked, iam_evaluator.ResolvedCredential):
        return None
    return getattr(checked, "code", "MissingAuthenticationToken")


def _parse(query_string: bytes) -> dict[str, list[str]]:
    return parse_qs(query_string.decode("ascii"), keep_blank_values=True)


def draw_function_keys_at_random() -> None:
    """From now on, in this process: the emulator computes a function's keys from names that anybody may know.

    It takes the name of the function and that of its role, which stands behind the last slash of the role's ARN. So a
    path that is drawn at random makes the keys random.
    """
    original = lambda_runtime.execution_credentials

    def execution_credentials(config: dict[str, Any]) -> Any:
        path, _, role = config["Role"].rpartition("/")
        return original({**config, "Role": f"{path}/{secrets.token_hex(32)}/{role}"})

    lambda_runtime.execution_credentials = lambda_svc.execution_credentials = execution_credentials


async def create_access_key(policy: Policy) -> AccessKey:
    """Make an IAM user with this policy, and a key for it.

    This calls the emulator within this process, as its root user.
    """
    root = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
    transport = httpx.ASGITransport(ministack_app)
    headers = {"Authorization": root}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as iam:

        async def call(action: str, **parameters: str) -> ElementTree.Element:
            response = await iam.post("/", data={"Version": "2010-05-08", "Action": action} | parameters)
            return ElementTree.fromstring(response.raise_for_status().content)

        await call("CreateUser", UserName=USER)
        # A managed policy, as a person would attach it: one within a user holds 2,048 characters.
        created = await call("CreatePolicy", PolicyName=f"{USER}s-policy", PolicyDocument=json.dumps(policy))
        await call("AttachUserPolicy", UserName=USER, PolicyArn=_text(created, "Arn"))
        key = await call("CreateAccessKey", UserName=USER)
    return {"AccessKeyId": _text(key, "AccessKeyId"), "SecretAccessKey": _text(key, "SecretAccessKey")}


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f".//{{*}}{name}", default="")


def save(key: AccessKey, path: Path) -> None:
    """Write the key where only this user can read it. The file is there at once and as a whole."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(key, file)
    draft.replace(path)


def with_access_key(key_file: Path, policy_file: str | None = None) -> App:
    """The emulator, which makes the person's key before its server takes the first connection.

    Its user is an administrator, or has the policy in `policy_file` and nothing else.
    """
    policy: Policy = json.loads(Path(policy_file).read_text()) if policy_file else ADMINISTRATOR

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_after_saving_the_key(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                save(await create_access_key(policy), key_file)
            await send(message)

        await ministack_app(scope, receive, send_after_saving_the_key if scope["type"] == "lifespan" else send)

    return app
