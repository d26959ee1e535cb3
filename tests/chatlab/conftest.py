"""Fixtures for several files: a local cloud, and a load test."""

import json
import os
from pathlib import Path

import pytest

from chatlab import Lab
from tests.support.labs import lab_in
from tests.support.load_tests import run, start

__all__ = ["run", "start"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A local cloud for all tests of a file. Each has a lab in it, by a name of its own."""
    with lab_in(tmp_path_factory.mktemp("cloud")) as lab:
        yield lab


@pytest.fixture
def restricted(cloud):
    """`restricted(name, policy)`: the lab of this name, used by somebody who has only this policy."""
    iam, file = cloud.client("iam"), Path(os.environ["CHATLAB_HOME"]) / "key.json"
    everything, ada = file.read_text(), {"UserName": "ada"}

    def lab_of(name, policy):
        Lab.choose("local", name)
        iam.create_user(**ada)
        iam.put_user_policy(PolicyName="all", PolicyDocument=json.dumps(policy), **ada)
        key = iam.create_access_key(**ada)["AccessKey"]
        file.write_text(json.dumps({name: key[name] for name in ("AccessKeyId", "SecretAccessKey")}))
        return Lab.load()

    yield lab_of
    file.write_text(everything)
    for key in iam.list_access_keys(**ada)["AccessKeyMetadata"]:
        iam.delete_access_key(AccessKeyId=key["AccessKeyId"], **ada)
    iam.delete_user_policy(PolicyName="all", **ada)
    iam.delete_user(**ada)
