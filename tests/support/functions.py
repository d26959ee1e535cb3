"""What a function meets where it runs: its environment, a table, and an `@connections` endpoint that answers what the
local cloud never does. The fixtures are in `tests/lambdas/conftest.py`."""

import importlib.util
import json
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from fanout import Fanout
from fanout.http_connections import close_pools

from chatlab import local_cloud
from chatlab.paths import LAMBDAS
from tests.support.chat import ids, put_items

ERRORS = {410: "GoneException", 413: "PayloadTooLargeException", 429: "LimitExceededException"}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # a response is one packet, or else the second waits for the acknowledgement of the first

    def setup(self):
        super().setup()
        self.is_stale = False
        self.server.handlers.append(self)

    def do_POST(self):
        server, connection_id = self.server, unquote(self.path).rpartition("/@connections/")[2]
        status = None
        if not self.is_stale:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.posts[connection_id] += 1
            server.tokens.add(self.headers["x-amz-security-token"])
            statuses = server.statuses.get(connection_id)
            status = statuses.pop(0) if statuses else 200
        if status is None:
            self.close_connection = True
            return
        if status == "slow":
            time.sleep(server.slow_s)
            status = 200
        if status == 200:
            server.heard[connection_id] = body
        answer = b"{}" if status < 300 else json.dumps({"message": str(status)}).encode()
        self.send_response(status)
        self.send_header("x-amzn-ErrorType", ERRORS.get(status, "InternalServerError"))
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
    """`@connections`: answers each connection id with its `statuses` in turn, then with 200.

    None is no answer, and the end of the HTTP connection; "slow" is 200 after `slow_s`.
    """

    slow_s = 0.6
    request_queue_size = 500  # connections that wait to be accepted: none is made to try again a second later

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.statuses, self.posts, self.heard, self.tokens = {}, Counter(), {}, set()
        self.closed, self.handlers = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/production"

    def handle_error(self, *_):
        """Say nothing of a client that has gone."""

    def close_when_used(self):
        """Close each of today's connections just as it is used, as a server may do with an idle one."""
        for handler in self.handlers:
            handler.is_stale = True

    def hang_up(self):
        """Close all connections, as a server does with idle ones."""
        for handler in self.handlers:
            with suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)


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
    """A table of connection ids in the lab's cloud, beside the chat's own."""

    def __init__(self, lab):
        self.name, self._lab, self._dynamodb = f"{lab.name}-functions", lab, lab.client("dynamodb")

    def __enter__(self):
        self._dynamodb.create_table(
            TableName=self.name,
            KeySchema=[{"AttributeName": "connection_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "connection_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        return self

    def __exit__(self, *_):
        self._dynamodb.delete_table(TableName=self.name)

    def put(self, *connection_ids, age_s=3600):
        """Store the ids of connections that began `age_s` ago."""
        put_items(self._lab, connection_ids, age_s, self.name)

    def ids(self):
        return ids(self._lab, self.name)


def set_environment(patch, lab, table, endpoint_url):
    """Set what Lambda would give a function that has this table, and posts to this endpoint."""
    close_pools()  # with connections to another test's server
    variables = {
        "TABLE": table.name, "APIGatewayEndpoint": endpoint_url, "AWS_DEFAULT_REGION": lab.region,
        "AWS_ENDPOINT_URL_DYNAMODB": local_cloud.url(),
    }  # fmt: skip
    for name, value in (variables | {name.upper(): value for name, value in local_cloud.credentials().items()}).items():
        patch.setenv(name, value)


def load_function(part):
    """The module of a function, anew: "connect", "default", "disconnect", or "broadcast", the fast "default"."""
    path = LAMBDAS / f"lambda_{part}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def broadcast(number, seconds=20.0, name="id", **options):
    """Post to `number` ids without a function. Returns the `Fanout`, and how many seconds it took."""
    started = time.monotonic()
    with Fanout(b"hello", started + seconds, **options) as posts:
        posts.post([f"{name}-{n}" for n in range(number)])
    found = posts.outcome
    assert found.delivered + found.gone + found.failed + found.unreached == found.connections == number
    return posts, time.monotonic() - started


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
