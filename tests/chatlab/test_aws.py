"""A mistake in the credentials, the clock, the Region or the network is a sentence that says what to do.

A connection that is opened without boto3 takes the same proxy as boto3, and trusts the same certificates.
"""

import json
import os
import re
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import boto3
import certifi
import gevent
import pytest
import trustme
import websocket
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from websockets.sync.server import serve

from chatlab import Lab, LabError, aws, poll, record
from chatlab.aws import aws_session
from chatlab.privacy import redact
from chatlab.settings import Settings
from loadtest.connection import Connection
from loadtest.sockets import tls_context

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
    """An AWS configuration of this test's own, and no credentials, proxies or certificates of the person's."""
    (tmp_path / "config").write_text(CONFIGURATION)
    ours = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "no_proxy", "NO_PROXY")
    for name in ours:  # what the code under test sets is gone after each test
        monkeypatch.setenv(name, "")
    for name in [*ours, *(name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy"))]:
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "HOME": str(tmp_path),  # where AWS keeps sign-ins
    }.items():
        monkeypatch.setenv(name, value)
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


def said(profile=None, region="eu-west-1", **options):
    """The sentence that GetCallerIdentity ends with, with this profile."""
    lab = Lab(Settings("aws", "chat", region, profile))
    with pytest.raises(LabError) as error:
        lab.client("sts", **options).get_caller_identity()
    return str(error.value)


def refused(code, message="no", profile="keys", region="eu-west-1", date=None):
    """The error that the lab makes of AWS's answer with this code, message and date."""
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


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("ExpiredToken", "Your AWS credentials of the profile keys have expired: run `aws configure --profile"),
        ("InvalidAccessKeyId", "AWS does not know your credentials of the profile keys: the access key or its session"),
        ("SignatureDoesNotMatch", "Your secret access key of the profile keys does not belong to its access key: run"),
        ("MissingAuthenticationToken", "There are no AWS credentials of the profile keys: run `aws configure"),
        ("OptInRequired", "This AWS account can't be used yet: its sign-up is not complete"),
    ],
)
def test_each_refusal_has_its_own_sentence(code, sentence):
    assert str(refused(code)).startswith(sentence)


def test_variables_of_the_shell_are_named_where_it_is_they_that_count(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY anew" in str(refused("InvalidClientTokenId", profile=None))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "never")
    said = str(refused("ExpiredToken", profile=None))
    assert "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN anew" in said


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        (
            "temporary",
            "IAM does not take your temporary keys of the profile temporary, although STS does: keys of `aws",
        ),
        ("keys", "AWS does not know your credentials of the profile keys: the access key or its session token is wro"),
    ],
)
def test_temporary_keys_that_iam_alone_does_not_know_have_no_mfa_code(profile, sentence):
    iam = Lab(Settings("aws", "chat", "eu-west-1", profile)).client("iam")
    with Stubber(iam) as stubber, pytest.raises(LabError) as error:
        stubber.add_client_error("list_roles", "InvalidClientTokenId", "The security token [...] is invalid")
        iam.list_roles()
    assert str(error.value).startswith(sentence)
    assert "although STS does" not in str(refused("InvalidClientTokenId", profile=profile))


def test_keys_that_aws_does_not_know_may_be_of_a_region_that_is_off():
    said = str(refused("InvalidClientTokenId", region="me-south-1"))
    assert "the Region me-south-1 is not switched on in your account" in said
    assert "switched on" not in str(refused("InvalidClientTokenId", region="cn-north-1"))


@pytest.mark.parametrize(
    ("behind", "words"),
    [(timedelta(minutes=43), "43 minutes behind AWS's"), (-timedelta(hours=2), "120 minutes ahead")],
)
def test_a_clock_that_is_wrong_has_its_own_sentence(behind, words):
    told = str(refused("SignatureDoesNotMatch", "Signature expired: ...", date=datetime.now(UTC) + behind))
    assert told.startswith("This machine's clock is wrong") and words in told
    assert "the profile temporary" in str(refused("ExpiredToken", profile="temporary")), "and not the clock"


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
    again = aws.explain(error, aws_session("keys")._session)  # as botocore raises it again if it can't assume a role
    assert again is error and str(error).count(words) == 1


def test_any_other_error_is_botocores_own():
    assert str(refused("Throttling", "Rate exceeded")).endswith("GetCallerIdentity operation: Rate exceeded")


def test_no_network(monkeypatch):
    told = said("keys", endpoint_url="http://127.0.0.1:1", config=Config(retries={"total_max_attempts": 1}))
    assert told.startswith("AWS does not answer at 127.0.0.1: is there a network")


