"""Who may speak to the local cloud: whoever has a key that it has issued."""

import hashlib
import io
import json
import multiprocessing
import os
import re
import socket
import stat
import zipfile
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import boto3
import pytest
import websocket
from botocore.config import Config

from chatlab import local_cloud
from tests.support.chat import delete_items, ids, put_items
from tests.support.guard import ask, form, named, target
from tests.support.requests import signed

SOMEBODY = 65534  # the user nobody
UNSIGNED = object()
ACCOUNT = "000000000000"


# What one would ask, as (the service that signs, method, path, (headers, body)).
REQUESTS = {
    "who am I": ("sts", "POST", "/", form(Action="GetCallerIdentity", Version="2011-06-15")),
    "create a role": ("iam", "POST", "/", form(Action="CreateRole", RoleName="mine", AssumeRolePolicyDocument="{}")),
    "create a key": ("iam", "POST", "/", form(Action="CreateAccessKey", UserName="learner")),
    "list the functions": ("lambda", "GET", "/2015-03-31/functions", ({}, "")),
    "create a function": ("lambda", "POST", "/2015-03-31/functions", ({}, '{"FunctionName": "mine"}')),
    "invoke": ("lambda", "POST", "/2015-03-31/functions/chat-default/invocations", ({}, "{}")),
    "read the table": ("dynamodb", "POST", "/", target("DynamoDB_20120810.Scan", TableName="chat")),
    "list the buckets": ("s3", "GET", "/", ({}, "")),
    "list the APIs": ("apigateway", "GET", "/v2/apis", ({}, "")),
    "read the log groups": ("logs", "POST", "/", target("Logs_20140328.DescribeLogGroups")),
    "post to a connection": ("execute-api", "POST", "/_aws/execute-api/{api}/production/@connections/x", ({}, "x")),
    "reset": ("sts", "POST", "/_ministack/reset", ({}, "")),
    "configure": ("sts", "POST", "/_ministack/config", ({}, '{"lambda_svc.LAMBDA_EXECUTOR": "docker"}')),
    "ask for its health": ("sts", "GET", "/_ministack/health", ({}, "")),
    "the same, encoded": ("sts", "POST", "/%5fministack/reset", ({}, "")),
    "call a function's URL": ("lambda", "GET", "/_aws/lambda-url/x/", ({}, "")),
}
THE_EMULATORS_OWN = {"reset", "configure", "ask for its health", "the same, encoded", "call a function's URL"}
KEYS = {
    "none": UNSIGNED,
    "an empty one": "",
    "test": "test",
    "twelve digits": ACCOUNT,
    "one that looks right": "AKIAIOSFODNN7EXAMPLE",
}


def request_of(chat, name):
    service, method, path, (headers, body) = REQUESTS[name]
    return service, method, path.format(api=chat.require_api()), headers, body


@pytest.fixture(scope="module")
def witness(chat):
    """The id of an item in the table that is lost if anything is reset."""
    put_items(chat, ["witness"])
    yield "witness"
    delete_items(chat, ["witness"])


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", REQUESTS)
def test_without_a_key_that_was_issued_nothing_is_answered(chat, address, witness, name, key):
    service, method, path, headers, body = request_of(chat, name)
    authorization = {} if KEYS[key] is UNSIGNED else named(KEYS[key], service)
    status, _, said = ask(address, method, path, headers | authorization, body)
    assert status == 403
    assert re.search("access key|own paths", said)
    assert witness in ids(chat)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_key_without_its_secret_is_not_enough(chat, address, name):
    service, method, path, headers, body = request_of(chat, name)
    wrong = local_cloud.credentials() | {"aws_secret_access_key": "wrong"}
    status, _, said = ask(address, method, path, signed(address, service, method, path, headers, body, wrong), body)
    assert status == 403
    assert re.search("signature|own paths", said), said


