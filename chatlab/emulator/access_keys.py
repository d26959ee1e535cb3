"""The access keys that the emulator gives out: the person's own, and those of functions."""

import json
import os
import secrets
from pathlib import Path
from typing import Any, TypeAlias, TypedDict
from xml.etree import ElementTree

import httpx
from ministack.app import app as ministack_app
from ministack.core import iam_evaluator, lambda_runtime
from ministack.services import lambda_svc

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
