"""Rehearse AWS on one machine: `python -m chatlab rehearse [--region eu-central-1] [-- command ...]`.

The command, by default `python -m chatlab run --target aws`, runs in a network namespace with nothing but loopback.
There every name under amazonaws.com resolves to 127.0.0.1, where MiniStack listens on AWS's ports, over TLS, with a
certificate for AWS's names from an authority of the rehearsal's own, and with AWS's traits (`chatlab.emulator.traits`).
Nothing can leave the namespace, and all that runs in it ends with the command: it is a process namespace, too.
"""

import argparse
import base64
import fcntl
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

from chatlab import permissions
from chatlab.emulator.traits import parse_traits
from chatlab.errors import LabError
from chatlab.limits import default_requests_per_s
from chatlab.local_cloud import MINISTACK_SETTINGS, SERVER
from chatlab.paths import ROOT
from chatlab.settings import Variable

DOMAIN, LOOPBACK = "amazonaws.com", "127.0.0.1"
START_TIMEOUT_S = 60
FOLDER = "CHATLAB_REHEARSAL"  # the environment variable that, in the namespace, names the rehearsal's folder
UNSHARE = "unshare --user --map-root-user --net --mount --pid --fork --kill-child --mount-proc".split()
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h


def main(arguments: Sequence[str]) -> int:
    """Rehearse; the command's exit status. Raises LabError for a wrong option, or if it can't be done here."""
    parser = argparse.ArgumentParser(prog="python -m chatlab rehearse", description="Rehearse AWS on this machine.")
    parser.add_argument("--region", default="us-east-1", help="the Region to play (default: us-east-1)")
    parser.add_argument("--traits", default="all", help='AWS\'s traits, names with commas between (default: "all")')
    parser.add_argument(
        "--policy-of", metavar="NAME", help="who runs it has the policies of this lab, and nothing else"
    )
    parser.add_argument(
        "--without", metavar="ACTION,...", default="", help='what this policy is to lack: actions, or "optional"'
    )
    parser.add_argument("command", nargs="*", default=[sys.executable, "-m", "chatlab", "run", "--target", "aws"])
    options = parser.parse_args(arguments)
    if folder := os.environ.get(FOLDER):
        return run_in_namespace(Path(folder), options)
    if options.without and not options.policy_of:
        parser.error("--without needs --policy-of")
    try:
        parse_traits(options.traits)
    except ValueError as error:
        raise LabError(str(error)) from None
    require_namespaces()
    with tempfile.TemporaryDirectory() as folder:
        again = [sys.executable, "-m", "chatlab", "rehearse", "--region", options.region, "--traits", options.traits]
        again += ["--policy-of", options.policy_of, "--without", options.without] if options.policy_of else []
        inside = [*UNSHARE, *again, "--", *options.command]
        return wait_for(subprocess.Popen(inside, cwd=ROOT, env=os.environ | {FOLDER: folder}))


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """The process's exit status. It handles Ctrl-C itself: the terminal sends that to both."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def require_namespaces() -> None:
    """Raises LabError where namespaces can't be made."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        raise LabError("A rehearsal of AWS needs Linux's network namespaces and the command unshare (util-linux).")
    probe = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        raise LabError(
            "A rehearsal of AWS needs user namespaces, which this machine does not allow you "
            f"({probe.stderr.strip() or 'unshare failed'}): run it as root, or let your system's settings allow them."
        )


def run_in_namespace(folder: Path, options: argparse.Namespace) -> int:
    """The network, the certificate, the cloud, and then the command; its exit status."""
    bring_loopback_up()
    resolve_to_loopback(DOMAIN, folder)
    public_key_digest = issue_certificate(folder, options.region)
    start_cloud(folder, options)
    environment = person_environment(folder, options.region, public_key_digest)
    status = wait_for(subprocess.Popen(options.command, cwd=ROOT, env=environment))
    if status:
        print(f"The end of the rehearsed cloud's log:\n{cloud_log(folder)[-4000:]}", file=sys.stderr)
    return status