@pytest.mark.parametrize("name", [name for name in REQUESTS if not name.startswith(("create", "invoke"))])
def test_with_the_key_all_but_the_emulators_own_paths_are_open(chat, address, name):
    service, method, path, headers, body = request_of(chat, name)
    status, answered, _ = ask(address, method, path, signed(address, service, method, path, headers, body), body)
    assert status == {"post to a connection": 410}.get(name, 403 if name in THE_EMULATORS_OWN else 200)
    assert not [header for header in answered if header.lower().startswith("access-control-")]


QUOTA = target("ServiceQuotasV20190624.GetServiceQuota", ServiceCode="lambda", QuotaCode="L-B99A9384")
# Where the emulator, and what is played beside it, answers without a look at the signature; last, the status with a
# valid one.
UNVERIFIED = {
    "its health": ("sts", "GET", "/health", ({}, ""), 200),
    "a registry": ("ecr", "GET", "/v2/_catalog", ({}, ""), 200),
    "a token": ("cognito-idp", "POST", "/oauth2/token", ({}, ""), 400),
    "a sign-in": ("cognito-idp", "POST", "/login", ({}, ""), 400),
    "API Gateway's limits": ("apigateway", "GET", "/account", ({}, ""), 200),
    "Lambda's limits": ("lambda", "GET", "/2016-08-19/account-settings", ({}, ""), 200),
    "Block Public Access": ("s3", "GET", "/v20180820/configuration/publicAccessBlock", ({}, ""), 404),
    "a quota": ("servicequotas", "POST", "/", QUOTA, 200),
    "a quota, like a post": ("execute-api", "POST", "/_aws/execute-api/x/production/@connections/x", QUOTA, 200),
}


@pytest.mark.parametrize("name", UNVERIFIED)
def test_where_the_emulator_verifies_no_signature_the_guard_does(address, name):
    service, method, path, (headers, body), status = UNVERIFIED[name]
    key = local_cloud.credentials()["aws_access_key_id"]
    credential = f"{key}/20260101/us-east-1/{service}/aws4_request"
    for field in ("X-Amz-Credential", "x-amz-credential", "AWSAccessKeyId", "AwSAccessKeyId"):
        for more in ("", "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host&X-Amz-Signature=0"):
            assert ask(address, method, f"{path}?{field}={credential}{more}", headers, body)[0] == 403, field
    wrong = local_cloud.credentials() | {"aws_secret_access_key": "wrong"}
    for authorization in (named(key, service), signed(address, service, method, path, headers, body, wrong)):
        refused, _, said = ask(address, method, path, headers | authorization, body)
        assert (refused, "signature" in said) == (403, True)
    assert ask(address, method, path, signed(address, service, method, path, headers, body), body)[0] == status


def test_a_presigned_address_works_as_on_aws_and_one_without_the_secret_does_not(chat, address, page):
    def presigned(version, operation="get_object", **keys):
        s3 = chat.client("s3", config=Config(signature_version=version), **keys)
        url = s3.generate_presigned_url(operation, Params={"Bucket": chat.bucket, "Key": "private"})
        return url.removeprefix(local_cloud.url())

    for version in ("s3v4", "s3"):
        assert ask(address, "PUT", presigned(version, "put_object"), {}, version)[0] == 200
        assert ask(address, "GET", presigned(version))[::2] == (200, version)
        for key in ("test", ACCOUNT, local_cloud.credentials()["aws_access_key_id"]):
            wrong = presigned(version, aws_access_key_id=key, aws_secret_access_key="test")
            assert ask(address, "GET", wrong)[0] == 403, key
            assert ask(address, "GET", f"{wrong}&AWSAccessKeyId=test")[0] == 403, key


