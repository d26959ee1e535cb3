"""Which lab is meant, from what a person says and what the shell says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab import LabError
from chatlab.aws import partitions, resolve_profile
from chatlab.settings import Settings


@pytest.fixture(autouse=True)
def configuration(tmp_path, monkeypatch):
    """An AWS configuration with two profiles."""
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-1\n[profile bare]\noutput = json\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.mark.parametrize("name", ["chat", "abc", "team-7", "a" * 20])
def test_names_that_can_begin_a_bucket_name(name):
    assert Settings("local", name).name == name


@pytest.mark.parametrize(
    "name",
    ["", "a", "ab", "Chat", "7chat", "chat-", "-chat", "a--b", "a_b", "a.b", "a" * 21, "xn--chat", "chat\n", "ça"],
)
def test_a_name_that_cannot_begin_a_bucket_name_is_refused_in_one_sentence(name):
    with pytest.raises(LabError, match="can't begin a bucket's name: take 3 to 20") as error:
        Settings("local", name)
    assert str(error.value).count(". ") == 0


@given(st.text(max_size=25) | st.text("abcxyz019-", max_size=25))
def test_any_name_is_one_or_is_refused_in_one_sentence(name):
    """Against S3's rules for a bucket's name as they are written down, and DynamoDB's for a table's."""
    try:
        Settings("local", name)
    except LabError as error:
        assert str(error).count(". ") == 0 or ". " in name
        return
    bucket = f"{name}-page-0123456789ab"
    assert 3 <= len(bucket) <= 63 and set(bucket) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert bucket[0].isalnum() and not bucket.startswith(("xn--", "sthree-", "amzn-s3-demo-"))
    assert re.fullmatch(r"[a-zA-Z0-9_.-]{3,255}", name)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_target_and_region_is_one_or_is_refused(target, region):
    for given_ in ({"target": target}, {"region": region}):
        try:
            assert Settings(**given_)
        except LabError as error:
            assert next(iter(given_.values())) in str(error) or "·" in str(error)


def test_a_wrong_target_is_refused():
    with pytest.raises(LabError, match='The target is "azure", but it has to be "local" or "aws"'):
        Settings("azure")


@pytest.mark.parametrize("region", ["", "mars-north-1", "us-east-1a", "US-EAST-1"])
def test_a_wrong_region_is_refused(region):
    with pytest.raises(LabError, match="There is no AWS Region"):
        Settings("local", "chat", region)


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


def test_no_region_is_guessed_on_aws():
    with pytest.raises(LabError, match="No AWS Region is named: give REGION="):
        Settings.resolve("aws", profile="bare")


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


def test_a_profile_that_does_not_exist_is_said():
    with pytest.raises(LabError, match=r"The AWS configuration can't be used: .*\(nobody\)"):
        Settings.resolve("aws", profile="nobody")


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        (Settings(), "make down"),
        (Settings("local", "demo"), "make down NAME=demo"),
        (Settings("aws", "chat", "eu-west-1"), "make down TARGET=aws NAME=chat REGION=eu-west-1"),
        (
            Settings("aws", "demo", "eu-west-1", "my work"),
            "make down TARGET=aws NAME=demo REGION=eu-west-1 PROFILE='my work'",
        ),
    ],
)
def test_the_command_for_a_lab_names_all_that_it_takes(settings, command):
    assert settings.make_command("down") == command
