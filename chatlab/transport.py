"""Certificates and proxies for what is opened without boto3: WebSockets, the page, and all that the load test opens.

Both functions set environment variables that Python, websocket-client and child processes read by themselves, so no
notebook and no tool needs to know of them.
"""

import os
import ssl
import sys

import botocore.session
import certifi

from chatlab.errors import LabError

LOOPBACK = "127.0.0.1,localhost"


def trust(core: botocore.session.Session) -> None:
    """Let this process trust the certificates that boto3 trusts, unless SSL_CERT_FILE or SSL_CERT_DIR names others.

    They are those that your AWS configuration names (AWS_CA_BUNDLE, `ca_bundle` of the profile, REQUESTS_CA_BUNDLE),
    for example if a company's proxy looks into what passes. If the system has none, as a Python from python.org on
    macOS, they are certifi's. `core` is the botocore session. Raises LabError if the file that is named does not exist.
    """
    if {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        return
    bundle = core.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle and not os.path.exists(bundle):
        raise LabError(f"There is no file {bundle}, which AWS_CA_BUNDLE or ca_bundle names: set that right.")
    if bundle:
        os.environ["SSL_CERT_DIR" if os.path.isdir(bundle) else "SSL_CERT_FILE"] = bundle
    elif not _system_has_certificates():
        os.environ["SSL_CERT_FILE"] = certifi.where()


def bypass_proxies_for_loopback() -> None:
    """Use no proxy between this machine and itself: websocket-client would use one even for 127.0.0.1."""
    named = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if not named.endswith(LOOPBACK):
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [named, LOOPBACK]))


def _system_has_certificates() -> bool:
    paths = ssl.get_default_verify_paths()
    return sys.platform == "win32" or bool(paths.cafile) or bool(paths.capath and os.listdir(paths.capath))
