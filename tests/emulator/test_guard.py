"""Only somebody with a key that the local cloud has issued may use it, and no page of another site."""

import hashlib
import io
import json
import multiprocessing
import os
import re
import socket
import stat
import time
import zipfile
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import boto3
import pytest
import websocket
from botocore.config import Config

from chatlab import local_cloud, poll
from tests.support.chat import ids
from tests.support.requests import ask, signed

SOMEBODY = 65534  # the user nobody
ACCOUNT = "000000000000"
EVIL = "https://evil.example"


def form(**parameters):
    return {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(parameters)


def target(name, **parameters):
    return {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": name}, json.dumps(parameters)


def named(key, service):
    """An Authorization header that names a key, with a wrong signature."""
    scope = f"{key}/20260101/us-east-1/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}"}


# What one would ask, as (the service that signs, method, path, (headers, body)), and the status with the key.
REQUESTS = [
    ("sts", "POST", "/", form(Action="GetCallerIdentity", Version="2011-06-15"), 200),
    ("iam", "POST", "/", form(Action="ListRoles", Version="2010-05-08"), 200),
    ("lambda", "GET", "/2015-03-31/functions", ({}, ""), 200),
    ("dynamodb", "POST", "/", target("DynamoDB_20120810.Scan", TableName="chat"), 200),
    ("s3", "GET", "/", ({}, ""), 200),
    ("execute-api", "POST", "/_aws/execute-api/{api}/production/@connections/x", ({}, "x"), 410),
    # MiniStack's own, which nobody may call:
    ("sts", "POST", "/_ministack/reset", ({}, ""), 403),
    ("sts", "POST", "/%5fministack/config", ({}, '{"lambda_svc.LAMBDA_EXECUTOR": "docker"}'), 403),
    ("lambda", "GET", "/_aws/lambda-url/x/", ({}, ""), 403),
]
QUOTA = target("ServiceQuotasV20190624.GetServiceQuota", ServiceCode="lambda", QuotaCode="L-B99A9384")
# Where MiniStack, and what is played beside it, answers without a look at the signature.
UNVERIFIED = [
    ("sts", "GET", "/health", ({}, ""), 200),
    ("ecr", "GET", "/v2/_catalog", ({}, ""), 200),
    ("apigateway", "GET", "/account", ({}, ""), 200),
    ("s3", "GET", "/v20180820/configuration/publicAccessBlock", ({}, ""), 404),
    ("servicequotas", "POST", "/", QUOTA, 200),
    ("execute-api", "POST", "/_aws/execute-api/x/production/@connections/x", QUOTA, 200),  # like a post
]


def raw(address, lines):
    """Send a request of these lines; the first line of the answer."""
    with socket.create_connection(address, timeout=10) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return client.makefile("rb").readline()


def refused_handshake(url, **options):
    """The answer to a handshake that is refused."""
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(url, timeout=10, **options)
    return refused.value


def cloud_log():
    return (Path(os.environ["CHATLAB_HOME"]) / "cloud.log").read_text()


def has_cors(answered):
    return any(header.lower().startswith("access-control-") for header in answered)


# --- the key ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [*REQUESTS, *UNVERIFIED], ids=lambda request_: f"{request_[0]} {request_[2]}")
def test_only_a_valid_signature_with_the_issued_key_is_answered(chat, address, request_):
    service, method, path, (headers, body), status = request_
    path = path.format(api=chat.require_api())
    key = local_cloud.credentials()
    wrong = [{}, named(key["aws_access_key_id"], service)]
    wrong += [named(known, service) for known in ("", "test", ACCOUNT, "AKIAIOSFODNN7EXAMPLE")]
    wrong += [signed(address, service, method, path, headers, body, key | {"aws_secret_access_key": "wrong"})]
    for each in wrong:
        refused, _, said = ask(address, method, path, headers | each, body)
        assert refused == 403 and re.search("access key|[Ss]ignature|own paths", said), each
    credential = f"{key['aws_access_key_id']}/20260101/us-east-1/{service}/aws4_request"
    for field in ("X-Amz-Credential", "x-amz-credential", "AWSAccessKeyId", "AwSAccessKeyId"):
        for more in ("", "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host&X-Amz-Signature=0"):
            assert ask(address, method, f"{path}?{field}={credential}{more}", headers, body)[0] == 403, field
    right = signed(address, service, method, path, headers, body)
    answer, answered, _ = ask(address, method, path, right, body)
    assert answer == status and not has_cors(answered)


def test_a_presigned_address_works_as_on_aws_and_one_without_the_secret_does_not(chat, address, page):
    def presigned(version, operation="get_object", seconds=60, **keys):
        s3 = chat.client("s3", config=Config(signature_version=version), **keys)
        parameters = {"Bucket": chat.bucket, "Key": "private"}
        url = s3.generate_presigned_url(operation, Params=parameters, ExpiresIn=seconds)
        return url.removeprefix(local_cloud.url())

    for version in ("s3v4", "s3"):
        assert ask(address, "PUT", presigned(version, "put_object"), {}, version)[0] == 200
        assert ask(address, "GET", presigned(version))[::2] == (200, version)
        for key in ("test", ACCOUNT, local_cloud.credentials()["aws_access_key_id"]):
            wrong = presigned(version, aws_access_key_id=key, aws_secret_access_key="test")
            assert ask(address, "GET", wrong)[0] == 403, key
            assert ask(address, "GET", f"{wrong}&AWSAccessKeyId=test")[0] == 403, key
    expiring = [presigned(version, seconds=1) for version in ("s3v4", "s3")]
    time.sleep(2.1)  # their clock has whole seconds
    assert [ask(address, "GET", each)[0] for each in expiring] == [403, 403]


def test_what_is_no_text_is_refused_without_a_traceback(address):
    key = local_cloud.credentials()["aws_access_key_id"]
    presigned = f"X-Amz-Credential={key}/20260101/us-east-1/s3/aws4_request&X-Amz-Date=20260101T000000Z"
    tracebacks = cloud_log().count("Traceback")
    assert ask(address, "GET", "/", named("\xff", "s3"))[0] == 403
    for query in ("AWSAccessKeyId=%ff", f"{presigned}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=%ff", "\xff"):
        answer = raw(address, [f"GET /?{query} HTTP/1.1", f"Host: {address[0]}:{address[1]}"])
        assert answer.split()[1] in (b"403", b"400")  # 400 by the HTTP parser
    assert cloud_log().count("Traceback") == tracebacks


def test_who_joins_with_a_key_has_to_sign_with_it(chat, address):
    url, key = chat.websocket_url(chat.require_api()), local_cloud.credentials()

    def signature(**other):
        return signed(address, "execute-api", "GET", urlsplit(url).path, {}, "", key | other)

    websocket.create_connection(url, timeout=10, header=signature()).close()
    assert refused_handshake(url, header=signature(aws_secret_access_key="wrong")).status_code == 403
    assert refused_handshake(f"{url}?AWSAccessKeyId={key['aws_access_key_id']}").status_code == 403
    for known in ("test", "AKIAIOSFODNN7EXAMPLE"):
        assert refused_handshake(url, header=named(known, "execute-api")).status_code == 403


def test_a_refusal_is_one_line_in_the_log_and_no_key_is_in_it(address):
    before = len(cloud_log().splitlines())
    ask(address, "POST", "/a%0ab" + "c" * 500, named("test", "iam"), "x")
    (line,) = (line for line in cloud_log().splitlines()[before:] if "Refused" in line)  # the emulator writes, too
    assert re.fullmatch(
        r"[\d-]+ [\d:,]+ WARNING \[guard\] Refused POST '/a\\nbc{80,100}': This local cloud has not issued the .*", line
    )
    for secret in local_cloud.credentials().values():
        assert secret not in cloud_log()


FUNCTION = """
import os
def handler(event, context):
    return {"environment": dict(os.environ), "folder": os.getcwd()}
"""


def test_a_function_has_an_environment_of_its_own_and_keys_that_nobody_can_guess(chat, address):
    code, functions = io.BytesIO(), chat.client("lambda")
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("tell.py", FUNCTION)
    role = chat.client("iam").get_role(RoleName=chat.role)["Role"]["Arn"]
    made = functions.create_function(
        FunctionName="tell", Role=role, Runtime="python3.13", Handler="tell.handler", Code={"ZipFile": code.getvalue()}
    )
    try:
        told = json.loads(functions.invoke(FunctionName="tell")["Payload"].read())
    finally:
        functions.delete_function(FunctionName="tell")
    environment, home = told["environment"], os.environ["CHATLAB_HOME"]
    assert told["folder"].startswith(home) and environment["HOME"].startswith(home)
    ours = {name for name, value in environment.items() if os.environ.get(name) == value}
    assert all(re.fullmatch("PATH|TZ|LANG|LANGUAGE|LC_.*", name) for name in ours), ours
    for value in local_cloud.credentials().values():
        assert value not in environment.values()

    keys = {name: environment[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")}
    options = {f"aws_{name.lower()}": value for name, value in keys.items()}
    who = boto3.client("sts", "us-east-1", endpoint_url=local_cloud.url(), **options)
    assert who.get_caller_identity()["Arn"].endswith("assumed-role/chat-lambda-us-east-1/tell")
    # As MiniStack computes them by itself.
    digest = hashlib.sha256(f"{made['FunctionArn']}:{role}".encode()).hexdigest()
    guessed = {f"ASIA{digest[:16].upper()}"}
    guessed |= {hashlib.sha256(f"{part}:{digest}".encode()).hexdigest() for part in ("secret", "token")}
    assert not guessed & set(keys.values())


def read_as_somebody_else(files, results):
    os.setgroups([])
    os.setgid(SOMEBODY)
    os.setuid(SOMEBODY)
    for file in files:
        try:
            results.put(Path(file).read_text())
        except PermissionError:
            results.put("not allowed")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user of this machine")
def test_another_user_of_the_machine_can_not_read_the_key(chat):
    home = Path(os.environ["CHATLAB_HOME"])
    for folder in home.parents:  # so that it is the lab's own folder that keeps them out
        if stat.S_IMODE(folder.stat().st_mode) == 0o700:
            folder.chmod(0o711)
    context = multiprocessing.get_context("fork")
    results, files = context.Queue(), [home / "key.json", home / "cloud.json"]
    process = context.Process(target=read_as_somebody_else, args=(files, results))
    process.start()
    assert [results.get(timeout=60) for _ in files] == ["not allowed"] * 2
    process.join(10)


# --- without a key ---------------------------------------------------------------------------------------------------


def test_everybody_may_read_the_page_and_nothing_beside_it(address, page):
    status, answered, said = ask(address, "GET", page, {"Sec-Fetch-Site": "same-origin"})
    assert (status, said) == (200, "page") and not has_cors(answered)
    bucket = page.rpartition("/")[0]
    by_the_buckets_policy = [("GET", f"{bucket}/private"), ("GET", f"{bucket}/"), ("PUT", page), ("DELETE", page)]
    for method, path in by_the_buckets_policy:
        status, _, said = ask(address, method, path)
        assert status == 403 and "<Code>AccessDenied</Code>" in said, (method, path)
    for method, path in [
        ("POST", bucket), ("POST", page), ("GET", "/other-bucket/p"), ("GET", "//x"), ("GET", f"{bucket}?policy"),
        ("GET", f"{page}?Action=ListRoles&Version=2010-05-08"), ("GET", f"{bucket}/../other-bucket/p"),
        ("GET", f"{bucket}/%2e%2e/2015-03-31/functions"), ("GET", f"{bucket}/a/.."), ("GET", f"{bucket}//x"),
    ]:  # fmt: skip
        status, _, said = ask(address, method, path)
        assert (status, said.partition(":")[0]) == (403, "Without an access key only the page can be read"), path
    disguised = form(Action="CreateRole", RoleName="mine")[0] | target("DynamoDB_20120810.Scan")[0]
    assert ask(address, "PUT", page, disguised, '{"TableName": "chat"}')[0] == 403


def test_without_a_key_no_bucket_is_made_nor_deleted(chat, address, page):
    """Only its list may be asked for, as in notebook 05: the bucket's policy refuses that."""
    new, there = "chat-page-0123456789ab", page.split("/")[1]
    for rest in ("", "/", "//", "%2F", "?x", "/?x", "/#x", "/."):
        for method in ("PUT", "DELETE", "HEAD", "GET"):
            for bucket in (new, there):
                status, _, said = ask(address, method, f"/{bucket}{rest}")
                if method == "GET" and rest in ("/", "%2F", "/#x"):
                    assert (status, "<Error>" in said) == (404 if bucket == new else 403, True)
                else:
                    assert status == 403 and (method == "HEAD" or "Without an access key" in said), (method, rest)
    buckets = {bucket["Name"] for bucket in chat.client("s3").list_buckets()["Buckets"]}
    assert new not in buckets and there in buckets


def test_a_websocket_is_for_an_api_alone(address):
    for path in ("/", "/_ministack/reset", "/_aws/execute-api/x"):
        assert refused_handshake(f"ws://{address[0]}:{address[1]}{path}").status_code == 403


# --- pages of other sites --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"Origin": EVIL},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Transfer-Encoding": "chunked"},  # no page's: a body whose end nobody knows
    ],
    ids=str,
)
def test_the_key_does_not_help_a_page_of_another_site(address, more):
    headers = signed(address, "s3", "GET", "/", {}, "")
    assert ask(address, "GET", "/", headers)[0] == 200
    assert ask(address, "GET", "/", headers | more)[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1"])
def test_under_another_name_it_answers_nothing(address, page, host):
    """DNS rebinding: a page of that name would be of the same origin, whatever it asks for, with a key or without."""
    own_port = f"{host}:{address[1]}" if host != address[0] else host
    only = f"The local cloud answers at http://{address[0]}:{address[1]} only."
    for name in (host, own_port):
        for headers in ({}, signed(address, "s3", "GET", page, {"Host": name}, "")):
            status, _, said = ask(address, "GET", page, headers | {"Host": name})
            assert status == 403 and only in said, name


def test_a_link_to_the_page_may_be_anywhere_and_its_frame_or_picture_may_not(address, page):
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(address, "GET", page, followed)[0] == 200
    assert ask(address, "GET", page, followed | {"Sec-Fetch-Dest": "iframe"})[0] == 403
    assert ask(address, "GET", page, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"})[0] == 403


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_a_method_that_is_none_of_awss_ends_early(address, page, method):
    status, answered, _ = ask(address, method, page, {"Access-Control-Request-Method": "PUT", "Origin": EVIL})
    assert status == 403 and not has_cors(answered)


@pytest.mark.parametrize(
    "head",
    [b"X-Long: ", b"".join(b"X-%d: x\r\n" % n for n in range(2**18)), b"Content-Length: 99999999999\r\n\r\n"],
    ids=["a header without an end", "headers without an end", "a body of 100 GB"],
)
def test_what_is_too_large_ends_early(address, page, head):
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(f"PUT {page} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n".encode())
        with pytest.raises(OSError):
            for _ in range(64):  # until the other end closes
                client.sendall(head)
                head = b"x" * 2**20
            raise AssertionError("it takes 64 MB")


def test_without_a_key_a_body_has_a_smaller_limit(address, page):
    assert "too large" in ask(address, "PUT", page, {}, "x" * (64 * 1024 + 1))[2]


@pytest.mark.parametrize(
    "header", ["Host: evil.example", "Origin: null", "Content-Length: 1", "Sec-Fetch-Site: cross-site"]
)
def test_a_header_that_is_there_twice_is_refused_whichever_comes_first(address, page, header):
    host = f"{address[0]}:{address[1]}"
    own = {"Host": host, "Origin": f"http://{host}", "Content-Length": "0", "Sec-Fetch-Site": "same-origin"}
    lines = [f"{name}: {value}" for name, value in own.items()]
    for headers in ([header, *lines], [*lines, header]):
        answer = raw(address, [f"GET {page} HTTP/1.1", *headers])
        assert answer.split()[1] in (b"403", b"400")  # 400 by the HTTP parser


@pytest.mark.parametrize(
    ("origin", "joins"),
    [
        (None, True),  # wscat
        ("http://127.0.0.1:{port}", True),  # the page, and websocket-client
        ("http://localhost:5173", True),  # the page in development
        (EVIL, False),
        ("http://127.0.0.1.evil.example", False),
        ("http://localhost@evil.example", False),
        ("null", False),
    ],
)
def test_who_may_join_the_chat(chat, address, origin, joins):
    options = {"suppress_origin": True} if origin is None else {"origin": origin.format(port=address[1])}
    url = chat.websocket_url(chat.require_api())
    if joins:
        before = ids(chat)
        websocket.create_connection(url, timeout=10, **options).close()
        poll(lambda: ids(chat) <= before, "whoever joined to leave", every_s=0.02)
        return
    refused = refused_handshake(url, **options)
    assert refused.status_code == 403
    assert refused.resp_body == b"A page of another site may not join the chat.\n"
