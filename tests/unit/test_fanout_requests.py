"""The fan-out's signatures are botocore's, its retries too, and what it reads of a response is right."""

import string
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.retries import standard
from fanout import pacing, sigv4
from fanout.http_connections import parse_error, parse_response
from hypothesis import given
from hypothesis import strategies as st

KEYS = st.text(string.ascii_letters + string.digits + "/+", min_size=16, max_size=64)
TOKENS = st.none() | st.text(string.ascii_letters + string.digits + "/+=", min_size=1, max_size=800)
CONNECTION_IDS = st.text(string.ascii_letters + string.digits + "-_=+/@ %", min_size=1, max_size=40)
ENDPOINTS = st.sampled_from(
    [
        "https://abc123.execute-api.us-east-1.amazonaws.com/production",
        "https://abc123.execute-api.cn-north-1.amazonaws.com.cn/production/",
        "https://chat.example.com",
        "https://chat.example.com:443/a/b",
        "http://127.0.0.1:4566/_aws/execute-api/abc123/production",
        "http://Localhost:80/p",
    ]
)


@given(
    endpoint=ENDPOINTS,
    connection_id=CONNECTION_IDS,
    data=st.binary(min_size=1, max_size=300),
    access_key=KEYS,
    secret_key=KEYS,
    token=TOKENS,
    region=st.sampled_from(["us-east-1", "eu-central-2", "cn-north-1", "us-gov-west-1"]),
)
def test_a_request_is_signed_as_botocore_signs_it(endpoint, connection_id, data, access_key, secret_key, token, region):
    environment = {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": region,
    } | ({"AWS_SESSION_TOKEN": token} if token else {})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        head, _, body = sigv4.Signer(endpoint, data).request(connection_id).partition(b"\r\n\r\n")
    assert body == data
    line, *lines = head.decode().split("\r\n")
    fields = dict(field.split(": ", 1) for field in lines)
    method, path, version = line.split(" ")
    assert (method, version) == ("POST", "HTTP/1.1")
    assert fields["content-length"] == str(len(data))

    url = urlsplit(endpoint)
    request = AWSRequest("POST", f"{url.scheme}://{url.netloc}{path}", data=data)
    request.headers["Content-Type"] = "application/octet-stream"
    auth = SigV4Auth(Credentials(access_key, secret_key, token), "execute-api", region)
    with pytest.MonkeyPatch.context() as patch:
        at = fields["x-amz-date"]
        patch.setattr("botocore.auth.get_current_datetime", lambda **_: Instant(at))
        auth.add_auth(request)
    assert fields["authorization"] == request.headers["Authorization"]
    assert fields["x-amz-date"] == request.headers["X-Amz-Date"]
    assert fields.get("x-amz-security-token") == request.headers["X-Amz-Security-Token"]


class Instant:
    """A moment that botocore asks for its text only."""

    def __init__(self, stamp):
        self._stamp = stamp

    def strftime(self, _):
        return self._stamp


def test_what_is_tried_again_is_what_boto3_tries_again():
    assert set(standard.TransientRetryableChecker._TRANSIENT_STATUS_CODES) == pacing.TRANSIENT_STATUSES
    assert set(standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES) == pacing.TRANSIENT_CODES
    assert set(standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES) == pacing.THROTTLING_CODES


@pytest.mark.parametrize("attempt", range(1, 8))
def test_the_backoff_is_boto3s(monkeypatch, attempt):
    monkeypatch.setattr("random.random", lambda: 0.25)
    theirs = standard.ExponentialBackoff(random=lambda: 0.25)
    context = standard.RetryContext(attempt_number=attempt)
    assert pacing.backoff_s(attempt) == theirs.delay_amount(context)


def test_a_response_is_whole_at_its_end_and_not_before():
    data = b'HTTP/1.1 410 Gone\r\nContent-Type: x\r\ncontent-LENGTH: 11\r\nX-Amzn-errortype: Gone\r\n\r\n{"a": "bc"}'
    assert [parse_response(data[:end]) for end in range(len(data))] == [None] * len(data)
    status, fields, body, reusable = parse_response(data)
    assert (status, body, reusable) == (410, b'{"a": "bc"}', True)
    assert fields[b"x-amzn-errortype"] == b"Gone"


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
    ],
)
def test_a_connection_is_used_again_if_the_responses_end_is_known(data, reusable):
    status, _, _, is_reusable = parse_response(data)
    assert 200 <= status < 300
    assert is_reusable == reusable


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 two hundred\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000]
)
def test_what_is_not_http_is_an_error(data):
    with pytest.raises(ValueError):
        parse_response(data)


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (b"GoneException", b'{"message": "left"}', ("GoneException", "left")),
        (b"a.b#LimitExceededException:http://x", b"{}", ("LimitExceededException", "")),
        (None, b'{"__type": "a#B", "Message": "no"}', ("B", "no")),
        (None, b"<html>", ("", "")),
        (None, b"[1]", ("", "")),
    ],
)
def test_an_errors_code_and_message_are_found_where_botocore_finds_them(kind, body, expected):
    assert parse_error({b"x-amzn-errortype": kind} if kind else {}, body) == expected
