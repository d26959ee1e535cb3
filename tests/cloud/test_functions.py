"""The functions' own logic. The table is the local cloud's; `@connections` is a server on loopback that answers what
the local cloud never does: 429, 5xx, 413, a connection that breaks.

What a broadcast does with an answer is tested of both: the one that is deployed, and the one after another with boto3.
"""

import base64
import importlib.util
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError
from fanout import Fanout
from http_pool import connection_pool

from chatlab import local_cloud
from chatlab.paths import LAMBDAS
from tests.support.functions import Connections, Context
from tests.support.labs import lab_in, run_notebook


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab with its table, and nothing else."""
    folder = tmp_path_factory.mktemp("functions")
    with lab_in(folder / "home") as lab:
        run_notebook("01_dynamodb_table", folder)
        yield lab


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
    for name, value in local_cloud.credentials().items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it keeps the first credentials that it finds
    connection_pool.cache_clear()  # with connections to another test's server

    def load(part):
        path = LAMBDAS / ("variants/sequential.py" if part == "sequential" else f"lambda_{part}.py")
        spec = importlib.util.spec_from_file_location(path.stem, path)
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


@pytest.mark.parametrize("transient", [500, None])
def test_a_moment_in_which_all_posts_fail_costs_nobody_the_message(function, connections, monkeypatch, transient):
    names = [f"c-{number}" for number in range(300)]
    connections.statuses = {name: [transient] for name in names}
    function("default")
    monkeypatch.setattr("event_loop.backoff_s", lambda attempt: 0)
    with Fanout(b"hello", time.monotonic() + 20) as posts:
        posts.post(names)
    assert (posts.outcomes.counts["delivered"], posts.outcomes.counts["retried"]) == (300, 300)
    assert connections.posts == dict.fromkeys(names, 2)


@pytest.mark.parametrize(
    ("part", "lasting"),
    [(part, lasting) for part in ("default", "sequential") for lasting in (500, 413, 403, None)]
    + [("sequential", 429)],
)
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


def test_a_throttle_is_tried_again_until_there_is_no_time_and_stops_nobody_else(
    function, lab, connections, connected, capsys
):
    connected("a", "b", "c")
    connections.statuses["b"] = [429] * 1000
    broadcast = function("default")
    broadcast.handler(event("hello"), Context(remaining_s=broadcast.RESERVE_S + 2))
    assert connections.heard.keys() == {"a", "c"}
    log = line(capsys)
    assert (log["delivered"], log["failed"], log["unreached"]) == (2, 0, 1)
    assert log["throttled"] == log["retried"] == connections.posts["b"] > 2
    assert "429 LimitExceededException" in log["error"]
    assert ids(lab) == {"a", "b", "c"}


def test_a_client_that_does_not_read_is_closed_and_stops_nobody_else(function, lab, connections, connected, capsys):
    connected("a", "b", "c")
    connections.statuses["b"] = [429] * 1000  # its buffer is full
    broadcast = function("default")
    broadcast.handler(event("hello"), Context())
    assert connections.heard.keys() == {"a", "c"}
    assert connections.closed == ["b"]
    log = line(capsys)
    assert (log["delivered"], log["failed"], log["unreached"], log["closed"]) == (2, 1, 0, 1)
    assert "429 LimitExceededException" in log["error"] and "does not read" in log["error"]
    assert ids(lab) == {"a", "b", "c"}  # $disconnect forgets it


def test_throttles_are_none_of_the_attempts_that_a_failure_has(function, connections, connected, monkeypatch, capsys):
    connected("a")
    connections.statuses["a"] = [429] * 4 + [500]
    broadcast = function("default")
    monkeypatch.setattr("event_loop.backoff_s", lambda attempt: 0)
    broadcast.handler(event("hello"), Context())
    log = line(capsys)
    assert (log["delivered"], log["failed"], log["throttled"], log["retried"]) == (1, 0, 4, 5)


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


@BROADCASTS
def test_an_expired_token_is_not_tried_again(function, part, connections, connected, capsys):
    connected("a")
    connections.statuses["a"] = ["ExpiredTokenException"]
    function(part).handler(event("hello"), Context())
    log = line(capsys)
    assert (log["delivered"], log["failed"], log["retried"]) == (0, 1, 0)
    assert "ExpiredTokenException" in log["error"]


def test_each_broadcast_is_signed_with_the_credentials_of_the_time(function, connections, connected, monkeypatch):
    connected("a")
    broadcast = function("default")
    for token in ("first", "second"):
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
        broadcast.handler(event("hello"), Context())
    assert connections.tokens == {"first", "second"}


def test_connections_are_kept_for_the_next_broadcast_unless_they_were_closed(function, connections, connected, capsys):
    connected("a", "b", "c")
    broadcast = function("default")
    for _ in range(9):
        broadcast.handler(event("hello"), Context())
    assert connections.opened <= 6
    connections.hang_up()
    broadcast.handler(event("hello"), Context())
    assert connections.posts == {"a": 10, "b": 10, "c": 10}
    assert all(json.loads(printed)["retried"] == 0 for printed in capsys.readouterr().out.splitlines())


def test_who_has_left_is_forgotten_after_all_posts(function, lab, connections, connected, monkeypatch):
    names = [f"left-{number}" for number in range(40)]
    connected(*names, "here")
    connected("young", age_s=0)
    connections.statuses |= {name: [410] for name in [*names, "young"]}
    broadcast, posted = function("default"), []
    delete = broadcast.dynamodb.delete_item

    def watched(**arguments):
        posted.append(sum(connections.posts.values()))
        return delete(**arguments)

    monkeypatch.setattr(broadcast.dynamodb, "delete_item", watched)
    broadcast.handler(event("hello"), Context())
    assert posted == [42] * 41
    assert ids(lab) == {"here", "young"}


def test_without_time_who_has_left_is_left_to_the_next_broadcast(function, lab, connected):
    connected("left")
    function("default").delete_stale(["left"], deadline=time.monotonic() - 1)
    assert ids(lab) == {"left"}
    function("default").delete_stale(["left"], deadline=time.monotonic() + 10)
    assert ids(lab) == set()


def test_the_first_page_is_posted_to_while_the_next_is_read(function, connections, connected, monkeypatch):
    connected(*(f"c-{number}" for number in range(8)))
    broadcast = function("default")
    monkeypatch.setattr(broadcast, "FIRST_PAGE_ITEMS", 2)
    monkeypatch.setattr(broadcast, "PAGE_GROWTH", 1)
    scan, before = broadcast.dynamodb.scan, []

    def slow(**arguments):
        time.sleep(0.5)
        before.append(sum(connections.posts.values()))
        return scan(**arguments)

    monkeypatch.setattr(broadcast.dynamodb, "scan", slow)
    broadcast.handler(event("hello"), Context())
    assert before == [0, 2, 4, 6, 8]
    assert len(connections.heard) == 8


def test_short_of_time_it_says_what_it_did_not_reach(function, connections, connected, monkeypatch, capsys):
    connected("a", "b", "c", "d")
    connections.statuses = {name: ["slow"] for name in "abcd"}
    broadcast = function("default")
    monkeypatch.setattr("http_pool.INITIAL_WINDOW", 2)
    monkeypatch.setattr("connection_set.MAX_CONNECTIONS", 2)
    started = time.monotonic()
    assert broadcast.handler(event("hello"), Context(remaining_s=2 + broadcast.RESERVE_S)) == {"statusCode": 200}
    assert time.monotonic() - started < 2 + broadcast.RESERVE_S
    log = line(capsys)
    # Two are reached; the next two are begun, and given up at the deadline: an answer was still to come.
    assert (log["connections"], log["delivered"], log["failed"] + log["unreached"]) == (4, 2, 2)


def test_without_time_nothing_is_begun(function, connections, connected, capsys):
    connected("a")
    function("default").handler(event("hello"), Context(remaining_s=1))
    assert not connections.posts
    assert "TimeoutError" in line(capsys)["error"]


def test_a_broadcast_is_told_in_cloudwatchs_embedded_metric_format(function, connections, connected, capsys):
    connected("a", "b")
    connections.statuses["a"] = [429]
    function("default").handler(event("hello"), Context())
    log = line(capsys)
    assert (log["throttled"], log["retried"], log["shards"]) == (1, 1, 1)
    (described,) = log["_aws"]["CloudWatchMetrics"]
    assert abs(log["_aws"]["Timestamp"] / 1000 - time.time()) < 60
    assert described["Dimensions"] == [["function"]] and "function" in log
    named = {metric["Name"] for metric in described["Metrics"]}
    assert {"connections", "delivered", "gone", "throttled", "retried", "scan_ms", "post_ms", "shards"} <= named
    assert all(isinstance(log[name], (int, float)) for name in named)


def test_an_endpoint_that_nobody_listens_at_is_an_error_in_the_log(function, connected, monkeypatch, capsys):
    connected("a")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setenv("APIGatewayEndpoint", f"http://127.0.0.1:{port}/production")
    function("default").handler(event("hello"), Context())
    log = line(capsys)
    assert (log["failed"], log["retried"]) == (1, 3)
    assert "ConnectionRefusedError" in log["error"]


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate and its key for 127.0.0.1, in one PEM file."""
    path = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"],
            *["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.cert"],
        ],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + (tmp_path / "certificate.pem.cert").read_text())
    return path


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")
@pytest.mark.parametrize("trusted", [True, False])
def test_https_is_spoken_with_those_who_are_trusted(
    function, connections, connected, certificate, monkeypatch, capsys, trusted
):
    connected("a", "b")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    connections.socket = context.wrap_socket(connections.socket, server_side=True, do_handshake_on_connect=False)
    monkeypatch.setenv("APIGatewayEndpoint", connections.url.replace("http", "https"))
    if trusted:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    broadcast = function("default")
    monkeypatch.setattr("event_loop.backoff_s", lambda attempt: 0)
    broadcast.handler(event("x" * 100_000), Context())
    log = line(capsys)
    assert log["delivered"] == (2 if trusted else 0)
    assert trusted or "SSLCertVerificationError" in log["error"]


