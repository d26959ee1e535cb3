"""How what is opened without boto3 is opened: a WebSocket, the page, and all that a process of the load test opens.

Both functions speak through environment variables that Python, websocket-client and child processes read by themselves,
so no notebook and no tool needs to know of them.
"""

import os
import ssl
import sys

import certifi

from chatlab.errors import LabError

THIS_MACHINE = "127.0.0.1,localhost"


def trust(core):
    """Let this process trust whom boto3 trusts, unless SSL_CERT_FILE or SSL_CERT_DIR says whom.

    That is who the AWS configuration names (AWS_CA_BUNDLE, `ca_bundle` of the profile, REQUESTS_CA_BUNDLE), as where a
    company's proxy looks into what passes. And where the system names nobody, as a Python from python.org on macOS, it
    is certifi's list. `core` is the botocore session. Raises LabError if what is named is not there.
    """
    if {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        return
    bundle = core.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle and not os.path.exists(bundle):
        raise LabError(f"There is no file {bundle}, which AWS_CA_BUNDLE or ca_bundle names: set that right.")
    if bundle:
        os.environ["SSL_CERT_DIR" if os.path.isdir(bundle) else "SSL_CERT_FILE"] = bundle
    elif not _system_trusts_anybody():
        os.environ["SSL_CERT_FILE"] = certifi.where()


def stay_on_this_machine():
    """Keep proxies from coming between this machine and itself: websocket-client would use one even for 127.0.0.1."""
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if not named.endswith(THIS_MACHINE):
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [named, THIS_MACHINE]))


def _system_trusts_anybody():
    paths = ssl.get_default_verify_paths()
    return sys.platform == "win32" or bool(paths.cafile) or bool(paths.capath and os.listdir(paths.capath))
