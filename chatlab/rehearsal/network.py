"""The network of a rehearsal: loopback, and a resolver that leads AWS's names there."""

import fcntl
import socket
import struct
import subprocess
from pathlib import Path

from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

LOOPBACK = "127.0.0.1"
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h


def bring_up() -> None:
    """Switch the loopback interface on: in a new namespace it is off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def resolve_to_loopback(domain: str, folder: Path) -> None:
    """Answer for all names under `domain`, from a thread of this process, and let the system ask nobody else.

    Its settings are files in `folder`, which replace the system's in this mount namespace alone.
    """
    DNSServer(
        _Resolver(domain), address=LOOPBACK, port=53, logger=DNSLogger("-request,-reply,-truncated")
    ).start_thread()
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