@pytest.mark.parametrize("rest", ["", "/", "//", "//x", "%2F", "/%2f", "?x", "/?x", "/#x", "/."])
def test_without_a_key_no_bucket_is_made_nor_deleted(chat, address, page, rest):
    """Only its list may be asked for, as in notebook 05: the bucket's policy refuses that."""
    new, there = "chat-page-0123456789ab", page.split("/")[1]
    for method in ("PUT", "DELETE", "HEAD", "GET"):
        for bucket in (new, there):
            status, _, said = ask(address, method, f"/{bucket}{rest}")
            if method == "GET" and rest in ("/", "%2F", "/#x"):
                assert (status, "<Error>" in said) == (404 if bucket == new else 403, True)
            else:
                assert status == 403 and (method == "HEAD" or "Without an access key" in said), method
    buckets = {bucket["Name"] for bucket in chat.client("s3").list_buckets()["Buckets"]}
    assert new not in buckets and there in buckets


def test_what_is_no_text_is_refused_without_a_traceback(address):
    key = local_cloud.credentials()["aws_access_key_id"]
    presigned = f"X-Amz-Credential={key}/20260101/us-east-1/s3/aws4_request&X-Amz-Date=20260101T000000Z"
    tracebacks = cloud_log().count("Traceback")
    assert ask(address, "GET", "/", named("\xff", "s3"))[0] == 403
    for query in ("AWSAccessKeyId=%ff", f"{presigned}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=%ff", "\xff"):
        with socket.create_connection(address, timeout=10) as client:
            client.sendall(f"GET /?{query} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n\r\n".encode("latin-1"))
            assert client.makefile("rb").readline().split()[1] in (b"403", b"400")  # 400 by the HTTP parser
    assert cloud_log().count("Traceback") == tracebacks


def test_who_joins_with_a_key_has_to_sign_with_it(chat, address):
    url, key = chat.websocket_url(chat.require_api()), local_cloud.credentials()

    def join(query="", **other):
        headers = {} if query else signed(address, "execute-api", "GET", urlsplit(url).path, {}, "", key | other)
        websocket.create_connection(url + query, timeout=10, header=headers).close()

    join()
    for options in ({"aws_secret_access_key": "wrong"}, {"query": f"?AWSAccessKeyId={key['aws_access_key_id']}"}):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            join(**options)
        assert refused.value.status_code == 403


@pytest.mark.parametrize("credential", ["test", ACCOUNT, "AKIAIOSFODNN7EXAMPLE"])
def test_nobody_joins_with_a_key_that_was_not_issued(chat, address, credential):
    url = chat.websocket_url(chat.require_api())
    query = urlencode({"X-Amz-Credential": f"{credential}/20260101/us-east-1/execute-api/aws4_request"})
    for options in ({"url": f"{url}?{query}"}, {"url": url, "header": named(credential, "execute-api")}):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            websocket.create_connection(timeout=10, **options)
        assert refused.value.status_code == 403


def cloud_log():
    return (Path(os.environ["CHATLAB_HOME"]) / "cloud.log").read_text()


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


def as_somebody_else(address, files, results):
    """What another user of this machine can do."""
    os.setgroups([])
    os.setgid(SOMEBODY)
    os.setuid(SOMEBODY)
    read = []
    for file in files:
        try:
            read.append(Path(file).read_text())
        except PermissionError:
            continue
    answers = {}
    for name, (service, method, path, (headers, body)) in REQUESTS.items():
        for key, value in KEYS.items():
            authorization = {} if value is UNSIGNED else named(value, service)
            answers[name, key] = ask(address, method, path, headers | authorization, body)[0]
    results.put((read, answers))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user of this machine")
def test_another_user_of_the_machine_can_do_nothing(chat, address):
    home = Path(os.environ["CHATLAB_HOME"])
    for folder in home.parents:  # so that it is the lab's own folder that keeps them out
        if stat.S_IMODE(folder.stat().st_mode) == 0o700:
            folder.chmod(0o711)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    files = [home / "key.json", home / "cloud.json"]
    process = context.Process(target=as_somebody_else, args=(address, files, results))
    process.start()
    read, answers = results.get(timeout=60)
    process.join(10)
    assert read == []
    assert set(answers.values()) == {403}
