"""Calls that fail for no fault of the caller's: the traits that play it, and what boto3 makes of them."""

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.retries.standard import RetryContext, ThrottledRetryableChecker, TransientRetryableChecker

from chatlab.emulator.api_call import ApiCall
from chatlab.emulator.traits import faults, with_traits
from chatlab.emulator.traits.latency import Slow
from tests.support.traits import APIS, FORM, LAMBDA, PERSON, POST, ROLE, ask, cloud

pytestmark = pytest.mark.usefixtures("clock")


CONTROL = [
    ("lambda", "GET", LAMBDA, {}),
    ("apigateway", "GET", APIS, {}),
    ("iam", "POST", "https://iam.amazonaws.com/", FORM),
    ("s3", "PUT", "https://chat.s3.eu-central-1.amazonaws.com/", {}),
    ("s3", "PUT", "http://127.0.0.1:4566/chat", {}),
    ("dynamodb", "POST", "https://dynamodb.eu-central-1.amazonaws.com/", {"x_amz_target": "D.CreateTable"}),
    ("logs", "POST", "https://logs.eu-central-1.amazonaws.com/", {"x_amz_target": "L.CreateLogGroup"}),
    ("tagging", "POST", "https://tagging.eu-central-1.amazonaws.com/", {"x_amz_target": "R.GetResources"}),
]
DATA = [
    ("execute-api", "POST", POST, {}),
    ("lambda", "POST", f"{LAMBDA}/chat-default/invocations", {}),
    ("s3", "PUT", "https://chat.s3.eu-central-1.amazonaws.com/index.html", {}),
    ("s3", "PUT", "http://127.0.0.1:4566/chat/index.html", {}),
    ("dynamodb", "POST", "https://dynamodb.eu-central-1.amazonaws.com/", {"x_amz_target": "D.Scan"}),
    ("sts", "POST", "https://sts.eu-central-1.amazonaws.com/", FORM),
]


@pytest.mark.parametrize("luck", [0.0, 0.9], ids=["throttled", "failed"])
@pytest.mark.parametrize(("service", "method", "url", "headers"), CONTROL)
def test_a_fault_is_written_as_the_service_writes_it_and_boto3_would_try_again(
    monkeypatch, service, method, url, headers, luck
):
    lots = iter([0.0, luck])
    monkeypatch.setattr(faults.random, "random", lambda: next(lots))
    answer = ask(with_traits(cloud, "faults"), service, method, url, b"Action=ListRoles", **headers)
    name = {"apigateway": "apigatewayv2", "tagging": "resourcegroupstaggingapi"}.get(service, service)
    client = boto3.client(name, region_name="eu-central-1")
    model = client.meta.service_model.operation_model(client.meta.service_model.operation_names[0])
    told = {"status_code": answer.status_code, "headers": answer.headers, "body": answer.content}
    context = RetryContext(
        attempt_number=1, operation_model=model, http_response=AWSResponse(url, answer.status_code, {}, None),
        parsed_response=client._response_parser.parse(told, model.output_shape), caught_exception=None,
    )  # fmt: skip
    retried = ThrottledRetryableChecker() if luck == 0.0 else TransientRetryableChecker()
    assert retried.is_retryable(context), context.parsed_response
    assert cloud.asked == 0


def test_data_has_no_faults_and_takes_no_longer():
    always = with_traits(cloud, "faults=1")
    for service, method, url, headers in DATA:
        assert ask(always, service, method, url, b"{}", **headers).status_code == 200
    scan = {"x_amz_target": "D.CreateTable"}  # a function does not, but if it did
    assert ask(always, "dynamodb", "POST", DATA[4][2], b"{}", ROLE, **scan).status_code == 200
    slow = Slow()
    calls = [
        ApiCall("lambda", PERSON, "GET /2015-03-31/functions", "", b""),
        ApiCall("sts", PERSON, "X", "", b""),
    ]
    assert [slow.delay_s(call) for call in calls] == [2.0, 0.0]


def test_an_answer_that_is_lost_is_one_of_a_call_that_was_done():
    app = with_traits(cloud, "lost-answers=1")
    answer = ask(app, "lambda", "GET", LAMBDA)
    assert (answer.status_code, cloud.asked) == (500, 1)
    assert ask(app, "execute-api", "POST", POST, b"hello").status_code == 200


def test_one_call_in_five_fails():
    app = with_traits(cloud, "faults")
    statuses = [ask(app, "lambda", "GET", LAMBDA).status_code for _ in range(400)]
    assert 40 < sum(status != 200 for status in statuses) < 130


def test_of_the_messages_to_connections_a_share_fail_and_the_sender_may_try_again():
    app = with_traits(cloud, "message-faults=0.5")
    statuses = [ask(app, "execute-api", "POST", POST, b"hello").status_code for _ in range(40)]
    assert set(statuses) == {200, 500}  # but for one chance in 2**39
    assert cloud.asked == statuses.count(200)
    assert {ask(app, "lambda", "GET", LAMBDA).status_code for _ in range(10)} == {200}
