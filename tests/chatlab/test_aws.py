"""What is wrong with the credentials, the clock, the Region or the network is a sentence that says what to do."""

import os
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import boto3
import pytest
import trustme
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from chatlab import Lab, LabError, cli
from chatlab.aws import aws_session
from chatlab.settings import Settings

CONFIGURATION = """
[default]
region = eu-west-1
[profile keys]
aws_access_key_id = nobody
aws_secret_access_key = nothing
[profile temporary]
aws_access_key_id = nobody
aws_secret_access_key = nothing
aws_session_token = never
[profile work]
sso_session = office
sso_account_id = 123456789012
sso_role_name = Developer
[profile 'old sso']
sso_start_url = https://example.invalid/start
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = Developer
[profile console]
login_session = arn:aws:iam::123456789012:user/me
[profile process]
credential_process = false
[profile role]
role_arn = arn:aws:iam::123456789012:role/builder
source_profile = work
[profile code]
role_arn = arn:aws:iam::123456789012:role/builder
source_profile = keys
mfa_serial = arn:aws:iam::123456789012:mfa/me
[sso-session office]
sso_start_url = https://example.invalid/start
sso_region = eu-west-1
"""


@pytest.fixture(autouse=True)
def configuration(tmp_path, monkeypatch):
    """An AWS configuration of this test's own, and nothing of the person's."""
    (tmp_path / "config").write_text(CONFIGURATION)
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "HOME": str(tmp_path),  # where AWS keeps sign-ins
    }.items():
        monkeypatch.setenv(name, value)


def said(profile=None, region="eu-west-1", **options):
    """What a person is told who asks, with this profile, who they are."""
    lab = Lab(Settings("aws", "chat", region, profile))
    with pytest.raises(LabError) as error:
        lab.client("sts", **options).get_caller_identity()
    return str(error.value)


def refused(code, message="no", profile="keys", region="eu-west-1", date=None):
    """What a person is told where AWS answers with this error, and at this time."""
    sts = Lab(Settings("aws", "chat", region, profile)).client("sts")
    with Stubber(sts) as stubber:
        stubber.add_client_error("get_caller_identity", code, message)
        answer = stubber._queue[0]["response"][1]["ResponseMetadata"]
        answer["HTTPHeaders"] = {"date": format_datetime(date or datetime.now(UTC), usegmt=True)}
        with pytest.raises((LabError, ClientError)) as error:
            sts.get_caller_identity()
    return error.value


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        (None, "There are no AWS credentials: run `aws login` or `aws configure sso` (docs/aws.md shows"),
        ("work", "You are not, or no longer, signed in to AWS with the profile work: run `aws sso login"),
        ("old sso", "run `aws sso login --profile 'old sso'`, and try again."),
        ("console", "run `aws login --profile console`, and try again."),
        ("role", "run `aws sso login --profile work`, and try again."),  # where the role's credentials come from
        ("process", "make sure that the credential_process of the profile process works."),
        ("code", "The profile code asks for a code each time, which a notebook can't."),
        ("nobody", "The AWS configuration can't be used: The config profile (nobody) could not be found. Your "),
    ],
)  # fmt: skip
def test_each_way_to_sign_in_has_its_own_advice(profile, sentence):
    assert sentence in said(profile)


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"])
def test_credentials_that_expired(code):
    assert str(refused(code, profile="temporary")) == (
        "Your AWS credentials of the profile temporary have expired: write new temporary keys into the profile "
        "temporary, and try again."
    )


def test_variables_of_the_shell_are_named_where_it_is_they_that_count(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY anew" in str(refused("InvalidClientTokenId", profile=None))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "never")
    assert "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN anew" in str(
        refused("ExpiredToken", profile=None)
    )


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"])
def test_keys_that_aws_does_not_know_and_a_region_that_may_be_off(code):
    told = str(refused(code))
    assert told.startswith("AWS does not know your credentials of the profile keys: the access key or its session")
    assert "`aws configure --profile keys`" in told
    assert "the Region me-south-1 is not switched on in your account" in str(refused(code, region="me-south-1"))
    assert "switched on" not in str(refused(code, region="cn-north-1"))


@pytest.mark.parametrize(
    ("behind", "words"),
    [(timedelta(minutes=43), "43 minutes behind AWS's"), (-timedelta(hours=2), "120 minutes ahead")],
)
def test_a_clock_that_is_wrong_has_its_own_sentence(behind, words):
    told = str(refused("SignatureDoesNotMatch", "Signature expired: ...", date=datetime.now(UTC) + behind))
    assert told.startswith("This machine's clock is wrong") and words in told


def test_a_secret_that_is_wrong_is_not_the_clock():
    assert "Your secret access key of the profile keys does not belong to its access key" in str(
        refused("SignatureDoesNotMatch", "The request signature we calculated does not match")
    )


def test_an_account_that_is_not_ready():
    assert "its sign-up is not complete" in str(refused("OptInRequired"))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("not authorized, with an explicit deny in a service control policy", "Your organisation forbids"),
        ("not authorized because no permissions boundary allows it", "Your permissions boundary forbids"),
        ("not authorized because no identity-based policy allows it", "docs/aws.md says which permissions"),
    ],
)
def test_a_permission_that_is_missing_stays_the_error_that_it_is_with_what_to_do(message, words):
    error = refused("AccessDenied", message)
    assert error.response["Error"]["Code"] == "AccessDenied"
    assert message in str(error) and str(error).count(words) == 1


def test_any_other_error_is_botocores_own():
    assert str(refused("Throttling", "Rate exceeded")).endswith("GetCallerIdentity operation: Rate exceeded")


def test_no_network(monkeypatch):
    told = said("keys", endpoint_url="http://127.0.0.1:1", config=Config(retries={"total_max_attempts": 1}))
    assert told.startswith("AWS does not answer at 127.0.0.1: is there a network")


def test_a_proxy_that_can_not_be_reached(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:1")
    told = said("keys", config=Config(retries={"total_max_attempts": 1}))
    assert told.startswith("The proxy 127.0.0.1 can't be reached: HTTPS_PROXY names it") and "secret" not in told


def test_a_certificate_of_a_proxy_that_is_not_trusted():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)

    def answer(server):
        client, _ = server.accept()
        with client, pytest.raises(OSError):
            context.wrap_socket(client, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        url = f"https://localhost:{server.getsockname()[1]}"
        told = said("keys", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}))
        thread.join()
    assert told.startswith("This machine does not trust who answers as localhost.") and "AWS_CA_BUNDLE" in told


def test_waiters_and_pages_pass_the_sentence_on():
    dynamodb = Lab(Settings("aws", "chat", "eu-west-1", "work")).client("dynamodb")
    for ask in (
        lambda: dynamodb.get_waiter("table_exists").wait(TableName="chat"),
        lambda: list(dynamodb.get_paginator("list_tables").paginate()),
    ):
        with pytest.raises(LabError, match="aws sso login --profile work"):
            ask()


def test_no_other_session_is_changed():
    aws_session("keys")
    assert "Explained" not in {kind.__name__ for kind in type(boto3.Session().client("sts", "eu-west-1")).__mro__}


@pytest.mark.parametrize("command", ["run", "down"])
def test_a_command_without_credentials_ends_in_one_sentence(tmp_path, monkeypatch, capsys, command):
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHATLAB_RUN", str(tmp_path / "run"))
    with pytest.raises(LabError, match="`aws sso login --profile work`") as error:
        cli.main([command, "--target", "aws", "--region", "eu-west-1", "--profile", "work"])
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""
