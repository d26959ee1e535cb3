"""Post one message to many connections, fast: the fan-out of a broadcast.

boto3 spends over a millisecond of CPU on each `post_to_connection`, urllib3 by itself 0.3 ms, and both hold Python's
interpreter lock meanwhile, so threads around them gain little. Here a post is the bytes of one HTTP request on a socket
that is kept open, of whose answer only the status, and for an error its code, are read: 0.05 ms. What is the same for
all posts of a broadcast in Signature Version 4 is computed once. Everything else is as boto3's client does it in its
"standard" retry mode: which answers are tried again, how often, after how long, and at which cost.
"""

import hashlib
import hmac
import json
import os
import random
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections import Counter, deque
from datetime import UTC, datetime
from functools import lru_cache
from queue import SimpleQueue
from urllib.parse import quote, urlsplit

from botocore.credentials import EnvProvider
from botocore.httpsession import get_cert_path

# Posts under way at a time, each on a connection of its own. On the local cloud 8 are as fast as 32; on AWS a post
# takes milliseconds of waiting, and the rate is this number divided by them.
WORKERS = 32

# As boto3's client with `retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2, read_timeout=5`.
ATTEMPTS = 4
CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 5
MOST_BACKOFF_S = 20
TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})
TRANSIENT_CODES = frozenset({"RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"})
THROTTLING_CODES = frozenset(
    "Throttling ThrottlingException ThrottledException RequestThrottledException TooManyRequestsException"
    " ProvisionedThroughputExceededException TransactionInProgressException RequestLimitExceeded"
    " BandwidthLimitExceeded LimitExceededException RequestThrottled SlowDown PriorRequestNotComplete"
    " EC2ThrottledException".split()
)

# API Gateway refuses a signature that is five minutes old; a broadcast that takes longer is signed anew in between.
SIGNATURE_LIFETIME_S = 120


class Fanout:
    """One message on its way to many connections. A context: its end waits for all posts.

    Environment: `APIGatewayEndpoint`, the stage's URL without `/@connections`, `http` or `https`; the Region and the
    credentials where Lambda puts them.

    Args:
        data: the message, bytes, not empty.
        deadline: by `time.monotonic()`. Nothing is begun after it, and nothing waited for.
    """

    def __init__(self, data, deadline):
        self._data, self._deadline = data, deadline
        self._api, self._signer = None, None
        self._queue, self._workers, self._lock = SimpleQueue(), [], threading.Lock()
        self._started = None
        self.counts = Counter(connections=0, delivered=0, gone=0, failed=0, throttled=0, retried=0, unreached=0)
        """Connections; those of them that were delivered to, gone (410), failed (anything else) and not reached by the
        deadline; answers that were a throttle (429), and posts that were tried again."""
        self.gone = []
        """The ids that were answered 410."""
        self.error = None
        """The last failure's text."""
        self.post_ms = 0.0
        """From the first post's beginning to the last one's end."""

    def __enter__(self):
        return self

    def post(self, connection_ids):
        """Begin to post to these connections, a list of ids. Returns at once; any thread may call it."""
        if not connection_ids:
            return
        with self._lock:
            if self._api is None:
                self._started = time.perf_counter()
                self._api = connections_api(os.environ["APIGatewayEndpoint"])
                self._signer = Signer(self._api.endpoint, self._data)
            self.counts["connections"] += len(connection_ids)
            for connection_id in connection_ids:
                self._queue.put(connection_id)
            while len(self._workers) < min(WORKERS, self.counts["connections"]):
                self._workers.append(threading.Thread(target=self._work, daemon=True))
                self._workers[-1].start()

    def __exit__(self, *_):
        for _ in self._workers:
            self._queue.put(None)
        for worker in self._workers:
            worker.join()
        if self._started:
            self.post_ms = (time.perf_counter() - self._started) * 1000

    def _work(self):
        counts, lane = Counter(), Lane(self._api)
        while (connection_id := self._queue.get()) is not None:
            counts[self._deliver(lane, connection_id, counts)] += 1
        lane.release()
        with self._lock:
            self.counts.update(counts)

    def _deliver(self, lane, connection_id, counts):
        """Post to one connection, again if that may help; what became of it, as `counts` names it."""
        cost = 0
        for attempt in range(1, ATTEMPTS + 1):
            left = self._deadline - time.monotonic()
            if left <= 0:
                return "unreached"
            try:
                status, code, text = lane.post(self._request(connection_id), min(READ_TIMEOUT_S, left))
            except (OSError, ValueError) as error:  # refused, broken, timed out, not trusted, not HTTP
                status, code, text = None, type(error).__name__, str(error)
                price = 10 if isinstance(error, TimeoutError) else 5
            else:
                if status < 300:
                    self._api.quota.give_back(cost or 1)
                    return "delivered"
                if status == 410:
                    self.gone.append(connection_id)
                    return "gone"
                price = 5
            throttled = code in THROTTLING_CODES
            counts["throttled"] += throttled
            transient = status is None or status in TRANSIENT_STATUSES or code in TRANSIENT_CODES or throttled
            self.error = f"{status or 'no answer'} {code}: {text}"
            if not transient or attempt == ATTEMPTS or not self._api.quota.take(price):
                return "failed"
            cost = price
            counts["retried"] += 1
            time.sleep(max(0.0, min(backoff_s(attempt), self._deadline - time.monotonic())))

    def _request(self, connection_id):
        if self._signer.age_s > SIGNATURE_LIFETIME_S:
            self._signer = Signer(self._api.endpoint, self._data)
        return self._signer.request(connection_id)


