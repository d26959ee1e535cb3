"""CloudWatch on the local cloud: figures of invocations over the WebSocket, the broadcast's log line, and its figures;
and the account's quotas."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import websocket
from botocore.exceptions import ClientError

from chatlab import poll
from chatlab.lab import STAGE
from chatlab.limits import read_quotas
from chatlab.packages import build_package, build_zip, deploy
from tests.support.chat import delete_item, people
from tests.support.labs import variables, without_policy


def figure(lab, namespace, name, statistic, **dimensions):
    """A metric's statistic, summed over the last minutes; None if there is none."""
    now = datetime.now(UTC)
    points = lab.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=1),
        Period=3600,
        Statistics=[statistic],
    )["Datapoints"]
    return sum(point[statistic] for point in points) if points else None


def test_a_broadcast_has_the_figures_that_it_has_on_aws(chat):
    api, function = chat.require_api(), chat.functions["default"]
    before = figure(chat, "AWS/Lambda", "Invocations", "Sum", FunctionName=function) or 0
    with people(chat, 1) as (ada,):
        for _ in range(2):
            ada.send("hello")
            assert ada.recv() == "hello"
    counted = {"namespace": "AWS/Lambda", "name": "Invocations", "statistic": "Sum", "FunctionName": function}
    poll(lambda: figure(chat, **counted) == before + 2, "both broadcasts to end", every_s=0.02)
    assert figure(chat, "AWS/Lambda", "Throttles", "Sum", FunctionName=function) == 0
    assert figure(chat, "AWS/Lambda", "ConcurrentExecutions", "Maximum", FunctionName=function) >= 1
    duration = figure(chat, "AWS/Lambda", "Duration", "Average", FunctionName=function)
    assert 0 < figure(chat, "chatlab", "post_ms", "Average", function=function) < duration
    assert figure(chat, "AWS/ApiGateway", "IntegrationLatency", "Average", ApiId=api, Stage=STAGE) > 0
    assert figure(chat, "AWS/ApiGateway", "IntegrationLatency", "Average", ApiId="another", Stage=STAGE) is None


def test_what_a_function_prints_is_in_its_log_group_if_its_role_may_write_there(chat):
    logs, group = chat.client("logs"), chat.log_groups["default"]

    def lines():
        events = logs.filter_log_events(logGroupName=group, filterPattern='{ $.event = "broadcast" }')["events"]
        return [json.loads(event["message"]) for event in events]

    def say(text):
        with people(chat, 1) as (ada,):
            ada.send(text)
            assert ada.recv() == text

    before = len(lines())
    say("hello")
    poll(lambda: len(lines()) == before + 1, "the log line", every_s=0.02)
    assert lines()[-1]["delivered"] == 1
    chat.client("lambda").invoke(FunctionName=chat.functions["default"], Payload=b"{}")
    assert len(lines()) == before + 2  # once, by whatever way it was invoked
    with without_policy(chat, "logs"), variables(chat, AGAIN="1"):  # a new instance makes a new log stream
        say("nobody reads this")
        say("nor this")
    assert len(lines()) == before + 2


MEETING = """
import os, pathlib, time

def handler(event, context):
    here = pathlib.Path({folder!r})
    (here / str(os.getpid())).touch()
    deadline = time.monotonic() + 5
    while len(list(here.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return {{"statusCode": 200 if len(list(here.iterdir())) == 2 else 403}}
"""


def test_two_people_are_let_in_side_by_side_each_by_an_instance_of_the_function(chat, tmp_path):
    url = chat.websocket_url(chat.require_api())
    meeting = MEETING.format(folder=str(tmp_path)).encode()
    deploy(chat, "connect", build_zip({"lambda_connect.py": meeting}))
    try:
        with ThreadPoolExecutor(2) as pool:
            for socket in pool.map(websocket.create_connection, [url, url]):
                socket.close()
    finally:
        deploy(chat, "connect", build_package("connect"))


def test_a_call_of_lambdas_own_counts_once(chat):
    function = chat.functions["connect"]
    event = b'{"requestContext": {"connectionId": "counted", "routeKey": "$connect"}}'
    before = figure(chat, "AWS/Lambda", "Invocations", "Sum", FunctionName=function) or 0
    chat.client("lambda").invoke(FunctionName=function, Payload=event)
    assert figure(chat, "AWS/Lambda", "Invocations", "Sum", FunctionName=function) == before + 1
    delete_item(chat, "counted")


def test_the_local_cloud_tells_an_accounts_quotas(chat):
    found = read_quotas(chat)
    assert (found.requests_per_s, found.connects_per_s, found.concurrency) == (10_000, 500, 1_000)
    assert all(found.is_live(name) for name in found.sources)
    asked = chat.client("service-quotas")
    assert asked.get_service_quota(ServiceCode="apigateway", QuotaCode="L-8A5B8E43")["Quota"]["Value"] == 10_000
    with pytest.raises(ClientError, match="NoSuchResourceException"):
        asked.get_service_quota(ServiceCode="apigateway", QuotaCode="L-00000000")
