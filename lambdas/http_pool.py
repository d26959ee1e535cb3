"""HTTP/1.1 over connections that stay open, none of which anybody ever waits for: one loop can drive hundreds.

Over TLS too: a blocking `ssl` socket that the kernel's time-out (SO_RCVTIMEO) interrupts begins to wait again, so a
peer that says nothing would hold it for ever. A socket that does not block is looked after by whoever keeps the time.
"""

import json
import os
import re
import socket
import ssl
import threading
import time
from functools import lru_cache
from itertools import cycle
from queue import Empty, SimpleQueue
from selectors import EVENT_READ, EVENT_WRITE
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path

MAX_IDLE_S = 55  # one that nobody has used for longer may be gone without a word: load balancers forget after 60 s
MAX_HEAD_BYTES = 64 * 1024
ADDRESSES_LIFETIME_S = 60

# Before anything is known of the endpoint. The first bounds what is refused before a quota is known to be used up.
FIRST_UNDER_WAY = 32
FIRST_LATENCY_S, FIRST_OPENING_S = 0.01, 0.001


class HttpConnection:
    """One connection, which takes a request at a time. `advance` is to be called whenever its socket is ready.

    Raises OSError (of which ssl.SSLError is one) if it can't be made, or breaks; ValueError for what is not HTTP.
    """

    def __init__(self, pool, address):
        self._pool, self._unsent, self._received, self._handshaking = pool, b"", b"", False
        self.is_open, self.is_reusable = False, True
        self.interest = EVENT_WRITE
        """What the socket is waited for: selectors' EVENT_READ or EVENT_WRITE."""
        self.work_s = 0.0
        """Seconds that opening it has taken of this thread, without the waiting."""
        self.post, self.sent_at, self.used_at, self.expires, self.watched = None, 0.0, 0.0, 0.0, 0
        """For the loop: what is under way, since when, the last use, until when to wait, and what it is watched for."""
        family, address = address
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.fd = self.socket.fileno()  # TLS changes the object, not the descriptor
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect(address)
        except BlockingIOError:
            pass
        except OSError:
            self.socket.close()
            raise

    def request(self, request):
        """Begin to send a request, bytes, on an open connection that has none under way."""
        self._unsent, self._received = request, b""
        self._send()

    def advance(self):
        """Go on as far as it goes without waiting.

        The answer when it has come: its status, and where that is an error its code and message. Otherwise None: the
        connection is open now (`is_open`), or there is more to wait for.
        """
        if not self.is_open:
            self._open()
            return None
        if self._unsent:
            self._send()
        try:
            while True:
                data = self.socket.recv(65536)
                if not data:
                    raise ConnectionError("The connection was closed before there was an answer.")
                self._received += data
                if answer := parse_answer(self._received):
                    status, fields, body, self.is_reusable = answer
                    self._pool.session = self._pool.session or getattr(self.socket, "session", None)
                    return (status, None, None) if status < 300 else (status, *error_of(fields, body))
        except (BlockingIOError, ssl.SSLWantReadError):
            return None

    def is_dropped(self):
        """Whether the server has closed it, or says something that it was not asked for, while it was idle."""
        try:
            self.socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    def close(self):
        """Close it, whatever is under way."""
        self.socket.close()

    def _open(self):
        started = time.perf_counter()
        try:
            if not self._handshaking:
                if number := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(number, os.strerror(number))
                if not self._pool.tls:
                    self.is_open, self.interest = True, EVENT_READ
                    return
                self.socket = self._pool.wrap(self.socket)
                self._handshaking = True
            self.socket.do_handshake()
            self.is_open, self.interest = True, EVENT_READ
        except ssl.SSLWantReadError:
            self.interest = EVENT_READ
        except ssl.SSLWantWriteError:
            self.interest = EVENT_WRITE
        finally:
            self.work_s += time.perf_counter() - started

    def _send(self):
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            self.interest = EVENT_READ
        except (BlockingIOError, ssl.SSLWantWriteError):
            self.interest = EVENT_READ | EVENT_WRITE
        except ssl.SSLWantReadError:
            self.interest = EVENT_READ


