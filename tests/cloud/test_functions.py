"""The functions' own logic. The table is the local cloud's; `@connections` is a server on loopback that answers what
the local cloud never does: 429, 5xx, 413, a connection that breaks.

What a broadcast does with an answer is tested of both: the one that is deployed, and the one after another with boto3.
"""

import base64
import importlib.util
import json
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from chatlab import local_cloud
from chatlab.paths import LAMBDAS
from tests.conftest import lab_in, run_notebook


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab with its table, and nothing else."""
    folder = tmp_path_factory.mktemp("functions")
    with lab_in(folder / "home") as lab:
        run_notebook("01_dynamodb_table", folder)
        yield lab


class Connections(ThreadingHTTPServer):
    """`@connections`: answers each connection id with the statuses that it was told, then 200."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.statuses, self.posts, self.heard = {}, Counter(), {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/production"


NAMES = {410: "GoneException", 413: "PayloadTooLargeException", 429: "LimitExceededException", 403: "Forbidden"}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        connection_id = unquote(self.path).rpartition("/@connections/")[2]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts[connection_id] += 1
        statuses = self.server.statuses.get(connection_id, [])
        status = statuses.pop(0) if statuses else 200
        if status is None:  # the connection breaks
            self.close_connection = True
            return
        if status == 200:
            self.server.heard[connection_id] = body
        answer = b"{}" if status < 300 else json.dumps({"message": str(status)}).encode()
        self.send_response(status)
        self.send_header("x-amzn-ErrorType", NAMES.get(status, "InternalServerError"))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def connections():
    server = Connections()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def function(lab, connections, monkeypatch):
    """`function("default")`: a function's module, in the environment that Lambda would give it."""
    monkeypatch.setenv("TABLE", lab.table)
    monkeypatch.setenv("APIGatewayEndpoint", connections.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", local_cloud.url())
    monkeypatch.setenv("AWS_DEFAULT_REGION", lab.region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.syspath_prepend(LAMBDAS)
    monkeypatch.delitem(sys.modules, "fanout", raising=False)  # with connections to another test's server

    def load(part):
        name = "sequential" if part == "sequential" else f"lambda_{part}"
        spec = importlib.util.spec_from_file_location(name, LAMBDAS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def connected(lab):
    """`connected("a", "b")`: items in the table, an hour old."""
    dynamodb = lab.client("dynamodb")

    def put(*connection_ids, age_s=3600):
        for connection_id in connection_ids:
            item = {"connection_id": {"S": connection_id}, "connected_at": {"N": str(int(time.time()) - age_s)}}
            dynamodb.put_item(TableName=lab.table, Item=item)

    yield put
    for connection_id in ids(lab):
        dynamodb.delete_item(TableName=lab.table, Key={"connection_id": {"S": connection_id}})


def ids(lab):
    items = lab.client("dynamodb").scan(TableName=lab.table, ConsistentRead=True)["Items"]
    return {item["connection_id"]["S"] for item in items}


class Context:
    """Lambda's context object, as far as a function reads it."""

    def __init__(self, remaining_s=60):
        self._end = time.monotonic() + remaining_s

    def get_remaining_time_in_millis(self):
        return max(0, round((self._end - time.monotonic()) * 1000))


BROADCASTS = pytest.mark.parametrize("part", ["default", "sequential"])


def event(body=None, connection_id="sender", **more):
    return {"requestContext": {"connectionId": connection_id}, "body": body, "isBase64Encoded": False} | more


def line(capsys):
    """The one line that the function has printed."""
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1
    return json.loads(printed[0])


def test_connect_puts_and_disconnect_deletes(function, lab, connected, capsys):
    assert function("connect").handler(event(connection_id="one"), None) == {"statusCode": 200}
    assert ids(lab) == {"one"}
    assert line(capsys).keys() == {"event", "connection_id", "put_ms"}
    assert function("disconnect").handler(event(connection_id="one"), None) == {"statusCode": 200}
    assert ids(lab) == set()
    assert line(capsys).keys() == {"event", "connection_id", "delete_ms"}


@pytest.mark.parametrize("part", ["connect", "default", "sequential", "disconnect"])
def test_a_table_that_is_missing_is_logged_and_answered_with_500(function, monkeypatch, capsys, part):
    monkeypatch.setenv("TABLE", "no-such-table")
    assert function(part).handler(event("hello"), Context()) == {"statusCode": 500}
    assert "ResourceNotFoundException" in line(capsys)["error"]


@BROADCASTS
def test_a_broadcast_reaches_everyone_and_says_so(function, part, connections, connected, capsys):
    connected("a", "b", "c")
    assert function(part).handler(event("hello"), Context()) == {"statusCode": 200}
    assert connections.heard == {"a": b"hello", "b": b"hello", "c": b"hello"}
    log = line(capsys)
    assert (log["event"], log["connections"], log["delivered"], log["gone"], log["failed"]) == ("broadcast", 3, 3, 0, 0)
    assert log["scan_ms"] > 0 and log["post_ms"] > 0


@BROADCASTS
@pytest.mark.parametrize("transient", [429, 500, 503, None])
def test_what_may_pass_is_tried_again_with_backoff(function, part, connections, connected, capsys, transient):
    connected("a", "b")
    connections.statuses["a"] = [transient, transient]
    function(part).handler(event("hello"), Context())
    assert connections.posts == {"a": 3, "b": 1}
    assert connections.heard.keys() == {"a", "b"}
    log = line(capsys)
    assert (log["delivered"], log["failed"], log["retried"]) == (2, 0, 2)


@BROADCASTS
@pytest.mark.parametrize("lasting", [429, 500, 413, 403, None])
def test_what_does_not_pass_is_given_up_and_stops_nobody_else(
    function, part, lab, connections, connected, capsys, lasting
):
    connected("a", "b", "c")
    connections.statuses["b"] = [lasting] * 100
    function(part).handler(event("hello"), Context())
    assert connections.heard.keys() == {"a", "c"}
    assert connections.posts["b"] == (1 if lasting in (413, 403) else 4)
    log = line(capsys)
    assert (log["delivered"], log["failed"], log["gone"]) == (2, 1, 0)
    assert log["error"]
    assert ids(lab) == {"a", "b", "c"}


@BROADCASTS
def test_who_has_left_is_forgotten(function, part, lab, connections, connected, capsys):
    connected("a", "b")
    connections.statuses["a"] = [410]
    function(part).handler(event("hello"), Context())
    assert ids(lab) == {"b"}
    log = line(capsys)
    assert (log["delivered"], log["gone"], log["failed"]) == (1, 1, 0)


@BROADCASTS
def test_who_is_only_just_connecting_is_not_forgotten(function, part, lab, connections, connected):
    connected("a", age_s=0)
    connections.statuses["a"] = [410]
    function(part).handler(event("hello"), Context())
    assert ids(lab) == {"a"}


@BROADCASTS
@pytest.mark.parametrize("body", ["hello", "{}", "🎉 你好", '{"action": "x"}', " "])
def test_a_text_frame_is_forwarded_as_utf_8(function, part, connections, connected, body):
    connected("a")
    function(part).handler(event(body), Context())
    assert connections.heard["a"] == body.encode()


@BROADCASTS
def test_a_binary_frame_comes_in_base64_and_is_forwarded_as_bytes(function, part, connections, connected):
    connected("a")
    data = bytes(range(256))
    function(part).handler(event(base64.b64encode(data).decode(), isBase64Encoded=True), Context())
    assert connections.heard["a"] == data


@BROADCASTS
@pytest.mark.parametrize("body", [None, ""])
def test_an_empty_frame_is_nothing_to_say(function, part, connections, connected, body):
    connected("a")
    assert function(part).handler(event(body), Context()) == {"statusCode": 200}
    assert not connections.posts
