"""What AWS knows, or allows, only after a while: the traits that play it."""

import json

import boto3
import pytest

from chatlab.emulator.traits import with_traits
from tests.support.traits import LAMBDA, PERSON, POST, ROLE, ask, cloud, iam

pytestmark = pytest.mark.usefixtures("clock")


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
