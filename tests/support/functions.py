"""What a function meets where it runs: its environment, a table, and an `@connections` endpoint that answers what the
local cloud never does."""

import importlib.util
import json
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import boto3
import pytest
from fanout.http_connections import close_pools

from chatlab import local_cloud
from chatlab.paths import LAMBDAS
from tests.support.chat import delete_items, ids, put_items

BROADCASTS = pytest.mark.parametrize("part", ["default", "broadcast"])
"""What both broadcasts promise is tested of both: the obvious one, and the fast one."""
NAMES = {410: "GoneException", 413: "PayloadTooLargeException", 429: "LimitExceededException", 403: "Forbidden"}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # a response is one packet, or else the second waits for the acknowledgement of the first

    def setup(self):
        super().setup()
        self.is_stale = False
        self.server.handlers.append(self)

    def do_POST(self):
        if self.is_stale:  # it was closed a moment ago, and nobody reads the request
            self.close_connection = True
            return
        connection_id = unquote(self.path).rpartition("/@connections/")[2]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts[connection_id] += 1
        statuses = self.server.statuses.get(connection_id, [])
        status = statuses.pop(0) if statuses else 200
        self.server.tokens.add(self.headers["x-amz-security-token"])
        if status is None:  # the connection breaks
            self.close_connection = True
            return
        if status == "slow":
            time.sleep(self.server.slow_s)
            status = 200
        kind = NAMES.get(status, "InternalServerError")
        if status == "ExpiredTokenException":
            status, kind = 403, status
        if status == 200:
            self.server.heard[connection_id] = body
        answer = b"{}" if status < 300 else json.dumps({"message": str(status)}).encode()
        self.send_response(status)
        self.send_header("x-amzn-ErrorType", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_DELETE(self):
        self.server.closed.append(unquote(self.path).rpartition("/@connections/")[2])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Connections(ThreadingHTTPServer):
    """`@connections`: answers each connection id with the statuses that it was told, then 200.

    None is no answer, and the end of the HTTP connection; "slow" is 200 after `slow_s`.
    """

    slow_s = 0.6
    request_queue_size = 500  # connections that wait to be accepted: none is made to try again a second later

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.opened, self._sockets, self.handlers, self.closed = 0, [], [], []
        self.statuses, self.posts, self.heard, self.tokens = {}, Counter(), {}, set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/production"

    def process_request(self, request, client_address):
        self.opened += 1
        self._sockets.append(request)
        super().process_request(request, client_address)

    def handle_error(self, *_):
        """Say nothing of a client that does not trust us."""

    def close_when_used(self):
        """Close each connection that there is just as it is used, as a server may do with an idle one."""
        for handler in self.handlers:
            handler.is_stale = True

    def hang_up(self):
        """Close all connections, as a server does with idle ones."""
        for opened in self._sockets:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)


class Context:
    """Lambda's context object, as far as a function reads it."""

    def __init__(self, remaining_s=60):
        self._end = time.monotonic() + remaining_s

    def get_remaining_time_in_millis(self):
        return max(0, round((self._end - time.monotonic()) * 1000))


@contextmanager
def connections_endpoint():
    """A `Connections` that serves."""
    with Connections() as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class ConnectionTable:
    """A table of connection ids, beside the chat's own."""

    def __init__(self, lab, name):
        self.name, self._lab = name, lab

    def put(self, *connection_ids, age_s=3600):
        """These have connected so long ago."""
        put_items(self._lab, connection_ids, age_s, self.name)

    def ids(self):
        return ids(self._lab, self.name)

    def clear(self):
        delete_items(self._lab, self.ids(), self.name)


@contextmanager
def connection_table(lab):
    """A `ConnectionTable` in the lab's cloud."""
    dynamodb, name = lab.client("dynamodb"), f"{lab.name}-functions"
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "connection_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "connection_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    try:
        yield ConnectionTable(lab, name)
    finally:
        dynamodb.delete_table(TableName=name)


def set_environment(patch, lab, table, endpoint_url):
    """Set what Lambda would give a function that has this table, and posts to this endpoint."""
    close_pools()  # with connections to another test's server
    variables = {
        "TABLE": table.name, "APIGatewayEndpoint": endpoint_url, "AWS_DEFAULT_REGION": lab.region,
        "AWS_ENDPOINT_URL_DYNAMODB": local_cloud.url(),
    }  # fmt: skip
    for name, value in {**variables, **local_cloud.credentials()}.items():
        patch.setenv(name if name in variables else name.upper(), value)


def load_function(part):
    """The module of a function, anew: "connect", "default", "disconnect", or "broadcast", the second's fast one."""
    path = LAMBDAS / f"lambda_{part}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def connections():
    """An endpoint that this test alone tells what to answer."""
    with connections_endpoint() as server:
        yield server


@pytest.fixture(scope="module")
def shared_table(chat):
    with connection_table(chat) as table:
        yield table


@pytest.fixture
def table(shared_table):
    """A table of connection ids, empty."""
    yield shared_table
    shared_table.clear()


@pytest.fixture(scope="module")
def session(chat):
    """A boto3 session, which has read the descriptions of the services once."""
    return boto3.Session(region_name=chat.region, **local_cloud.credentials())


@pytest.fixture
def function(chat, table, connections, session, monkeypatch):
    """`function("broadcast")`: a function's module, in the environment that Lambda would give it."""
    set_environment(monkeypatch, chat, table, connections.url)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", session)
    return load_function


@pytest.fixture
def backoffs(monkeypatch):
    """The numbers of the attempts that failed. The back-off that follows each is none here; it is botocore's own, which
    test_fanout_requests.py looks at."""
    attempts = []
    monkeypatch.setattr("fanout.pacing.backoff_s", lambda attempt: attempts.append(attempt) or 0)
    monkeypatch.setattr(
        "botocore.retries.standard.ExponentialBackoff.delay_amount",
        lambda _, context: attempts.append(context.attempt_number) or 0,
    )
    return attempts


def event(body=None, connection_id="sender", **more):
    """API Gateway's event for a message."""
    return {"requestContext": {"connectionId": connection_id}, "body": body, "isBase64Encoded": False} | more


def log_lines(capsys):
    """What the functions have printed, each a line."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def log_line(capsys):
    """The one line that the function has printed."""
    (line,) = log_lines(capsys)
    return line