class ConnectionPool:
    """What outlives a broadcast: idle connections to one endpoint, and what is known of it."""

    def __init__(self, endpoint):
        url = urlsplit(endpoint)
        self._hostname, self._port = url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]
        self._addresses, self._resolved_at = None, 0.0
        # The certificates that boto3 trusts.
        trusted = os.environ.get("AWS_CA_BUNDLE") or get_cert_path(True)
        self.tls = ssl.create_default_context(cafile=trusted) if url.scheme == "https" else None
        self.session = None
        """The TLS session that new connections resume, which spares them the certificates."""
        self.idle = []
        self.under_way = FIRST_UNDER_WAY
        """Posts that may be under way at a time when a broadcast begins: each that is taken allows one more."""
        self.latency_s, self.opening_s = FIRST_LATENCY_S, FIRST_OPENING_S
        """What an answer takes, and what opening a connection takes of this thread: measured all the time."""

    def wrap(self, connected):
        """TLS over a connected socket, whose handshake is still to be made."""
        return self.tls.wrap_socket(
            connected, server_hostname=self._hostname, do_handshake_on_connect=False, session=self.session
        )

    def open(self):
        """A new connection, not yet open, to the next of the endpoint's addresses: `resolve` has to have found them."""
        return HttpConnection(self, next(self._addresses))

    def resolve(self, timeout_s):
        """Find the endpoint's addresses, unless that was done lately. Raises OSError, TimeoutError among others.

        In a thread: the system's resolver can't be interrupted, and knows no deadline.
        """
        if self._addresses and time.monotonic() - self._resolved_at < ADDRESSES_LIFETIME_S:
            return
        found = SimpleQueue()

        def look_up():
            try:
                found.put(socket.getaddrinfo(self._hostname, self._port, type=socket.SOCK_STREAM))
            except OSError as error:
                found.put(error)

        threading.Thread(target=look_up, daemon=True).start()
        try:
            answer = found.get(timeout=max(0.0, timeout_s))
        except Empty:
            raise TimeoutError(f"The name {self._hostname} was not resolved in time.") from None
        if isinstance(answer, OSError):
            raise answer
        self._addresses = cycle([(family, address) for family, _, _, _, address in answer])
        self._resolved_at = time.monotonic()


@lru_cache(maxsize=1)
def connection_pool(endpoint):
    """The endpoint's connections: made for the first broadcast, kept for all that follow."""
    return ConnectionPool(endpoint)


FIELDS = re.compile(rb"\r\n(content-length|connection|x-amzn-errortype) *: *([^\r]*)", re.IGNORECASE)


def parse_answer(received):
    """One HTTP answer: status, the fields that matter (lower-case bytes), body, whether another may follow it.

    None as long as it is not whole. Raises ValueError if it is not HTTP.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > MAX_HEAD_BYTES:
            raise ValueError("The answer's headers have no end.")
        return None
    fields = {name.lower(): value for name, value in FIELDS.findall(received, 0, end)}
    status, body = int(received[9:12]), received[end + 4 :]
    if b"content-length" not in fields and status != 204:  # its end is not told in advance: never seen, but allowed
        return status, fields, body, False
    if len(body) < int(fields.get(b"content-length", 0)):
        return None
    return status, fields, body, fields.get(b"connection", b"").lower() != b"close"


def error_of(fields, body):
    """An error's code and message, from where botocore takes them."""
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    code = fields.get(b"x-amzn-errortype", b"").decode() or said.get("code") or said.get("__type") or ""
    # As in "com.amazon.coral.service#GoneException:http://..."
    return str(code).partition(":")[0].rpartition("#")[2], said.get("message") or said.get("Message") or ""
