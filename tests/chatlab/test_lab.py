"""The lab's target, Region and name, and what follows from them."""

import pandas as pd
import pytest

from chatlab import Lab, local_cloud
from chatlab.aws import partitions
from chatlab.errors import NotOurs
from chatlab.settings import Settings

ACCOUNT = "123456789012"


@pytest.fixture
def aws(monkeypatch):
    """A lab on the target aws, whose account is known without asking."""
    monkeypatch.setattr(Lab, "account_id", ACCOUNT)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    return lambda region="eu-central-1", name="chat": Lab(Settings("aws", name, region))


def test_urls_on_aws(aws):
    lab = aws("eu-central-1")
    assert lab.websocket_url("abc123") == "wss://abc123.execute-api.eu-central-1.amazonaws.com/production"
    assert lab.connections_url("abc123") == "https://abc123.execute-api.eu-central-1.amazonaws.com/production"
    assert lab.page_url == f"https://{lab.bucket}.s3.eu-central-1.amazonaws.com/index.html"
    assert aws("cn-north-1").page_url.endswith(".s3.cn-north-1.amazonaws.com.cn/index.html")
    assert lab.object_url("a/b.js") == f"https://{lab.bucket}.s3.eu-central-1.amazonaws.com/a/b.js"


# https://docs.aws.amazon.com/general/latest/gr/s3.html#s3_website_region_endpoints
@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "s3-website-us-east-1.amazonaws.com"),
        ("eu-west-1", "s3-website-eu-west-1.amazonaws.com"),
        ("eu-central-1", "s3-website.eu-central-1.amazonaws.com"),
        ("ap-south-1", "s3-website.ap-south-1.amazonaws.com"),
        ("cn-north-1", "s3-website.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_website_endpoints_have_a_dash_in_older_regions_and_a_dot_elsewhere(aws, region, host):
    lab = aws(region)
    assert lab.website_url == f"http://{lab.bucket}.{host}/"


def test_arns_name_the_partition_of_the_region(aws):
    assert aws("eu-central-1").arn("dynamodb", "table/chat") == f"arn:aws:dynamodb:eu-central-1:{ACCOUNT}:table/chat"
    assert aws("cn-north-1").arn("dynamodb", "table/chat").startswith("arn:aws-cn:")


def test_the_bucket_is_told_apart_by_account_and_region_without_naming_the_account(aws, monkeypatch):
    here, there = aws("eu-central-1").bucket, aws("us-east-1").bucket
    monkeypatch.setattr(Lab, "account_id", "210987654321")
    elsewhere = aws("eu-central-1").bucket
    assert len({here, there, elsewhere}) == 3
    assert ACCOUNT not in here
    assert len(aws(name="a" * 20).bucket) <= 63


def test_what_is_shown_has_no_account_number(aws):
    shown = aws().show([{"Arn": f"arn:aws:iam::{ACCOUNT}:role/chat", "nested": {"owner": ACCOUNT}}]).to_string()
    assert ACCOUNT not in shown
    assert "arn:aws:iam::············:role/chat" in aws().show({"Arn": f"arn:aws:iam::{ACCOUNT}:role/chat"}).to_string()


def test_tags_in_either_form_say_whose_a_thing_is():
    lab = Lab(Settings("local", "chat"))
    own = {"chatlab": "chat", "chatlab-region": "us-east-1"}
    assert lab.tags == own
    assert lab.owns(own | {"more": "x"})
    assert lab.owns([{"Key": key, "Value": value} for key, value in own.items()])
    assert not lab.owns(own | {"chatlab": "other"})
    assert not lab.owns(own | {"chatlab-region": "eu-west-1"})  # the same name in another Region: IAM knows both
    assert not lab.owns([])
    lab.require_own("a table chat", own)
    with pytest.raises(NotOurs, match="it is not this lab's: it lacks the tags chatlab=chat and chatlab-region=us-"):
        lab.require_own("a table chat", {})


def test_the_role_of_each_region_has_a_name_of_its_own_that_iam_takes(aws):
    assert aws("eu-central-1").role == "chat-lambda-eu-central-1"
    assert max(len(aws(region, name="a" * 20).role) for region in partitions()) <= 64


def test_a_client_is_made_once_and_another_one_for_other_options(aws):
    lab = aws()
    assert lab.client("dynamodb") is lab.client("dynamodb")
    elsewhere = lab.client("dynamodb", region_name="eu-west-1")
    assert elsewhere is not lab.client("dynamodb") and elsewhere is lab.client("dynamodb", region_name="eu-west-1")
    assert lab.client("s3") is not lab.client("dynamodb")
    assert aws().client("s3") is not lab.client("s3"), "each lab has its own credentials"


@pytest.mark.parametrize(("target", "delay_s", "attempts"), [("aws", 1, 300), ("local", 0.05, 6_000)])
def test_waiters_ask_the_local_cloud_more_often_and_for_as_long(aws, monkeypatch, target, delay_s, attempts):
    monkeypatch.setattr(local_cloud, "credentials", dict)
    monkeypatch.setattr(local_cloud, "url", lambda: "http://127.0.0.1:9")
    for _ in range(2):  # each waiter is a new one
        waiter = Lab(Settings(target, "chat", "eu-central-1")).client("lambda").get_waiter("function_updated_v2")
        assert (waiter.config.delay, waiter.config.max_attempts) == (delay_s, attempts)


def test_one_answer_becomes_two_columns_without_the_metadata():
    shown = Lab(Settings()).show({"Name": "chat", "ResponseMetadata": {"RequestId": "x"}})
    assert shown.values.tolist() == [["Name", "chat"]]


def test_several_answers_become_rows_with_the_columns_asked_for():
    shown = Lab(Settings()).show([{"a": 1, "b": 2, "c": 3}, {"a": 4}], "a", "b")
    assert shown.values.tolist() == [["1", "2"], ["4", ""]]


def test_a_time_that_is_not_known_is_left_blank():
    assert Lab(Settings()).show([{"id": "x", "created": pd.NaT}]).values.tolist() == [["x", ""]]


def test_no_rows_is_an_empty_table_with_the_columns_asked_for():
    assert Lab(Settings()).show([]).empty
    assert Lab(Settings()).show([], "a", "b").columns.tolist() == ["a", "b"]


def test_what_is_shown_is_text_and_never_markup():
    page = Lab(Settings()).show([{"said": "<b>bold</b>"}])._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "text-align: left" in page


def test_one_column_is_shown_as_a_column():
    assert Lab(Settings()).show([{"connection_id": "x"}])["connection_id"].tolist() == ["x"]
