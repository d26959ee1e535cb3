"""The certificate of a rehearsal: for AWS's names, from an authority that nobody else knows."""

import base64
import hashlib
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class Certificates(NamedTuple):
    """What a client has to know of the certificates to trust the rehearsed AWS."""

    authority: Path
    """The certificate of the authority, in PEM."""
    spki_digest: str
    """SHA-256 of the server's public key in Base64, as Chromium's `--ignore-certificate-errors-spki-list` takes it: a
    browser reads no environment variable that names an authority."""


def names(region: str) -> list[str]:
    """The names that the lab uses. A wildcard stands for one part of a name, so each level needs one."""
    return [
        "127.0.0.1",
        "*.amazonaws.com",
        f"*.{region}.amazonaws.com",
        "*.us-east-1.amazonaws.com",  # what is global, or is only there
        f"*.execute-api.{region}.amazonaws.com",
        f"*.s3.{region}.amazonaws.com",
        "*.s3.amazonaws.com",
        f"*.s3-control.{region}.amazonaws.com",
        "*.pricing.us-east-1.amazonaws.com",
    ]


def issue(folder: Path, region: str) -> Certificates:
    """Write the authority's `ca.pem`, and the server's `certificate.pem` and `certificate.key`."""
    authority = trustme.CA()
    issued = authority.issue_cert(*dict.fromkeys(names(region)))
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_pem.write_to_path(folder / "certificate.key")
    for number, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(folder / "certificate.pem", append=number > 0)
    public = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Certificates(folder / "ca.pem", base64.b64encode(hashlib.sha256(spki).digest()).decode())
