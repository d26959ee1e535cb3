"""The sockets between Locust's master and its workers, closed to everybody else.

Locust's master takes a message from anybody who reaches its port, and a broken one stops it. Here, master and workers
know a secret, and the master's key pair of ZeroMQ's CURVE (https://rfc.zeromq.org/spec/26/) is made of it. A process
that does not know the public key can't begin a handshake, so Locust sees none of its bytes; a master that does not know
the private key can't answer one.
"""

import hashlib
import logging
import os
import secrets
from typing import Any

import gevent
import zmq
from locust.rpc import zmqrpc
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

logger = logging.getLogger(__name__)

VARIABLE = "LOADTEST_SECRET"
"""The environment variable with the secret of master and workers that are started one by one. The processes of
`--processes` are forked, and share one that is made anew."""
MAX_MESSAGE_BYTES = 1 << 28
"""ZeroMQ reads no larger message. A million deliveries, which a worker hands over in many, take 33 MB."""
HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


def protect() -> None:
    """Close the sockets that Locust makes from now on, in this process and in those that it forks."""
    private = z85.encode(hashlib.sha256((os.environ.get(VARIABLE) or secrets.token_hex()).encode()).digest())
    public = zmq.curve_public(private)
    begin = zmqrpc.BaseSocket.__init__

    def begin_protected(self: Any, kind: int, *arguments: Any) -> None:
        begin(self, kind, *arguments)  # type: ignore[no-untyped-call]  # Locust's, without types
        sock, is_master = self.socket, kind == zmq.ROUTER
        sock.maxmsgsize = MAX_MESSAGE_BYTES
        if is_master:
            sock.curve_server, sock.curve_secretkey = True, private
        else:
            sock.curve_serverkey = public
            sock.curve_publickey, sock.curve_secretkey = zmq.curve_keypair()
        gevent.spawn(_count_refused if is_master else _end_if_refused, sock.get_monitor_socket(HANDSHAKE_FAILED))

    # Locust's constructors call this one, and bind or connect right after it: there is no other place for the options.
    zmqrpc.BaseSocket.__init__ = begin_protected  # type: ignore[method-assign]


def _count_refused(monitor: Any) -> None:
    """Count, at the master, the handshakes of processes that do not know the secret."""
    refused = 0
    while recv_monitor_message(monitor):
        refused += 1
        if refused & (refused - 1) == 0:  # the 1st, 2nd, 4th, 8th …: nobody shall fill the log
            logger.warning("The master has refused %s handshakes of processes that do not know its secret.", refused)


def _end_if_refused(monitor: Any) -> None:
    """End a worker whose secret is not the master's: it would try again for minutes."""
    recv_monitor_message(monitor)
    logger.error("The master refused this worker: set %s to the same secret for both.", VARIABLE)
    raise SystemExit(1)