def bring_loopback_up() -> None:
    """Switch the loopback interface on: in a new namespace it is off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def resolve_to_loopback(domain: str, folder: Path) -> None:
    """Answer for all names under `domain`, from a thread of this process, and let the system ask nobody else.

    Its settings are files in `folder`, which replace the system's in this mount namespace alone.
    """
    logger = DNSLogger("-request,-reply,-truncated")
    DNSServer(_Resolver(domain), address=LOOPBACK, port=53, logger=logger).start_thread()
    for name, text in {
        "resolv.conf": f"nameserver {LOOPBACK}\noptions timeout:1\n",
        "nsswitch.conf": "hosts: files dns\n",
    }.items():
        (folder / name).write_text(text)
        subprocess.run(["mount", "--bind", str(folder / name), str(Path("/etc", name).resolve())], check=True)


class _Resolver(BaseResolver):  # type: ignore[misc] # dnslib has no types
    def __init__(self, domain: str) -> None:
        self._domain = domain

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        reply = request.reply()
        if not request.q.qname.matchSuffix(self._domain):
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype == QTYPE.A:  # no IPv6: the name exists, and has no such address
            reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(LOOPBACK), ttl=60))
        return reply


def issue_certificate(folder: Path, region: str) -> str:
    """Write a certificate for AWS's names, from an authority that nobody else knows; the digest of its public key.

    The files are the authority's `ca.pem`, and the server's `certificate.pem` and `certificate.key`. The digest is
    SHA-256 in Base64, as Chromium's `--ignore-certificate-errors-spki-list` takes it: a browser reads no environment
    variable that names an authority.
    """
    names = [  # those that the lab uses: a wildcard stands for one part of a name, so each level needs one
        LOOPBACK,
        "*.amazonaws.com",
        f"*.{region}.amazonaws.com",
        "*.us-east-1.amazonaws.com",  # what is global, or is only there
        f"*.execute-api.{region}.amazonaws.com",
        f"*.s3.{region}.amazonaws.com",
        # Elsewhere AWS redirects from this name to the Region's, which ends a presigned address: community.aws #637.
        *(["*.s3.amazonaws.com"] if region == "us-east-1" else []),
        f"*.s3-control.{region}.amazonaws.com",
        "*.pricing.us-east-1.amazonaws.com",
        f"*.appsync-api.{region}.amazonaws.com",
        f"*.appsync-realtime-api.{region}.amazonaws.com",
    ]
    authority = trustme.CA()
    issued = authority.issue_cert(*dict.fromkeys(names))
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_pem.write_to_path(folder / "certificate.key")
    for number, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(folder / "certificate.pem", append=number > 0)
    public_key = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).public_key()
    encoded = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(encoded).digest()).decode()


def start_cloud(folder: Path, options: argparse.Namespace) -> None:
    """Start MiniStack and wait until it has made the person's key. Raises LabError if it does not in time."""
    environment = cloud_environment(folder, options.region)
    if options.policy_of:
        policy = folder / "policy.json"
        without = options.without.split(",")
        statements = permissions.NEEDED if "optional" in without else permissions.STATEMENTS
        document = permissions.policy(options.policy_of, statements)
        if denied := [action for action in without if ":" in action]:
            document["Statement"].append({"Effect": "Deny", "Action": denied, "Resource": "*"})
        policy.write_text(permissions.to_text(document))
        environment[Variable.POLICY] = str(policy)
    if record := Variable.RECORD.get():
        environment[Variable.RECORD] = record
    with open(folder / "cloud.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", SERVER, "aws", str(folder), options.traits],
            cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (folder / "key.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"The rehearsed cloud did not start: {cloud_log(folder)[-2000:]}")
        time.sleep(0.05)


def cloud_log(folder: Path) -> str:
    """What MiniStack has logged."""
    return (folder / "cloud.log").read_text()


def cloud_environment(folder: Path, region: str) -> dict[str, str]:
    """MiniStack's environment variables. Functions inherit them."""
    return MINISTACK_SETTINGS | {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "MINISTACK_HOST": f"{region}.amazonaws.com",
        "MINISTACK_REGION": region,
        "APPSYNC_EVENTS_HTTP_HOST_TEMPLATE": "{api_id}.appsync-api.{region}.amazonaws.com",
        "APPSYNC_EVENTS_REALTIME_HOST_TEMPLATE": "{api_id}.appsync-realtime-api.{region}.amazonaws.com",
        "CHATLAB_REQUESTS_PER_S": str(default_requests_per_s(region)),
        "GATEWAY_PORT": "443",
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(folder / "certificate.pem"),
        "MINISTACK_SSL_KEY": str(folder / "certificate.key"),
        "AWS_CA_BUNDLE": str(folder / "ca.pem"),
    }


def person_environment(folder: Path, region: str, public_key_digest: str) -> dict[str, str]:
    """What a person's shell would have: credentials, a Region; and here, which certificate authority to trust."""
    key: dict[str, str] = json.loads((folder / "key.json").read_text())
    authority = str(folder / "ca.pem")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_") and name != FOLDER}
    return inherited | {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",  # MiniStack takes DynamoDB's names by account for buckets
        "AWS_CA_BUNDLE": authority,
        "SSL_CERT_FILE": authority,
        "NODE_EXTRA_CA_CERTS": authority,
        Variable.BROWSER_ARGUMENTS: f"--ignore-certificate-errors-spki-list={public_key_digest}",
        Variable.HOME: str(folder / "home"),
    }
