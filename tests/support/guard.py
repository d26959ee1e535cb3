"""Requests to the local cloud, sent as they are written, over a socket; and a page in it that everybody may read."""

import http.client
import json
from contextlib import closing
from urllib.parse import urlencode

import pytest

from chatlab import local_cloud


def form(**parameters):
    return {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(parameters)


def target(name, **parameters):
    return {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": name}, json.dumps(parameters)


@pytest.fixture(scope="module")
def address(chat):
    return "127.0.0.1", local_cloud.status()["port"]


@pytest.fixture(scope="module")
def page(chat):
    """The path of an object in the page's bucket that everybody may read."""
    s3 = chat.client("s3")
    s3.create_bucket(Bucket=chat.bucket)
    arn = f"arn:aws:s3:::{chat.bucket}/p"
    public = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": arn}
    s3.put_public_access_block(Bucket=chat.bucket, PublicAccessBlockConfiguration={"BlockPublicPolicy": False})
    s3.put_bucket_policy(Bucket=chat.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [public]}))
    for key in ("p", "private"):
        s3.put_object(Bucket=chat.bucket, Key=key, Body=b"page")
    yield f"/{chat.bucket}/p"
    for key in ("p", "private"):
        s3.delete_object(Bucket=chat.bucket, Key=key)
    s3.delete_bucket(Bucket=chat.bucket)


def ask(address, method, path, headers=(), body=""):
    """The answer's status, headers and text."""
    with closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
        connection.request(method, path, body.encode(), dict(headers))
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode()


def named(key, service):
    """An Authorization header that names a key and whose signature is none."""
    scope = f"{key}/20260101/us-east-1/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}"}
