"""Which lab is meant, from what a person says and what the shell says; and what follows from its settings."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab import Lab, LabError, local_cloud, poll
from chatlab.aws import partitions, resolve_profile
from chatlab.errors import NotOurs
from chatlab.lab import person
from chatlab.settings import Options, Settings

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


@pytest.mark.parametrize(("region", "suffix"), [("eusc-de-east-1", "amazonaws.eu"), ("us-iso-east-1", "c2s.ic.gov")])
def test_a_part_of_aws_that_nobody_has_looked_at_is_refused_and_has_host_names_of_its_own(
    aws, monkeypatch, region, suffix
):
    with pytest.raises(LabError, match=f'^The Region "{region}" belongs to aws-'):
        aws(region)
    monkeypatch.setattr("chatlab.settings.PARTITIONS", {partition.name for partition in partitions().values()})
    lab = aws(region)
    assert lab.websocket_url("abc123") == f"wss://abc123.execute-api.{region}.{suffix}/production"
    assert lab.page_url == f"https://{lab.bucket}.s3.{region}.{suffix}/index.html"


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


def test_tags_in_either_form_say_whose_a_thing_is(monkeypatch):
    monkeypatch.setattr(Lab, "owner", "0123abcd")
    lab = Lab(Settings("local", "chat"))
    own = {"chatlab": "chat", "chatlab-region": "us-east-1", "chatlab-owner": "0123abcd"}
    assert lab.tags == own
    assert lab.owns(own | {"more": "x"})
    assert lab.owns([{"Key": key, "Value": value} for key, value in own.items()])
    assert not lab.owns(own | {"chatlab": "other"})
    assert not lab.owns(own | {"chatlab-region": "eu-west-1"})  # the same name in another Region: IAM knows both
    assert not lab.owns([])
    lab.require_own("a table chat", own)
    with pytest.raises(NotOurs, match="it is not this lab's: it lacks the tags chatlab=chat and chatlab-region=us-"):
        lab.require_own("a table chat", {})
    colleagues = own | {"chatlab-owner": "4567abcd"}
    assert not lab.owns(colleagues)
    with pytest.raises(NotOurs, match=r"it is a colleague's lab: .* or give CONFIRM=chat to work on it\.$"):
        lab.require_own("a table chat", colleagues)
    Lab(Settings("local", "chat"), Options(confirm="chat")).require_own("a table chat", colleagues)
    with pytest.raises(LabError, match='CONFIRM is "demo": it has to be the NAME of the lab, which is chat'):
        Lab(Settings("local", "chat"), Options(confirm="demo"))
    tagged = Lab(Settings("local", "chat"), Options(tags={"team": "web"}))
    assert tagged.tags == own | {"team": "web"}
    assert tagged.owns(own)


BEGIN = f"arn:aws:sts::{ACCOUNT}:assumed-role"


@pytest.mark.parametrize(
    ("arn", "other", "same"),
    [
        (f"{BEGIN}/developer/laptop", f"{BEGIN}/developer/botocore-session-1764000000", True),
        (f"{BEGIN}/developer/laptop", f"{BEGIN}/builder/laptop", False),
        (f"{BEGIN}/AWSReservedSSO_Dev_0123/ada", f"{BEGIN}/AWSReservedSSO_Dev_0123/eve", False),
        (
            f"{BEGIN}/AWSReservedSSO_Dev_0123/ada",
            f"{BEGIN}/AWSReservedSSO_Admin_4567/ada",
            True,
        ),
        (f"arn:aws:iam::{ACCOUNT}:user/team/ada", f"arn:aws:iam::{ACCOUNT}:user/team/eve", False),
    ],
)
def test_a_person_is_the_same_on_every_machine(arn, other, same):
    assert (person(arn) == person(other)) is same


def test_a_long_table_folds_below_a_line(aws):
    shown = aws().show([{"check": "names"}], fold="1 <check>")
    assert re.match(
        r"<details><summary>1 &lt;check&gt;</summary>.*<table.*</table>\s*</details>$", shown._repr_html_(), re.S
    )
    assert repr(shown).splitlines()[0] == "1 <check>" and "names" in repr(shown)


def test_the_role_of_each_region_has_a_name_of_its_own_that_iam_takes(aws, monkeypatch):
    monkeypatch.setattr("chatlab.settings.PARTITIONS", {partition.name for partition in partitions().values()})
    assert aws("eu-central-1").role == "chat-lambda-eu-central-1"
    assert max(len(aws(region, name="a" * 20).role) for region in partitions()) <= 64


def test_of_several_apis_the_oldest_of_ones_own_counts(aws, monkeypatch):
    monkeypatch.setattr(Lab, "owner", "0123abcd")
    own = aws().tags
    apis = [
        {"ApiId": "b", "CreatedDate": 2, "Tags": own}, {"ApiId": "c", "CreatedDate": 3, "Tags": own},
        {"ApiId": "a", "CreatedDate": 1, "Tags": {"chatlab": "theirs"}}, {"ApiId": "d", "CreatedDate": 0},
    ]  # fmt: skip
    pages = SimpleNamespace(paginate=lambda: [{"Items": apis[:2]}, {"Items": apis[2:]}])
    monkeypatch.setattr(Lab, "client", lambda *_: SimpleNamespace(get_paginator=lambda _: pages))
    assert aws().require_api() == "b"


def test_a_client_is_made_once_and_another_one_for_other_options(aws):
    lab = aws()
    assert lab.client("dynamodb") is lab.client("dynamodb")
    elsewhere = lab.client("dynamodb", region_name="eu-west-1")
    assert elsewhere is not lab.client("dynamodb") and elsewhere is lab.client("dynamodb", region_name="eu-west-1")
    assert aws().client("s3") is not lab.client("s3"), "each lab has its own credentials"


@pytest.mark.parametrize(("target", "delay_s", "attempts"), [("aws", 1, 300), ("local", 0.05, 6_000)])
def test_waiters_ask_the_local_cloud_more_often_and_for_as_long(aws, monkeypatch, target, delay_s, attempts):
    monkeypatch.setattr(local_cloud, "credentials", dict)
    monkeypatch.setattr(local_cloud, "url", lambda: "http://127.0.0.1:9")
    for _ in range(2):  # each waiter is a new one
        waiter = Lab(Settings(target, "chat", "eu-central-1")).client("lambda").get_waiter("function_updated_v2")
        assert (waiter.config.delay, waiter.config.max_attempts) == (delay_s, attempts)


def test_an_answer_is_shown_as_a_small_table_of_texts():
    show = Lab(Settings()).show
    one = show({"Name": "chat", "ResponseMetadata": {"RequestId": "x"}})
    assert one.values.tolist() == [["Name", "chat"]]
    several = show([{"a": 1, "b": 2, "c": 3}, {"a": 4}], "a", "b")
    assert several.values.tolist() == [["1", "2"], ["4", ""]]
    assert show([{"id": "x", "created": pd.NaT}]).values.tolist() == [["x", ""]]
    assert show([]).empty and show([], "a", "b").columns.tolist() == ["a", "b"]
    assert several["a"].tolist() == ["1", "4"]
    page = show([{"said": "<b>bold</b>"}])._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page and "text-align: left" in page


# --- settings ---


@pytest.fixture(autouse=True)
def configuration(tmp_path, monkeypatch):
    """An AWS configuration with two profiles."""
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-1\n[profile bare]\noutput = json\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


def test_a_name_has_to_be_one_that_can_begin_a_buckets_name():
    for name in ("abc", "team-7", "a" * 20):
        assert Settings("local", name).name == name
    for name in ("ab", "a" * 21, "Chat", "7chat", "chat-", "a--b", "xn--chat", "chat\n"):
        with pytest.raises(LabError, match="can't begin a bucket's name: take 3 to 20"):
            Settings("local", name)


@given(st.text(max_size=25) | st.text("abcxyz019-", max_size=25))
def test_any_name_that_is_taken_can_begin_a_buckets_name(name):
    """By S3's documented rules for a bucket's name, and DynamoDB's for a table's."""
    try:
        Settings("local", name)
    except LabError:
        return
    bucket = f"{name}-page-0123456789ab"
    assert 3 <= len(bucket) <= 63 and set(bucket) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert bucket[0].isalnum() and not bucket.startswith(("xn--", "sthree-", "amzn-s3-demo-"))
    assert re.fullmatch(r"[a-zA-Z0-9_.-]{3,255}", name)


def test_a_wrong_target_or_region_is_refused():
    with pytest.raises(LabError, match='The target is "azure", but it has to be "local" or "aws"'):
        Settings("azure")
    with pytest.raises(LabError, match="There is no AWS Region"):
        Settings("local", "chat", "us-east-1a")


def test_a_profile_of_the_shell_that_does_not_exist_is_no_matter_on_the_local_cloud(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    partitions.cache_clear()
    assert Settings.resolve() == Settings("local", "chat", "us-east-1", None)


def test_the_command_line_comes_first_then_the_shell_then_the_profile(monkeypatch):
    assert Settings.resolve("aws", profile="work") == Settings("aws", "chat", "eu-west-1", "work")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert Settings.resolve("aws", "mine") == Settings("aws", "mine", "eu-west-1", "work")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert Settings.resolve("aws").region == "us-west-2"
    monkeypatch.setenv("AWS_REGION", "eu-north-1")  # which boto3 alone does not read
    assert Settings.resolve("aws").region == "eu-north-1"
    assert Settings.resolve("aws", region="us-east-2", profile="bare") == Settings("aws", "chat", "us-east-2", "bare")


def test_no_region_is_guessed_on_aws_and_a_profile_that_does_not_exist_is_said():
    with pytest.raises(LabError, match="No AWS Region is named: give REGION="):
        Settings.resolve("aws", profile="bare")
    with pytest.raises(LabError, match=r"The AWS configuration can't be used: .*\(nobody\)"):
        Settings.resolve("aws", profile="nobody")


def test_a_profile_that_is_named_after_its_account_is_shown_masked_and_understood_so(tmp_path):
    with open(tmp_path / "config", "a") as config:
        for profile in ("Admin-123456789012", "Admin-210987654321", "Dev-123456789012"):
            config.write(f"[profile {profile}]\n")
    command = Settings("aws", "chat", "eu-west-1", "Dev-123456789012").make_command("down")
    assert command == "make down TARGET=aws NAME=chat REGION=eu-west-1 PROFILE=Dev-············"
    assert resolve_profile("Dev-············") == "Dev-123456789012"
    assert resolve_profile("work") == "work"
    with pytest.raises(LabError, match="2 profiles of your AWS configuration could be Admin-············"):
        resolve_profile("Admin-············")


def test_the_command_for_a_lab_names_all_that_it_takes():
    assert Settings().make_command("down") == "make down"
    assert Settings("local", "demo").make_command("down") == "make down NAME=demo"
    command = Settings("aws", "chat", "eu-west-1", "my work").make_command("up")
    assert command == "make up TARGET=aws NAME=chat REGION=eu-west-1 PROFILE='my work'"


def test_a_notebook_gets_every_setting_but_the_local_clouds_own_region():
    assert Settings().parameters == {"TARGET": "local", "NAME": "chat", "REGION": None, "PROFILE": None}
    assert Settings("local", "chat", "eu-west-1").parameters["REGION"] == "eu-west-1"
    assert Settings("aws", "chat", "us-east-1").parameters["REGION"] == "us-east-1"  # whatever the shell says


# --- waiting, bounded ---


def test_the_first_true_answer_is_returned_and_an_ignored_exception_counts_as_not_yet():
    answers = iter([None, 0, ConnectionError("no"), "here"])

    def check():
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    assert poll(check, "it", every_s=0, ignoring=ConnectionError) == "here"
    with pytest.raises(ZeroDivisionError):
        poll(lambda: 1 / 0, "it", ignoring=ConnectionError)


def test_in_vain_is_one_sentence_with_the_last_answer():
    def refuse():
        raise ConnectionError("refused")

    with pytest.raises(LabError, match=r"^Waited 0.01 s for the API, in vain. Last answer: refused$"):
        poll(refuse, "the API", timeout_s=0.01, every_s=0.004, ignoring=ConnectionError)