# A broadcast that is split. Lambda is a list of what it was asked for; tests/cloud/test_fanout.py has the real one.


@pytest.fixture
def sharded(function, monkeypatch):
    """`sharded(shards, above)`: the broadcast's module with sharding on, and the list of asked-for invocations."""

    def load(shards, above, refuse=()):
        monkeypatch.setenv("SHARDS", str(shards))
        monkeypatch.setenv("SHARD_ABOVE", str(above))
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "chat-default")
        broadcast, asked = function("default"), []

        def invoke(FunctionName, InvocationType, Payload):
            assert (FunctionName, InvocationType) == ("chat-default", "Event")
            message = json.loads(Payload)
            if message["shard"]["segment"] in refuse:
                raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "Invoke")
            asked.append(message)

        monkeypatch.setattr(broadcast, "lambda_client", lambda: SimpleNamespace(invoke=invoke))
        return broadcast, asked

    return load


def logs(capsys):
    return [json.loads(printed) for printed in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    "body", [{"body": "hello 🎉"}, {"body": base64.b64encode(b"\xff\x00").decode(), "isBase64Encoded": True}]
)
def test_a_large_broadcast_is_split_and_its_shards_reach_everyone_once(sharded, connections, connected, capsys, body):
    names = [f"c-{number}" for number in range(60)]
    connected(*names)
    broadcast, asked = sharded(4, 10)
    broadcast.handler(event(**body), Context())
    assert sorted(message["shard"]["segment"] for message in asked) == [1, 2, 3]
    for message in list(asked):
        broadcast.handler(message, Context())
    assert len(asked) == 3, "a shard must not be split again"
    assert connections.posts == dict.fromkeys(names, 1)
    assert len(set(connections.heard.values())) == 1
    first, *others = logs(capsys)
    assert first["shards"] == 4
    assert sorted(log["shard"] for log in others) == [1, 2, 3]
    assert {log["broadcast"] for log in (first, *others)} == {first["broadcast"]}
    assert sum(log["delivered"] for log in (first, *others)) == 60


