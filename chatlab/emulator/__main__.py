"""Serve the local cloud: `python chatlab/emulator <file descriptor of a listening socket> <file for the key>`.

Run by its folder and not as a part of `chatlab`, so that it imports nothing of what notebooks need.
"""

import json
import os
import secrets
import socket
import sys
from pathlib import Path
from xml.etree import ElementTree

import httpx
import uvicorn
from guard import Guard
from ministack.app import app as emulator
from ministack.core import iam_evaluator, lambda_runtime, tls
from ministack.services import lambda_svc
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MESSAGE_LIMIT = 128 * 1024  # bytes: API Gateway closes the socket on a larger message, with code 1009
MAX_HEAD_BYTES = 64 * 1024
USER = "learner"
ADMINISTRATOR = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Protocol(HttpToolsProtocol):
    """HTTP, with an end to how long a request's line and headers may be: the parser would collect them for ever."""

    _unanswered_bytes = 0

    def data_received(self, data):
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:  # nothing to answer yet
            self._unanswered_bytes += len(data)
            if self._unanswered_bytes > MAX_HEAD_BYTES:
                self.transport.close()
        else:
            self._unanswered_bytes = 0


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


async def make_key():
    """Make an IAM user with an administrator's rights, and a key for it, as {"AccessKeyId", "SecretAccessKey"}.

    The emulator is asked within this process, as its root user.
    """
    root = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
    options = {"base_url": "http://127.0.0.1", "headers": {"Authorization": root}}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(emulator), **options) as iam:

        async def ask(**parameters):
            answer = await iam.post("/", data={"Version": "2010-05-08", "UserName": USER} | parameters)
            return ElementTree.fromstring(answer.raise_for_status().content)

        await ask(Action="CreateUser")
        policy = json.dumps(ADMINISTRATOR)
        await ask(Action="PutUserPolicy", PolicyName="administrator", PolicyDocument=policy)
        key = await ask(Action="CreateAccessKey")
    return {name: key.findtext(f".//{{*}}{name}") for name in ("AccessKeyId", "SecretAccessKey")}


def keep(key, path):
    """Write the key where only this user can read it. The file is there at once and as a whole."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(key, file)
    draft.replace(path)


def with_a_key(key_file):
    """The emulator, which makes the key before its server takes the first connection."""

    async def app(scope, receive, send):
        async def send_when_there_is_a_key(message):
            if message["type"] == "lifespan.startup.complete":
                keep(await make_key(), key_file)
            await send(message)

        await emulator(scope, receive, send_when_there_is_a_key if scope["type"] == "lifespan" else send)

    return app


def main(descriptor, key_file):
    """Serve until SIGTERM."""
    listener = socket.socket(fileno=int(descriptor))
    host, port = listener.getsockname()
    let_no_function_have_keys_that_can_be_guessed()
    # MiniStack's own settings, since the URL that it gives to the functions has to be the one that is served.
    certificate, key = tls.resolve_tls_material() if tls.use_ssl_enabled() else (None, None)
    scheme = "https" if certificate else "http"
    # uvloop and httptools are twice as fast as MiniStack's own server. The largest message, and none compressed, are as
    # at API Gateway. uvicorn's --fd would take the socket for a Unix one and not set TCP_NODELAY: 40 ms more a
    # connection.
    config = uvicorn.Config(
        Guard(with_a_key(Path(key_file)), f"{scheme}://{host}:{port}", is_issued),
        lifespan="on",  # without a key there is nothing to serve
        loop="uvloop",
        http=Protocol,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ws_max_size=MESSAGE_LIMIT,
        ws_per_message_deflate=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,  # an idle client does not answer when TLS ends: it would be waited for
        access_log=False,
        log_level="warning",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