def backoff_s(attempt):
    """Seconds to wait after the failed attempt of this number, from 1: exponential, with jitter."""
    return random.random() * min(2 ** (attempt - 1), MOST_BACKOFF_S)


class Signer:
    """The requests that post one message, in Signature Version 4.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

    The credentials are read from the environment, and the date is now: a signer is made for each broadcast.
    """

    def __init__(self, endpoint, data, now=None):
        url = urlsplit(endpoint)
        credentials = EnvProvider().load().get_frozen_credentials()
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        self._made = time.monotonic()
        self._path = url.path.rstrip("/")
        headers = {"content-type": "application/octet-stream", "host": host(url), "x-amz-date": stamp}
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        names = ";".join(headers)  # they are in order
        scope = f"{stamp[:8]}/{os.environ['AWS_DEFAULT_REGION']}/execute-api/aws4_request"
        key = f"AWS4{credentials.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._keyed = hmac.new(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n".encode(), "sha256")
        canonical_headers = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in headers.items())
        # The canonical request's parts in front of the connection's id and behind it. A path is quoted twice there.
        self._before = f"POST\n{quote(self._path, safe='/~')}/%40connections/".encode()
        self._after = f"\n\n{canonical_headers}\n{names}\n{hashlib.sha256(data).hexdigest()}".encode()
        lines = "".join(f"\r\n{name}: {value}" for name, value in headers.items())
        self._head = (
            f" HTTP/1.1{lines}\r\ncontent-length: {len(data)}\r\nauthorization: AWS4-HMAC-SHA256 "
            f"Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature="
        )
        self._body = b"\r\n\r\n" + data

    @property
    def age_s(self):
        return time.monotonic() - self._made

    def request(self, connection_id):
        """The whole HTTP request, bytes."""
        quoted = quote(connection_id, safe="~")
        canonical = hashlib.sha256(self._before + quote(quoted, safe="~").encode() + self._after)
        signature = self._keyed.copy()
        signature.update(canonical.hexdigest().encode())
        line = f"POST {self._path}/@connections/{quoted}{self._head}{signature.hexdigest()}"
        return line.encode() + self._body


def host(url):
    """The Host header of a split URL: without the port where that is the scheme's own, as botocore has it."""
    usual = {"http": 80, "https": 443}[url.scheme]
    return url.hostname if url.port in (None, usual) else f"{url.hostname}:{url.port}"