def test_a_small_broadcast_is_not_split(sharded, connections, connected, capsys):
    names = [f"c-{number}" for number in range(60)]
    connected(*names)
    broadcast, asked = sharded(4, 1000)
    broadcast.handler(event("hello"), Context())
    assert not asked
    assert connections.posts == dict.fromkeys(names, 1)
    assert line(capsys)["shards"] == 1


def test_without_being_told_to_nothing_is_split(function, connections, connected, monkeypatch):
    connected(*(f"c-{number}" for number in range(20)))
    monkeypatch.setenv("SHARD_ABOVE", "1")
    function("default").handler(event("hello"), Context())  # and it has no function's name to invoke
    assert len(connections.heard) == 20


def test_a_shard_that_lambda_does_not_take_is_posted_to_by_the_first(sharded, connections, connected, capsys):
    names = [f"c-{number}" for number in range(60)]
    connected(*names)
    broadcast, asked = sharded(4, 10, refuse=[2])
    broadcast.handler(event("hello"), Context())
    assert sorted(message["shard"]["segment"] for message in asked) == [1, 3]
    for message in asked:
        broadcast.handler(message, Context())
    assert connections.posts == dict.fromkeys(names, 1)
    assert logs(capsys)[0]["shards"] == 3


@pytest.fixture
def handing_over(sharded, monkeypatch):
    """`handing_over(shards=1)`: the same with pages of two, after the first of which the rest is handed over."""

    def load(shards=1, above=10, refuse=()):
        broadcast, asked = sharded(shards, above, refuse)
        for name, value in {"HAND_OVER_S": -1, "FIRST_PAGE_ITEMS": 2, "PAGE_GROWTH": 1}.items():
            monkeypatch.setattr(broadcast, name, value)
        return broadcast, asked

    return load