def test_a_proxy_that_can_not_be_reached(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:1")
    told = said("keys", config=Config(retries={"total_max_attempts": 1}))
    assert told.startswith("The proxy 127.0.0.1 can't be reached: HTTPS_PROXY names it") and "secret" not in told


def test_a_certificate_of_a_proxy_that_is_not_trusted(echo):
    told = said("keys", endpoint_url=f"https://localhost:{echo}", config=Config(retries={"total_max_attempts": 1}))
    assert told.startswith("This machine does not trust who answers as localhost.") and "AWS_CA_BUNDLE" in told


def test_waiters_and_pages_pass_the_sentence_on():
    dynamodb = Lab(Settings("aws", "chat", "eu-west-1", "work")).client("dynamodb")
    for ask in (
        lambda: dynamodb.get_waiter("table_exists").wait(TableName="chat"),
        lambda: list(dynamodb.get_paginator("list_tables").paginate()),
    ):
        with pytest.raises(LabError, match="aws sso login --profile work"):
            ask()


def test_a_run_records_what_it_was_answered_and_what_it_waited_for_and_nothing_that_is_private(monkeypatch, tmp_path):
    monkeypatch.setattr(record, "_path", None)  # what the code under test sets is gone after the test
    monkeypatch.setenv("CHATLAB_RUN", str(tmp_path))
    arn = "arn:aws:sts::123456789012:assumed-role/Developer/ada@example.org"
    sts = Lab(Settings("aws", "chat", "eu-west-1", "keys")).client("sts")
    with Stubber(sts) as stubber:
        third = {"HTTPStatusCode": 200, "RetryAttempts": 2}
        whose = {"Account": "123456789012", "Arn": arn, "UserId": "AROA:ada", "ResponseMetadata": third}
        stubber.add_response("get_caller_identity", whose)
        stubber.add_client_error("get_caller_identity", "AccessDenied", f"{arn} may not", http_status_code=403)
        sts.get_caller_identity()
        with pytest.raises(ClientError):
            sts.get_caller_identity()
    said("keys", endpoint_url="http://127.0.0.1:1", config=Config(retries={"total_max_attempts": 1}))
    poll(lambda: True, "a handshake at wss://abc123.execute-api.eu-west-1.amazonaws.com/production")
    with pytest.raises(LabError):
        poll(lambda: False, "the 48 to be removed from the table", timeout_s=0)
    recorded = (tmp_path / "aws-calls.jsonl").read_text()
    assert [tuple(json.loads(line).values())[:5] for line in recorded.splitlines()] == [
        ("sts", "GetCallerIdentity", 200, None, 3),
        ("sts", "GetCallerIdentity", 403, "AccessDenied", 1),
        ("sts", "GetCallerIdentity", None, "EndpointConnectionError", 1),
        ("a handshake at …", 0.0, True),
        ("the … to be removed from the table", 0.0, False),
    ]
    assert redact(recorded) == recorded and not re.search(r"Developer|ada|\d{12}|abc123", recorded)


def test_no_other_session_is_changed():
    aws_session("keys")
    assert "Explained" not in {kind.__name__ for kind in type(boto3.Session().client("sts", "eu-west-1")).__mro__}


# --- what is opened without boto3 ---

HOST = "chat.example"  # nobody but the proxy knows where that is


def trust(profile=None):
    """What `SSL_CERT_FILE` is after `trust`."""
    aws.trust(boto3.Session(profile_name=profile)._session)
    return os.environ.get("SSL_CERT_FILE")


@pytest.mark.parametrize(("has", "taken"), [(False, certifi.where()), (True, None)])
def test_certifis_list_is_taken_only_if_the_system_has_none(monkeypatch, tmp_path, has, taken):
    paths = ssl.get_default_verify_paths()._replace(cafile=str(tmp_path) if has else None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)  # None, as a python.org Python on macOS
    assert trust() == taken


def test_everybody_trusts_whom_the_aws_configuration_names_unless_the_person_has_set_it(monkeypatch, tmp_path):
    bundle = tmp_path / "company.pem"
    bundle.touch()
    (tmp_path / "config").write_text(f"[profile work]\nca_bundle = {bundle}\n")
    assert trust("work") == str(bundle)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    assert trust() == str(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", "/mine")
    assert trust() == "/mine"
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(LabError, match=r"^There is no file .*none\.pem, which AWS_CA_BUNDLE or ca_bundle names"):
        trust()


@pytest.fixture
def echo(tmp_path, monkeypatch):
    """The port of an echo server for wss://chat.example, whose authority is trusted."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    def answer(connection):
        for text in connection:
            connection.send(text)

    with serve(answer, "127.0.0.1", 0, ssl=context) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


@contextmanager
def proxy(port, status="200 OK"):
    """A proxy that knows CONNECT, and where chat.example is: its URL, and a list of what it was asked."""
    asked = []

    def pass_on(one, other):
        with suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def serve():
        near, _ = server.accept()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += near.recv(1)
        asked.append(head.decode())
        near.sendall(f"HTTP/1.1 {status}\r\nVia: test\r\n\r\n".encode())
        if status.startswith("200"):
            far = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=pass_on, args=(far, near), daemon=True).start()
            pass_on(near, far)
        near.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://me:se%20cret@127.0.0.1:{server.getsockname()[1]}", asked


def test_a_websocket_of_the_load_test_goes_through_the_proxy(echo, monkeypatch):
    heard = []
    with proxy(echo) as (url, asked):
        monkeypatch.setenv("HTTPS_PROXY", url)
        opened = Connection(f"wss://{HOST}/chat", timeout_s=10)
        opened.watch(lambda: heard.extend(opened.frames(10)))
        opened.send("hello")
        with gevent.Timeout(10):
            while not heard:
                gevent.sleep(0.01)
        opened.close()
    assert heard[0].payload == b"hello"
    assert asked[0].startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6c2UgY3JldA==" in asked[0]  # me:se cret


def test_a_proxy_that_refuses_is_named(echo, monkeypatch):
    with proxy(echo, "407 Proxy Authentication Required") as (url, _):
        monkeypatch.setenv("HTTPS_PROXY", url)
        with pytest.raises(ConnectionError, match=r"the proxy 127\.0\.0\.1 refused with status 407"):
            Connection(f"wss://{HOST}/chat", timeout_s=10)


@pytest.mark.parametrize("named", ["", "example.org"])
def test_no_proxy_comes_between_this_machine_and_itself(echo, monkeypatch, named):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", named)
    aws.bypass_proxies_for_loopback()
    aws.bypass_proxies_for_loopback()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == ",".join(filter(None, [named, "127.0.0.1,localhost"]))
    url = f"wss://127.0.0.1:{echo}/"
    websocket.create_connection(url, timeout=10, sslopt={"server_hostname": HOST, "check_hostname": False}).close()
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for '127\.0\.0\.1'"):  # so it was reached
        Connection(url, timeout_s=10)