class Lane:
    """One worker's connection to the API: opened when it is needed, and again after it broke."""

    def __init__(self, api):
        self._api, self._socket = api, None

    def post(self, request, timeout_s):
        """Send a request, bytes; the answer's status, and where that is an error, its code and message.

        Raises OSError without a connection or an answer within `timeout_s` seconds, ValueError if it is not HTTP.
        """
        if self._socket is None:
            self._socket = self._api.open(timeout_s)
        try:
            if timeout_s < READ_TIMEOUT_S:  # the end is near
                set_timeout(self._socket, timeout_s)
            self._socket.sendall(request)
            status, fields, body, reusable = read_answer(self._socket)
        except BaseException:
            self.close()
            raise
        if not reusable:
            self.close()
        return (status, None, None) if status < 300 else (status, *error_of(fields, body))

    def release(self):
        """Keep the connection for the next broadcast."""
        if self._socket is not None:
            self._api.idle.append(self._socket)
            self._socket = None

    def close(self):
        self._socket.close()
        self._socket = None


class ConnectionsApi:
    """What outlives a broadcast: open connections to one endpoint, and the quota of retries."""

    def __init__(self, endpoint):
        self.endpoint, self._url = endpoint, urlsplit(endpoint)
        self.idle, self.quota = deque(), RetryQuota()
        # The certificates that boto3 trusts.
        trusted = os.environ.get("AWS_CA_BUNDLE") or get_cert_path(True)
        self._tls = ssl.create_default_context(cafile=trusted) if self._url.scheme == "https" else None

    def open(self, timeout_s):
        """A connected socket: one that was kept, if it is still open, or a new one. Raises OSError."""
        while self.idle:
            try:
                kept = self.idle.pop()
            except IndexError:  # another worker took the last one
                break
            if is_quiet(kept):
                set_timeout(kept, READ_TIMEOUT_S)
                return kept
            kept.close()
        url = self._url
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        opened = socket.create_connection((url.hostname, port), timeout=min(CONNECT_TIMEOUT_S, timeout_s))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            opened = self._tls.wrap_socket(opened, server_hostname=url.hostname)
        opened.settimeout(None)
        set_timeout(opened, READ_TIMEOUT_S)
        return opened


@lru_cache(maxsize=1)
def connections_api(endpoint):
    """The endpoint's connections: made for the first broadcast, kept for all that follow."""
    return ConnectionsApi(endpoint)


class RetryQuota:
    """Bounds the retries where everything fails, so that they do not make it worse: botocore's `RetryQuota`."""

    FULL = 500

    def __init__(self):
        self._left, self._lock = self.FULL, threading.Lock()

    def take(self, price):
        """Whether a retry of this price may be made; if so, it is paid."""
        with self._lock:
            affordable = price <= self._left
            self._left -= price if affordable else 0
            return affordable

    def give_back(self, amount):
        """After a success: what its last retry cost, or 1 if there was none."""
        if self._left < self.FULL:
            with self._lock:
                self._left = min(self.FULL, self._left + amount)


def set_timeout(sock, seconds):
    """Let the kernel keep the time of a blocking socket: Python's own time-out costs another call before each."""
    whole, part = divmod(max(seconds, 0.001), 1)  # zero would be for ever
    interval = struct.pack("ll", int(whole), int(part * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)


def is_quiet(kept):
    """Whether a connection that nothing is expected on is open: if there is something to read, it was closed."""
    poll = select.poll()
    poll.register(kept, select.POLLIN)
    return not poll.poll(0)


FIELDS = re.compile(rb"\r\n(content-length|connection|x-amzn-errortype) *: *([^\r]*)", re.IGNORECASE)


def read_answer(sock):
    """Read one HTTP answer: status, the fields that matter (lower-case bytes), body, whether another may follow it.

    Raises OSError if the connection breaks before its end.
    """
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += received(sock)
    fields = {name.lower(): value for name, value in FIELDS.findall(answer, 0, end)}
    status, body = int(answer[9:12]), answer[end + 4 :]
    if b"content-length" not in fields and status != 204:  # its end is not told in advance: never seen, but allowed
        return status, fields, body, False
    length = int(fields.get(b"content-length", 0))
    while len(body) < length:
        body += received(sock)
    return status, fields, body, fields.get(b"connection", b"").lower() != b"close"


def received(sock):
    try:
        if data := sock.recv(65536):
            return data
    except (BlockingIOError, ssl.SSLWantReadError):  # how the kernel's time-out looks from here
        raise TimeoutError("There was no answer in time.") from None
    raise ConnectionError("The connection was closed before there was an answer.")


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
