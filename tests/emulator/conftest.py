"""Fixtures for several files: where the local cloud is, an object that everybody may read, and a load test."""

import json

import pytest

from chatlab import local_cloud
from tests.support.load_tests import run, start

__all__ = ["run", "start"]


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
        s3.put_object(Bucket=chat.bucket, Key=key, Body=b"page", ContentType="text/html")
    yield f"/{chat.bucket}/p"
    for key in ("p", "private"):
        s3.delete_object(Bucket=chat.bucket, Key=key)
    s3.delete_bucket(Bucket=chat.bucket)
