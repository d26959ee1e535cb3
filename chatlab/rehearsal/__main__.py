"""Rehearse AWS: `python -m chatlab.rehearsal [--region eu-central-1] [command ...]`, which `make rehearse` calls.

The command, by default `python -m chatlab run --target aws`, runs in a network namespace with nothing but loopback.
There every name under amazonaws.com resolves to 127.0.0.1, where the emulator listens on AWS's ports, over TLS, with a
certificate for AWS's names from an authority of the rehearsal's own, and with AWS's temper (`temper.py`, beside it).
Nothing can leave the namespace, and all that runs in it ends with the command: it is a process namespace, too.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chatlab import permissions
from chatlab.capacity.quotas import default_requests_per_s
from chatlab.emulator import temper
from chatlab.errors import LabError
from chatlab.paths import ROOT
from chatlab.rehearsal import certificate, network
from chatlab.signals import exit_status

CLOUD = Path(__file__).parent.parent / "emulator" / "aws.py"
START_TIMEOUT_S = 60
INSIDE = "CHATLAB_REHEARSAL"  # the folder of the rehearsal, in the environment of what runs in the namespace
UNSHARE = (
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)


def main(arguments=None):
    """Rehearse; the command's exit status."""
    parser = argparse.ArgumentParser(prog="python -m chatlab.rehearsal", description=__doc__.split("\n")[0])
    parser.add_argument("--region", default="us-east-1", help="the Region to play (default: us-east-1)")
    parser.add_argument("--traits", default="all", help='of AWS\'s temper, names with commas between (default: "all")')
    parser.add_argument("--policy-of", metavar="NAME", help="who runs it has the policy of this lab, and nothing else")
    parser.add_argument("command", nargs="*", default=[sys.executable, "-m", "chatlab", "run", "--target", "aws"])
    options = parser.parse_args(arguments)
    if folder := os.environ.get(INSIDE):
        return perform(Path(folder), options)
    try:
        temper.chosen(options.traits)
    except ValueError as error:
        raise LabError(str(error)) from None
    require_namespaces()
    with tempfile.TemporaryDirectory() as folder:
        again = [sys.executable, "-m", "chatlab.rehearsal", "--region", options.region, "--traits", options.traits]
        again += ["--policy-of", options.policy_of] if options.policy_of else []
        inside = [*UNSHARE, *again, "--", *options.command]
        return wait_for(subprocess.Popen(inside, cwd=ROOT, env=os.environ | {INSIDE: folder}))


def wait_for(process):
    """Its exit status. Ctrl-C is the command's own business: the terminal has told it, too."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def require_namespaces():
    """Raises LabError where there are none to be had."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        raise LabError("A rehearsal of AWS needs Linux's network namespaces and the command unshare (util-linux).")
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        raise LabError(
            "A rehearsal of AWS needs user namespaces, which this machine does not allow you "
            f"({tried.stderr.strip() or 'unshare failed'}): run it as root, or let your system's settings allow them."
        )


def perform(folder, options):
    """Within the namespace: the network, the certificate, the cloud, and then the command."""
    network.bring_up()
    network.resolve_to_loopback("amazonaws.com", folder)
    trusted, server_key = certificate.issue(folder, options.region)
    cloud_is_told = cloud_environment(folder, options.region)
    if options.policy_of:
        policy = folder / "policy.json"
        policy.write_text(permissions.to_text(permissions.policy(options.policy_of)))
        cloud_is_told["CHATLAB_POLICY"] = str(policy)
    if record := os.environ.get("CHATLAB_RECORD"):
        cloud_is_told["CHATLAB_RECORD"] = record
    with open(folder / "cloud.log", "wb") as log:
        cloud = subprocess.Popen(
            [sys.executable, str(CLOUD), str(folder), options.traits],
            cwd=folder, env=cloud_is_told, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (folder / "key.json").exists():
        if cloud.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"The rehearsed cloud did not start: {(folder / 'cloud.log').read_text()[-2000:]}")
        time.sleep(0.05)
    environment = person_environment(folder, options.region, trusted, server_key)
    status = wait_for(subprocess.Popen(options.command, cwd=ROOT, env=environment))
    if status:
        print(f"The rehearsed cloud's last words:\n{(folder / 'cloud.log').read_text()[-4000:]}", file=sys.stderr)
    return status


def cloud_environment(folder, region):
    """What the emulator's process gets. Functions inherit it."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "AUTH": "true",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "MINISTACK_HOST": f"{region}.amazonaws.com",
        "MINISTACK_REGION": region,
        "CHATLAB_REQUESTS_PER_S": str(default_requests_per_s(region)),
        "GATEWAY_PORT": "443",
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(folder / "certificate.pem"),
        "MINISTACK_SSL_KEY": str(folder / "certificate.key"),
        "AWS_CA_BUNDLE": str(folder / "ca.pem"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def person_environment(folder, region, trusted, server_key):
    """What a person's shell would have: credentials, a Region; and here, whom to trust."""
    key = json.loads((folder / "key.json").read_text())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_") and name != INSIDE}
    return inherited | {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",  # the emulator takes DynamoDB's names by account for buckets
        "AWS_CA_BUNDLE": str(trusted),
        "SSL_CERT_FILE": str(trusted),
        "NODE_EXTRA_CA_CERTS": str(trusted),
        "CHATLAB_BROWSER_ARGUMENTS": f"--ignore-certificate-errors-spki-list={server_key}",
        "CHATLAB_HOME": str(folder / "home"),
    }


if __name__ == "__main__":
    sys.exit(exit_status(main))
