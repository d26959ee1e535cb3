"""Limits that only a trait sets: a new account's Lambda, which runs few invocations at a time, and a stage's own."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import websocket
from botocore.config import Config

from chatlab import poll
from chatlab.lab import STAGE
from chatlab.limits import read_quotas
from loadtest import warm_up
from tests.support.labs import chat_in, lab_in

AT_ONCE = 4  # a new account has 10; with fewer, the local cloud itself is quick enough to ask for more


@pytest.fixture(scope="module")
def new_account(tmp_path_factory):
    """A chat in a new account."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_TRAITS", f"concurrency={AT_ONCE}")
        with chat_in(tmp_path_factory.mktemp("new account")) as lab:
            yield lab


@pytest.fixture
def url(new_account):
    return new_account.websocket_url(new_account.require_api())


def handshake(url):
    """The status of a handshake's answer, and the socket."""
    try:
        return 101, websocket.create_connection(url, timeout=60)
    except websocket.WebSocketBadStatusException as refused:
        return refused.status_code, None


def connect(url, number):
    """Make this many handshakes at once; their statuses, and the open sockets."""
    with ThreadPoolExecutor(number) as pool:
        answers = list(pool.map(handshake, [url] * number))
    return [status for status, _ in answers], [socket for _, socket in answers if socket]


def close(url, sockets):
    """Close them one after another, and wait until a newcomer is let in."""
    for socket in sockets:
        socket.close(timeout=0)
        time.sleep(0.05)

    def is_let_in():
        status, socket = handshake(url)
        if socket:
            socket.close(timeout=0)
        return status == 101

    poll(is_let_in, "the functions to be done with those who left")


def test_of_many_handshakes_at_once_some_are_refused_with_500(url):
    statuses, sockets = connect(url, 30)
    close(url, sockets)
    assert set(statuses) == {101, 500}


def test_a_message_beyond_that_is_answered_with_an_error_frame(url):
    sockets = [socket for _ in range(3) for socket in connect(url, AT_ONCE)[1]]

    def is_quiet():
        sockets[0].send("quiet?")
        return sockets[0].recv() == "quiet?"

    poll(is_quiet, "the functions to be done with those who left before", every_s=0.1)
    for socket in sockets:
        socket.send("hello?")
    errors = []
    for socket in sockets:
        while (frame := socket.recv()) != "hello?":
            if frame != "quiet?":
                errors.append(json.loads(frame))
    close(url, sockets)
    assert 1 <= len(errors) < len(sockets)
    assert all(said["message"] == "Internal server error" for said in errors)
    assert all(said["connectionId"] and said["requestId"] for said in errors)


def test_a_call_beyond_that_is_refused_and_an_event_waits(new_account):
    functions = new_account.client("lambda", config=Config(retries={"total_max_attempts": 1}, max_pool_connections=20))
    event = {"requestContext": {"connectionId": "queued", "routeKey": "$connect"}, "isBase64Encoded": False}
    call = {"FunctionName": new_account.functions["connect"], "Payload": json.dumps(event)}

    def invoke(_):
        try:
            return functions.invoke(**call)["StatusCode"]
        except functions.exceptions.TooManyRequestsException as refused:
            return refused.response["Reason"]

    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(invoke, range(20))
        assert functions.invoke(**call, InvocationType="Event")["StatusCode"] == 202
        assert set(answers) == {200, "ConcurrentInvocationLimitExceeded"}
    key = {"connection_id": {"S": "queued"}}
    table = new_account.client("dynamodb")
    item = {"TableName": new_account.table, "Key": key}
    poll(lambda: "Item" in table.get_item(**item), "the event to be handled", timeout_s=10)
    table.delete_item(**item)


def test_a_load_test_as_fast_as_the_rule_says_is_complete_and_hardly_anybody_is_refused(new_account, url, run):
    connect_s = warm_up.handshake_s(url)
    quotas = read_quotas(new_account)
    rate = quotas.max_connects_per_s(connect_s)
    assert quotas.concurrency == AT_ONCE
    assert 0.03 < connect_s < 0.3 and rate > 10
    test = run("--host", url, "--users", 40, "--spawn-rate", rate, "--broadcasts", 3, "--warm-up", 1)
    assert test.status == 0, test.output
    assert sum(test.summary["refusals"].values()) < 8


@pytest.fixture(scope="module")
def limited_url(tmp_path_factory):
    """An API that answers by itself, and takes 2 messages at once and 5 handshakes; then one in ten seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_TRAITS", "stage-limits")
        with lab_in(tmp_path_factory.mktemp("limits") / "home") as lab:
            gateway = lab.client("apigatewayv2")
            made = {"Name": "limits", "ProtocolType": "WEBSOCKET", "RouteSelectionExpression": "$request.body.action"}
            api = gateway.create_api(**made)["ApiId"]
            mock = gateway.create_integration(ApiId=api, IntegrationType="MOCK")["IntegrationId"]
            for route in ("$connect", "$default"):
                gateway.create_route(ApiId=api, RouteKey=route, Target=f"integrations/{mock}")
            of_all, of_messages = ({"ThrottlingRateLimit": 0.1, "ThrottlingBurstLimit": burst} for burst in (5, 2))
            routes = {"DefaultRouteSettings": of_all, "RouteSettings": {"$default": of_messages}}
            gateway.create_stage(ApiId=api, StageName=STAGE, **routes)
            yield lab.websocket_url(api)


def test_each_route_takes_what_is_set_for_it_and_no_more(limited_url):
    sockets = [websocket.create_connection(limited_url, timeout=10) for _ in range(5)]
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(limited_url, timeout=10)
    assert refused.value.status_code == 429
    for socket in sockets[:3]:  # the limit is the route's, whoever speaks
        socket.send("hello")
        time.sleep(0.1)
    frame = json.loads(sockets[2].recv())
    assert frame["message"] == "Too Many Requests" and frame.keys() == {"message", "connectionId", "requestId"}
    sockets[0].settimeout(0.2)
    with pytest.raises(websocket.WebSocketTimeoutException):
        sockets[0].recv()
    for socket in sockets:
        socket.close()