def test_what_is_not_read_in_time_is_handed_over_once(handing_over, connections, connected, capsys):
    names = [f"c-{number}" for number in range(9)]
    connected(*names)
    broadcast, asked = handing_over()
    broadcast.handler(event("hello"), Context())
    (message,) = asked
    assert (message["shard"]["segment"], message["shard"]["total_segments"]) == (0, 1)
    assert len(connections.posts) == 2
    broadcast.handler(message, Context())
    assert len(asked) == 1, "what was handed over must not be handed over again"
    assert connections.posts == dict.fromkeys(names, 1)
    first, rest = logs(capsys)
    assert (first["shards"], first["handed_over"], first["delivered"]) == (1, 1, 2)
    assert (rest["shard"], rest["delivered"]) == (0, 7)
    assert first["broadcast"] == rest["broadcast"]


def test_of_a_split_broadcast_only_the_rest_of_the_own_segment_is_handed_over(
    handing_over, connections, connected, capsys
):
    names = [f"c-{number}" for number in range(60)]
    connected(*names)
    broadcast, asked = handing_over(shards=3, above=0)
    broadcast.handler(event("hello"), Context())
    assert sorted((message["shard"]["segment"], bool(message["shard"].get("start"))) for message in asked) == [
        (0, True), (1, False), (2, False),
    ]  # fmt: skip
    for message in list(asked):
        broadcast.handler(message, Context())
    assert len(asked) == 3
    assert connections.posts == dict.fromkeys(names, 1)


def test_what_lambda_does_not_take_over_is_gone_on_with(handing_over, connections, connected, capsys):
    names = [f"c-{number}" for number in range(9)]
    connected(*names)
    broadcast, _ = handing_over(refuse=[0])
    broadcast.handler(event("hello"), Context())
    assert connections.posts == dict.fromkeys(names, 1)
    log = line(capsys)
    assert (log["handed_over"], log["delivered"]) == (0, 9)


@pytest.mark.parametrize(("shards", "refuse"), [(1, ()), (3, ()), (1, [0])], ids=["handed over", "split", "neither"])
def test_the_speaker_hears_it_first_and_once(handing_over, connections, connected, monkeypatch, shards, refuse):
    names = [f"c-{number}" for number in range(30)]
    connected(*names)
    monkeypatch.setattr("connection_set.MAX_CONNECTIONS", 1)
    broadcast, asked = handing_over(shards, 0, refuse)
    said = event("hello", connection_id="c-17")
    said["requestContext"]["eventType"] = "MESSAGE"
    broadcast.handler(said, Context())
    for message in asked:
        broadcast.handler(message, Context())
    assert next(iter(connections.heard)) == "c-17"
    assert connections.posts == dict.fromkeys(names, 1)


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(function, connections, connected, monkeypatch, capsys):
    connected("a", "b")
    connections.statuses["a"] = ["slow"]
    broadcast = function("default")
    monkeypatch.setattr("event_loop.READ_TIMEOUT_S", 0.3)
    broadcast.handler(event("hello"), Context())
    assert connections.posts == {"a": 2, "b": 1}
    log = line(capsys)
    assert (log["delivered"], log["failed"], log["retried"]) == (2, 0, 1)
    assert "TimeoutError" in log["error"]
