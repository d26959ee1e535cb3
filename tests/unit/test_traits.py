"""The traits of AWS around an application that answers everything at once: each by itself."""

import json

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials
from botocore.retries.standard import RetryContext, ThrottledRetryableChecker, TransientRetryableChecker
from hypothesis import given
from hypothesis import strategies as st

from chatlab.emulator import token_bucket
from chatlab.emulator.api_call import ApiCall, parse_call
from chatlab.emulator.traits import (
    NOT_IN_ALL,
    TRAITS,
    eventual_consistency,
    faults,
    middleware,
    parse_traits,
    with_traits,
)
from chatlab.emulator.traits.latency import Slow
from tests.support.asynchronous import run_async

PERSON, ROLE = "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"  # AWS's own examples


async def cloud(scope, receive, send):
    """Answers everything, and says how often it was asked."""
    cloud.asked += 1
    status = 204 if scope["method"] == "DELETE" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"" if status == 204 else b'{"asked": %d}' % cloud.asked})


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time, turned by hand: `clock.now += 5`."""

    class Clock:
        now = 1_000.0

        @staticmethod
        def monotonic():
            return Clock.now

    cloud.asked = 0
    for module in (eventual_consistency, token_bucket):
        monkeypatch.setattr(module, "time", Clock)
    return Clock


def ask(app, service, method, url, body=b"", key=PERSON, **headers):
    """One signed request; the answer."""
    request = AWSRequest(method, url, data=body, headers={name.replace("_", "-"): v for name, v in headers.items()})
    SigV4Auth(Credentials(key, "none"), service, "eu-central-1").add_auth(request)

    async def send():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.request(method, url, content=body, headers=dict(request.headers.items()))

    return run_async(send())


LAMBDA = "https://lambda.eu-central-1.amazonaws.com/2015-03-31/functions"
APIS = "https://apigateway.eu-central-1.amazonaws.com/v2/apis"
POST = "https://abc.execute-api.eu-central-1.amazonaws.com/production/@connections/one%3D"
FORM = {"content_type": "application/x-www-form-urlencoded"}


def iam(app, **parameters):
    return ask(
        app, "iam", "POST", "https://iam.amazonaws.com/", httpx.QueryParams(parameters).__str__().encode(), **FORM
    )


def test_without_a_trait_it_is_the_application_itself():
    assert with_traits(cloud, "") is cloud


def test_a_trait_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="There is no trait bad: the traits are delay, "):
        with_traits(cloud, "delay,bad")


WORDS = st.one_of(
    st.text(max_size=10),
    st.sampled_from([*TRAITS, "all"]),
    st.sampled_from(["slow", "faults"]).flatmap(
        lambda name: (st.text(max_size=5) | st.floats(0, 1e6).map(str)).map(f"{name}={{}}".format)
    ),
)


@given(st.lists(WORDS, max_size=5).map(",".join))
def test_any_text_names_traits_or_is_refused_in_one_sentence(text):
    try:
        found = parse_traits(text)
    except ValueError as error:
        assert str(error).endswith((".", *TRAITS))
        assert "\n" not in str(error) or "\n" in text  # it repeats what was written
    else:
        assert found.keys() <= TRAITS.keys()
        assert all(number is None or number >= 0 for number in found.values())


@given(st.dictionaries(st.sampled_from(["slow", "faults", "stale-lists"]), st.none() | st.integers(0, 10**6)))
def test_traits_and_their_numbers_are_read_as_they_are_written(meant):
    text = ",".join(name if number is None else f"{name}={number}" for name, number in meant.items())
    assert parse_traits(text) == meant


HEADERS = st.sampled_from([b"authorization", b"x-amz-target", b"content-type", b"host"])
VALUES = st.binary(max_size=30) | st.sampled_from(
    [b"AWS4-HMAC-SHA256 Credential=AKIA/20261125/eu-west-1/s3/aws4_request, x", b"application/x-www-form-urlencoded"]
)


@given(st.lists(st.tuples(HEADERS, VALUES)), st.text(max_size=20), st.binary(max_size=30), st.binary(max_size=30))
def test_any_request_is_described(headers, path, query, body):
    scope = {"method": "POST", "path": f"/{path}", "query_string": query, "headers": headers}
    call = parse_call(scope, body)
    assert isinstance(call.is_control_plane, bool) and isinstance(call.is_post_to_connection, bool)


def test_the_traits_of_a_file_change_with_it(tmp_path):
    (file := tmp_path / "traits").write_text("connections-rate=2\n")
    app = with_traits(cloud, f"@{file}")
    assert [ask(app, "execute-api", "POST", POST).status_code for _ in range(2)] == [200, 429]
    (tmp_path / "next").write_text("")
    (tmp_path / "next").replace(file)
    assert [ask(app, "execute-api", "POST", POST).status_code for _ in range(2)] == [200, 200]


def test_traits_in_a_file_that_is_not_there_are_refused_by_its_name():
    with pytest.raises(ValueError, match=r"^The file /no/such can't be read: "):
        parse_traits("@/no/such")


def test_api_gateways_control_plane_takes_40_calls_at_once_and_10_a_second(clock):
    app = with_traits(cloud, "control-plane-rate")
    statuses = [ask(app, "apigateway", "GET", APIS).status_code for _ in range(42)]
    assert statuses == [200] * 40 + [429] * 2
    clock.now += 1
    assert [ask(app, "apigateway", "GET", APIS).status_code for _ in range(11)] == [200] * 10 + [429]
    assert ask(app, "lambda", "GET", LAMBDA).status_code == 200


def test_a_deployment_is_made_each_five_seconds(clock):
    app = with_traits(cloud, "control-plane-rate")
    deploy = [ask(app, "apigateway", "POST", f"{APIS}/abc/deployments").status_code for _ in range(2)]
    clock.now += 5
    assert [*deploy, ask(app, "apigateway", "POST", f"{APIS}/abc/deployments").status_code] == [200, 429, 200]


def test_a_new_role_can_not_be_assumed_in_two_ways_and_then_it_can(clock):
    app = with_traits(cloud, "new-role")
    body = json.dumps({"Role": "arn:aws:iam::000000000000:role/chat-lambda"}).encode()
    iam(app, Action="CreateRole", RoleName="chat-lambda")
    first = ask(app, "lambda", "POST", LAMBDA, body)
    clock.now += 6
    second = ask(app, "lambda", "POST", LAMBDA, body)
    clock.now += 5
    assert (first.status_code, second.status_code) == (400, 400)
    assert first.headers["x-amzn-errortype"] == "InvalidParameterValueException"
    assert "cannot be assumed" in first.json()["message"] and "KMS key is invalid" in second.json()["message"]
    assert ask(app, "lambda", "POST", LAMBDA, body).status_code == 200


def test_boto3_takes_the_refusals_for_what_they_are(clock):
    """As the notebooks catch them."""
    app = with_traits(cloud, "new-role")
    iam(app, Action="CreateRole", RoleName="chat-lambda")
    answer = ask(app, "lambda", "POST", LAMBDA, b'{"Role": "x:role/chat-lambda"}')
    client = boto3.client("lambda", region_name="eu-central-1")
    shape = client.meta.service_model.operation_model("CreateFunction").output_shape
    parser = client._response_parser
    told = parser.parse({"status_code": answer.status_code, "headers": answer.headers, "body": answer.content}, shape)
    assert told["Error"]["Code"] == "InvalidParameterValueException"
    assert "cannot be assumed" in told["Error"]["Message"]


def test_what_a_role_is_newly_allowed_is_refused_for_a_while_and_nothing_else(clock):
    app = with_traits(cloud, "late-policy")
    document = {"Statement": [{"Action": ["dynamodb:Scan"]}, {"Action": "execute-api:ManageConnections"}]}
    iam(app, Action="PutRolePolicy", PolicyDocument=json.dumps(document))
    table = "https://dynamodb.eu-central-1.amazonaws.com/"

    def scan(operation="Scan", key=ROLE):
        target = f"DynamoDB_20120810.{operation}"
        return ask(app, "dynamodb", "POST", table, b"{}", key, x_amz_target=target).status_code

    def post():
        return ask(app, "execute-api", "POST", POST, b"hello", ROLE).status_code

    assert (scan(), scan("PutItem"), scan(key=PERSON), post()) == (400, 200, 200, 403)
    clock.now += 5
    assert (scan(), post()) == (200, 200)


def test_lists_are_those_of_a_while_ago(clock):
    app = with_traits(cloud, "stale-lists")
    buckets = "https://s3.eu-central-1.amazonaws.com/"
    first, again = (ask(app, "s3", "GET", buckets).json() for _ in range(2))
    assert first == again
    clock.now += 4
    assert ask(app, "s3", "GET", buckets).json() != first
    bucket = "https://chat.s3.eu-central-1.amazonaws.com/"
    assert ask(app, "s3", "GET", bucket).json() != ask(app, "s3", "GET", bucket).json()  # what is in it is not stale


def test_the_name_of_a_bucket_that_was_deleted_conflicts_for_a_while(clock):
    app = with_traits(cloud, "busy-bucket-name")
    bucket, other = (f"https://{name}.s3.eu-central-1.amazonaws.com/" for name in ("chat", "other"))
    assert ask(app, "s3", "PUT", bucket).status_code == 200
    ask(app, "s3", "DELETE", f"{bucket}?policy")
    assert ask(app, "s3", "PUT", bucket).status_code == 200
    ask(app, "s3", "DELETE", bucket)
    assert ask(app, "s3", "PUT", f"{bucket}?policy").status_code == 200
    refused = ask(app, "s3", "PUT", bucket)
    assert refused.status_code == 409 and "<Code>OperationAborted</Code>" in refused.text
    assert ask(app, "s3", "PUT", other).status_code == 200
    clock.now += 9
    assert ask(app, "s3", "PUT", bucket).status_code == 200


def test_where_no_bucket_may_be_public_a_policy_is_refused_and_the_account_says_why():
    app = with_traits(cloud, "no-public-buckets")
    bucket = "https://chat.s3.eu-central-1.amazonaws.com/"
    refused = ask(app, "s3", "PUT", f"{bucket}?policy")
    assert refused.status_code == 403 and "BlockPublicPolicy" in refused.text
    account = "https://123456789012.s3-control.eu-central-1.amazonaws.com/v20180820/configuration/publicAccessBlock"
    assert "<BlockPublicPolicy>true</BlockPublicPolicy>" in ask(app, "s3", "GET", account).text
    assert ask(app, "s3", "DELETE", account).status_code == 403
    assert ask(app, "s3", "PUT", bucket).status_code == ask(app, "s3", "PUT", f"{bucket}?website").status_code == 200


def test_all_traits_are_all_but_those_that_have_to_be_named():
    assert set(parse_traits("all")) == set(TRAITS) - NOT_IN_ALL
    assert set(parse_traits("all,no-public-buckets")) == set(TRAITS) - NOT_IN_ALL | {"no-public-buckets"}
    with pytest.raises(ValueError, match="There is no trait bad"):
        parse_traits("all,bad")


def test_messages_to_connections_have_the_accounts_quota(clock):
    app = with_traits(cloud, "connections-rate")
    statuses = [ask(app, "execute-api", "POST", POST, b"hello").status_code for _ in range(3)]
    assert statuses == [200] * 3
    bucket = app._traits[0]._bucket
    while bucket.take():
        pass
    refused = ask(app, "execute-api", "POST", POST, b"hello")
    assert (refused.status_code, refused.headers["x-amzn-errortype"]) == (429, "LimitExceededException")


def test_of_the_messages_to_connections_a_share_fail_and_the_sender_may_try_again():
    app = with_traits(cloud, "message-faults=0.5")
    statuses = [ask(app, "execute-api", "POST", POST, b"hello").status_code for _ in range(40)]
    assert set(statuses) == {200, 500}  # but for one chance in 2**39
    assert cloud.asked == statuses.count(200)
    assert {ask(app, "lambda", "GET", LAMBDA).status_code for _ in range(10)} == {200}


def test_answers_take_milliseconds(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(middleware.asyncio, "sleep", sleep)
    app = with_traits(cloud, "delay")
    for _ in range(20):
        ask(app, "execute-api", "POST", POST, b"hello")
        ask(app, "lambda", "GET", LAMBDA)
    assert 0.004 < sum(slept[::2]) / 20 < 0.012 and 0.02 < sum(slept[1::2]) / 20 < 0.045


def test_all_together_let_an_ordinary_call_through():
    assert ask(with_traits(cloud, "all"), "lambda", "GET", LAMBDA).json() == {"asked": 1}
    assert len(TRAITS) == len(with_traits(cloud, "all")._traits) + len(NOT_IN_ALL)


def test_a_trait_can_have_another_number(clock):
    app = with_traits(cloud, "all,stale-lists=30")
    assert len(app._traits) == len(TRAITS) - len(NOT_IN_ALL)
    buckets = "https://s3.eu-central-1.amazonaws.com/"
    first = ask(app, "s3", "GET", buckets).json()
    clock.now += 29
    assert ask(app, "s3", "GET", buckets).json() == first
    clock.now += 2
    assert ask(app, "s3", "GET", buckets).json() != first
    refusals = {"delay=3": "The trait delay takes no number.", "slow=x": 'slow takes a number, and "x" is none.'}
    for wrong, sentence in refusals.items():
        with pytest.raises(ValueError, match=sentence):
            with_traits(cloud, wrong)


def test_the_tags_of_a_new_table_are_told_later(clock):
    app = with_traits(cloud, "late-tags")

    def table(operation, **body):
        target = f"DynamoDB_20120810.{operation}"
        url = "https://dynamodb.eu-central-1.amazonaws.com/"
        return ask(app, "dynamodb", "POST", url, json.dumps(body).encode(), x_amz_target=target).json()

    table("CreateTable", TableName="chat")
    assert table("ListTagsOfResource", ResourceArn="arn:aws:dynamodb:x:1:table/chat") == {"Tags": []}
    assert table("ListTagsOfResource", ResourceArn="arn:aws:dynamodb:x:1:table/other") != {"Tags": []}
    clock.now += 5
    assert table("ListTagsOfResource", ResourceArn="arn:aws:dynamodb:x:1:table/chat") != {"Tags": []}


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
