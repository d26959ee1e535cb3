"""The traits of AWS, around an application that answers everything at once: how they are chosen, and what they play."""

import json

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials
from botocore.retries.standard import RetryContext, ThrottledRetryableChecker, TransientRetryableChecker

from chatlab.emulator import eventual_consistency, traits
from chatlab.emulator.traits import TRAITS, parse_traits, with_traits
from tests.support.asynchronous import run_async

PERSON, ROLE = "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"  # AWS's own examples
LAMBDA = "https://lambda.eu-central-1.amazonaws.com/2015-03-31/functions"
APIS = "https://apigateway.eu-central-1.amazonaws.com/v2/apis"
POST = "https://abc.execute-api.eu-central-1.amazonaws.com/production/@connections/one%3D"
TABLE = "https://dynamodb.eu-central-1.amazonaws.com/"
BUCKETS, BUCKET = "https://s3.eu-central-1.amazonaws.com/", "https://chat.s3.eu-central-1.amazonaws.com/"
FORM = {"content_type": "application/x-www-form-urlencoded"}


async def cloud(scope, receive, send):
    """Answers everything, and says how often it was asked."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    cloud.asked += 1
    status = 204 if scope["method"] == "DELETE" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"" if status == 204 else b'{"asked": %d}' % cloud.asked})


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that is set by hand (`clock.now += 5`); `cloud` starts counting anew."""

    class Clock:
        now = 1_000.0

        @staticmethod
        def monotonic():
            return Clock.now

    cloud.asked = 0
    for module in (eventual_consistency, traits):
        monkeypatch.setattr(module, "time", Clock)
    return Clock


def ask(app, service, method, url, body=b"", key=PERSON, **headers):
    """Send one signed request; the answer."""
    request = AWSRequest(method, url, data=body, headers={name.replace("_", "-"): v for name, v in headers.items()})
    SigV4Auth(Credentials(key, "none"), service, "eu-central-1").add_auth(request)

    async def send():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.request(method, url, content=body, headers=dict(request.headers.items()))

    return run_async(send())


def statuses(app, number, *request):
    return [ask(app, *request).status_code for _ in range(number)]


def iam(app, **parameters):
    return ask(app, "iam", "POST", "https://iam.amazonaws.com/", str(httpx.QueryParams(parameters)).encode(), **FORM)


def dynamodb(app, operation, key=PERSON, **body):
    target = f"DynamoDB_20120810.{operation}"
    return ask(app, "dynamodb", "POST", TABLE, json.dumps(body).encode(), key, x_amz_target=target)


# --- how they are chosen ---------------------------------------------------------------------------------------------


