"""The keys that the emulator gives out: the person's own, and those of functions."""

import json
import os
import secrets
from pathlib import Path
from xml.etree import ElementTree

import httpx
from ministack.app import app as emulator
from ministack.core import iam_evaluator, lambda_runtime
from ministack.services import lambda_svc

USER = "learner"
ADMINISTRATOR = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def is_issued(access_key_id):
    """Whether a key was given out by the emulator's IAM or STS, and is none of those that it takes for root."""
    if iam_evaluator.is_root_access_key(access_key_id):
        return False
    account = iam_evaluator.find_iam_access_key_account(access_key_id)
    return isinstance(iam_evaluator.resolve_credential(access_key_id, account), iam_evaluator.ResolvedCredential)


def let_no_function_have_keys_that_can_be_guessed():
    """The emulator computes a function's keys from its name and its role's, which anybody may know. It reads the role's
    name behind the last slash of its ARN, so a path that is drawn at random makes them random."""
    original = lambda_runtime.execution_credentials

    def execution_credentials(config):
        path, _, role = config["Role"].rpartition("/")
        return original({**config, "Role": f"{path}/{secrets.token_hex(32)}/{role}"})

    lambda_runtime.execution_credentials = lambda_svc.execution_credentials = execution_credentials


async def make_key(policy=ADMINISTRATOR):
    """Make an IAM user with this policy, and a key for it, as {"AccessKeyId", "SecretAccessKey"}.

    The emulator is asked within this process, as its root user.
    """
    root = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
    options = {"base_url": "http://127.0.0.1", "headers": {"Authorization": root}}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(emulator), **options) as iam:

        async def ask(**parameters):
            answer = await iam.post("/", data={"Version": "2010-05-08"} | parameters)
            return ElementTree.fromstring(answer.raise_for_status().content)

        await ask(Action="CreateUser", UserName=USER)
        # A managed policy, as a person would attach it: one within a user holds 2,048 characters.
        made = await ask(Action="CreatePolicy", PolicyName=f"{USER}s-policy", PolicyDocument=json.dumps(policy))
        await ask(Action="AttachUserPolicy", UserName=USER, PolicyArn=made.findtext(".//{*}Arn"))
        key = await ask(Action="CreateAccessKey", UserName=USER)
    return {name: key.findtext(f".//{{*}}{name}") for name in ("AccessKeyId", "SecretAccessKey")}


def keep(key, path):
    """Write the key where only this user can read it. The file is there at once and as a whole."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(key, file)
    draft.replace(path)


def with_a_key(key_file, policy_file=None):
    """The emulator, which makes the key before its server takes the first connection.

    Its user is an administrator, or has the policy in `policy_file` and nothing else.
    """
    policy = json.loads(Path(policy_file).read_text()) if policy_file else ADMINISTRATOR

    async def app(scope, receive, send):
        async def send_when_there_is_a_key(message):
            if message["type"] == "lifespan.startup.complete":
                keep(await make_key(policy), key_file)
            await send(message)

        await emulator(scope, receive, send_when_there_is_a_key if scope["type"] == "lifespan" else send)

    return app
