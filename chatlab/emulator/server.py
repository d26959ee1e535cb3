"""AWS on this machine: MiniStack with all that the other modules correct, complete and guard, served by uvicorn.

`python -m chatlab.emulator.server local DESCRIPTOR KEY_FILE` serves the local cloud; see `chatlab.local_cloud`.
`python -m chatlab.emulator.server aws FOLDER TRAITS` serves a rehearsal of AWS; see `chatlab.emulator.rehearsal`.
"""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn
from ministack import app as ministack_app
from ministack.core import tls

from chatlab.emulator import api_gateway, appsync, fargate, iam, lambda_service
from chatlab.emulator.account import CONCURRENCY, VCPUS, with_account
from chatlab.emulator.calls import App
from chatlab.emulator.cloudwatch import with_metrics
from chatlab.emulator.guard import Guard
from chatlab.emulator.process import end_with_the_run, log_into
from chatlab.emulator.protocols import configuration, text_only
from chatlab.emulator.traits import parse_traits, with_traits


def cloud(key_file: Path, traits: str) -> App:
    """AWS as an ASGI application: MiniStack, and around it, from the inside out, what MiniStack does not have.

    It writes the person's access key into a file; `traits` as `parse_traits` reads it. The person has the policy in the
    file that `CHATLAB_POLICY` names, or else is an administrator. Which permissions their calls need is written into
    the file that `CHATLAB_RECORD` names.
    """
    api_gateway.correct()
    appsync.correct()
    iam.correct()
    lambda_service.correct()
    chosen = parse_traits(traits)
    concurrency = CONCURRENCY
    if number := chosen.get("concurrency"):
        lambda_service.limit_concurrency(concurrency := int(number))
    fargate.correct(chosen)
    if "stage-limits" in chosen:
        api_gateway.enforce_stage_limits()
    if seconds := chosen.get("late-group-deletion"):
        api_gateway.delay_group_deletions(seconds)
    appsync.enforce_quotas(*map(chosen.get, ("event-size", "event-rate", "publish-rate")))
    app = appsync.with_addresses(iam.with_access_key(key_file, os.environ.get("CHATLAB_POLICY")))
    app = with_metrics(
        with_account(app, concurrency, chosen.get("vcpu-quota") or VCPUS), chosen.get("late-metrics") or 0.0
    )
    app = with_traits(text_only(api_gateway.with_refused_handshakes(app)), traits)
    return iam.with_authorization(app, os.environ.get("CHATLAB_RECORD"))


def serve_local(descriptor: str, key_file: str, make_cloud: Callable[[Path, str], App] = cloud) -> None:
    """Serve the local cloud, behind its guard, until SIGTERM.

    `descriptor` is that of a socket which listens already. `key_file` gets the access key of the person who uses the
    cloud. `make_cloud` is called as `cloud`.
    """
    os.chdir(os.environ["TMPDIR"])  # where functions work
    log_into(Path(key_file).with_name("cloud.log"), int(os.environ["MAX_LOG_BYTES"]))
    end_with_the_run()
    # uvicorn's --fd would take the socket for a Unix one and not set TCP_NODELAY: 40 ms more a connection.
    listener = socket.socket(fileno=int(descriptor))
    host, port = listener.getsockname()
    # MiniStack's own settings, since the URL that it gives to the functions has to be the one that is served.
    certificate, private_key = tls.resolve_tls_material() if tls.use_ssl_enabled() else (None, None)
    scheme = "https" if certificate else "http"
    app = Guard(make_cloud(Path(key_file), os.environ["CHATLAB_TRAITS"]), f"{scheme}://{host}:{port}")
    uvicorn.Server(configuration(app, certificate=certificate, private_key=private_key)).run(sockets=[listener])


def serve_as_aws(folder: str, traits: str) -> None:
    """Serve HTTPS on port 443, as AWS does, until SIGTERM.

    The access key of the person who uses AWS is in `key.json` in the folder. No guard stands in front: nobody else is
    in the network namespace.
    """
    os.chdir(folder)  # where functions work
    # MiniStack takes the first part of a host name that it does not know for a bucket's name.
    ministack_app._NON_S3_VHOST_NAMES |= {"appsync", "budgets", "ec2", "organizations", "scheduler", "tagging"}
    app = cloud(Path(folder, "key.json"), traits)
    certificate, private_key = Path(os.environ["MINISTACK_SSL_CERT"]), Path(os.environ["MINISTACK_SSL_KEY"])
    uvicorn.Server(configuration(app, port=443, certificate=certificate, private_key=private_key)).run()


if __name__ == "__main__":
    target, where, what = sys.argv[1:]
    if target == "local":
        serve_local(where, what)
    else:
        serve_as_aws(where, what)