def test_traits_and_their_numbers_are_read_as_they_are_written():
    assert with_traits(cloud, "") is cloud
    assert parse_traits("slow=7.5,delay,faults") == {"delay": None, "faults": 0.2, "slow": 7.5}
    usual = parse_traits("all")
    bad_day = {"faults", "lost-answers", "slow", "message-faults"}
    account = {"no-public-buckets", "vcpu-quota", "no-default-vpc", "no-images", "task-stops"}
    assert usual.keys() == TRAITS.keys() - bad_day - account
    assert (usual["connections-rate"], usual["concurrency"], usual["late-metrics"]) == (10_000, 10, 20)
    assert parse_traits("stale-lists=30,all,slow") == usual | {"stale-lists": 30, "slow": 2}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("all,bad", "There is no trait bad: the traits are delay, "),
        ("delay=3", "The trait delay takes no number."),
        ("slow=x", 'The trait slow takes a number, and "x" is none.'),
        ("@/no/such", "The file /no/such can't be read: "),
    ],
)
def test_a_mistake_is_named(text, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        parse_traits(text)


def test_the_traits_of_a_file_change_with_it(tmp_path):
    (file := tmp_path / "traits").write_text("connections-rate=2\n")
    app = with_traits(cloud, f"@{file}")
    assert statuses(app, 2, "execute-api", "POST", POST) == [200, 429]
    (tmp_path / "next").write_text("")
    (tmp_path / "next").replace(file)
    assert statuses(app, 2, "execute-api", "POST", POST) == [200, 200]


# --- latency and throttling ------------------------------------------------------------------------------------------


@pytest.fixture
def slept(monkeypatch):
    """The seconds of each sleep; none takes any time."""
    seconds = []

    async def sleep(delay_s):
        seconds.append(delay_s)

    monkeypatch.setattr(traits.asyncio, "sleep", sleep)
    return seconds


def test_answers_take_milliseconds(slept):
    app = with_traits(cloud, "delay")
    for _ in range(20):
        ask(app, "execute-api", "POST", POST, b"hello")
        ask(app, "lambda", "GET", LAMBDA)
    assert 0.004 < sum(slept[::2]) / 20 < 0.012 and 0.02 < sum(slept[1::2]) / 20 < 0.045


def test_the_control_plane_alone_is_slow(slept):
    app = with_traits(cloud, "slow")
    ask(app, "execute-api", "POST", POST, b"hello")
    ask(app, "lambda", "GET", LAMBDA)
    assert slept == [2.0]


def test_api_gateways_control_plane_takes_40_calls_at_once_and_10_a_second_and_a_deployment_each_five(clock):
    app, deploy = with_traits(cloud, "control-plane-rate"), ("apigateway", "POST", f"{APIS}/abc/deployments")
    assert statuses(app, 42, "apigateway", "GET", APIS) == [200] * 40 + [429] * 2
    clock.now += 1
    assert statuses(app, 11, "apigateway", "GET", APIS) == [200] * 10 + [429]
    assert ask(app, "lambda", "GET", LAMBDA).status_code == 200
    clock.now += 1
    assert statuses(app, 2, *deploy) == [200, 429]
    clock.now += 5
    assert statuses(app, 1, *deploy) == [200]


def test_messages_to_connections_have_the_accounts_quota_and_half_of_it_at_once(clock):
    app = with_traits(cloud, "connections-rate=10")
    assert statuses(app, 6, "execute-api", "POST", POST) == [200] * 5 + [429]
    refused = ask(app, "execute-api", "POST", POST)
    assert refused.headers["x-amzn-errortype"] == "LimitExceededException"
    assert ask(app, "lambda", "GET", LAMBDA).status_code == 200
    clock.now += 0.1
    assert statuses(app, 2, "execute-api", "POST", POST) == [200, 429]


@pytest.mark.parametrize(("trait", "connects"), [("connect-rate", 500), ("connect-rate=100", 100)])
def test_one_handshake_too_many_at_once_is_refused(clock, trait, connects):
    app, answers = with_traits(cloud, trait), []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        answers.append(message.get("status", message["type"]))

    def connect():
        answers.clear()
        run_async(app({"type": "websocket"}, receive, send))
        return answers[0]

    assert {connect() for _ in range(connects)} == {"websocket.accept"}
    assert connect() == 429
    clock.now += 1.5 / connects
    assert [connect(), connect()] == ["websocket.accept", 429]


# --- what AWS knows, or allows, only after a while -------------------------------------------------------------------


def test_a_new_role_can_not_be_assumed_in_two_ways_and_then_it_can(clock):
    app = with_traits(cloud, "new-role")
    create = "lambda", "POST", LAMBDA, b'{"Role": "arn:aws:iam::000000000000:role/chat-lambda"}'
    iam(app, Action="CreateRole", RoleName="chat-lambda")
    first = ask(app, *create)
    clock.now += 6
    second = ask(app, *create)
    clock.now += 5
    assert ask(app, *create).status_code == 200
    assert (first.status_code, second.status_code) == (400, 400)
    assert "cannot be assumed" in first.json()["message"] and "KMS key is invalid" in second.json()["message"]
    client = boto3.client("lambda", region_name="eu-central-1")
    shape = client.meta.service_model.operation_model("CreateFunction").output_shape
    answer = {"status_code": first.status_code, "headers": first.headers, "body": first.content}
    error = client._response_parser.parse(answer, shape)["Error"]
    assert error["Code"] == "InvalidParameterValueException" and "cannot be assumed" in error["Message"]


def test_what_a_role_is_newly_allowed_is_refused_for_a_while_and_nothing_else(clock):
    app = with_traits(cloud, "late-policy")
    document = {"Statement": [{"Action": ["dynamodb:Scan"]}, {"Action": "execute-api:ManageConnections"}]}
    iam(app, Action="PutRolePolicy", PolicyDocument=json.dumps(document))

    def answers():
        scans = [dynamodb(app, *call).status_code for call in (("Scan", ROLE), ("PutItem", ROLE), ("Scan", PERSON))]
        return [*scans, ask(app, "execute-api", "POST", POST, b"hello", ROLE).status_code]

    assert answers() == [400, 200, 200, 403]
    clock.now += 5
    assert answers() == [200] * 4


def test_lists_are_those_of_a_while_ago(clock):
    app = with_traits(cloud, "stale-lists=30")
    first = ask(app, "s3", "GET", BUCKETS).json()
    clock.now += 29
    assert ask(app, "s3", "GET", BUCKETS).json() == first
    clock.now += 2
    assert ask(app, "s3", "GET", BUCKETS).json() != first
    assert ask(app, "s3", "GET", BUCKET).json() != ask(app, "s3", "GET", BUCKET).json()  # what is in it is not stale


def test_the_name_of_a_bucket_that_was_deleted_conflicts_for_a_while(clock):
    app = with_traits(cloud, "busy-bucket-name")
    ask(app, "s3", "DELETE", f"{BUCKET}?policy")
    assert ask(app, "s3", "PUT", BUCKET).status_code == 200
    ask(app, "s3", "DELETE", BUCKET)
    assert ask(app, "s3", "PUT", f"{BUCKET}?policy").status_code == 200
    refused = ask(app, "s3", "PUT", BUCKET)
    assert refused.status_code == 409 and "<Code>OperationAborted</Code>" in refused.text
    assert ask(app, "s3", "PUT", BUCKET.replace("chat", "other")).status_code == 200
    clock.now += 9
    assert ask(app, "s3", "PUT", BUCKET).status_code == 200


def test_the_tags_of_a_new_table_are_told_later(clock):
    app = with_traits(cloud, "late-tags")

    def tags(table):
        return dynamodb(app, "ListTagsOfResource", ResourceArn=f"arn:aws:dynamodb:x:1:table/{table}").json()

    dynamodb(app, "CreateTable", TableName="chat")
    assert tags("chat") == {"Tags": []} != tags("other")
    clock.now += 5
    assert tags("chat") != {"Tags": []}


# --- a bad day -------------------------------------------------------------------------------------------------------

CONTROL = {
    "lambda": ("GET", LAMBDA, {}),
    "apigateway": ("GET", APIS, {}),
    "iam": ("POST", "https://iam.amazonaws.com/", FORM),
    "s3": ("PUT", BUCKET, {}),
    "dynamodb": ("POST", TABLE, {"x_amz_target": "D.CreateTable"}),
    "ec2": ("POST", "https://ec2.eu-central-1.amazonaws.com/", FORM),
    "ecs": ("POST", "https://ecs.eu-central-1.amazonaws.com/", {"x_amz_target": "E.RunTask"}),
}
DATA = [
    ("execute-api", "POST", POST, {}),
    ("lambda", "POST", f"{LAMBDA}/chat-default/invocations", {}),
    ("s3", "PUT", f"{BUCKET}index.html", {}),
    ("s3", "PUT", "http://127.0.0.1:4566/chat/index.html", {}),
    ("dynamodb", "POST", TABLE, {"x_amz_target": "D.Scan"}),
    ("sts", "POST", "https://sts.eu-central-1.amazonaws.com/", FORM),
]


@pytest.mark.parametrize("luck", [0.0, 0.9], ids=["throttled", "failed"])
@pytest.mark.parametrize("service", CONTROL)
def test_a_fault_is_written_as_the_service_writes_it_and_boto3_would_try_again(monkeypatch, service, luck):
    method, url, headers = CONTROL[service]
    lots = iter([0.0, luck])
    monkeypatch.setattr(traits.random, "random", lambda: next(lots))
    answer = ask(with_traits(cloud, "faults"), service, method, url, b"Action=ListRoles", **headers)
    client = boto3.client({"apigateway": "apigatewayv2"}.get(service, service), region_name="eu-central-1")
    model = client.meta.service_model.operation_model(client.meta.service_model.operation_names[0])
    told = {"status_code": answer.status_code, "headers": answer.headers, "body": answer.content}
    context = RetryContext(
        attempt_number=1, operation_model=model, http_response=AWSResponse(url, answer.status_code, {}, None),
        parsed_response=client._response_parser.parse(told, model.output_shape), caught_exception=None,
    )  # fmt: skip
    retried = ThrottledRetryableChecker() if luck == 0.0 else TransientRetryableChecker()
    assert retried.is_retryable(context), context.parsed_response
    assert cloud.asked == 0


def test_data_has_no_faults():
    always = with_traits(cloud, "faults=1")
    for service, method, url, headers in DATA:
        assert ask(always, service, method, url, b"{}", **headers).status_code == 200
    assert dynamodb(always, "CreateTable", ROLE).status_code == 200  # a function does not, but if it did


def test_an_answer_that_is_lost_is_one_of_a_call_that_was_done():
    app = with_traits(cloud, "lost-answers=1")
    assert (ask(app, "lambda", "GET", LAMBDA).status_code, cloud.asked) == (500, 1)
    assert ask(app, "execute-api", "POST", POST, b"hello").status_code == 200


def test_of_the_messages_to_connections_a_share_fail_and_the_sender_may_try_again():
    app = with_traits(cloud, "message-faults=0.5")
    answers = statuses(app, 40, "execute-api", "POST", POST)
    assert set(answers) == {200, 500}  # but for one chance in 2**39
    assert cloud.asked == answers.count(200)
    assert set(statuses(app, 10, "lambda", "GET", LAMBDA)) == {200}


def test_where_no_bucket_may_be_public_a_policy_is_refused_and_the_account_says_why():
    app = with_traits(cloud, "no-public-buckets")
    refused = ask(app, "s3", "PUT", f"{BUCKET}?policy")
    assert refused.status_code == 403 and "BlockPublicPolicy" in refused.text
    account = "https://123456789012.s3-control.eu-central-1.amazonaws.com/v20180820/configuration/publicAccessBlock"
    assert "<BlockPublicPolicy>true</BlockPublicPolicy>" in ask(app, "s3", "GET", account).text
    assert ask(app, "s3", "DELETE", account).status_code == 403
    assert ask(app, "s3", "PUT", BUCKET).status_code == ask(app, "s3", "PUT", f"{BUCKET}?website").status_code == 200
