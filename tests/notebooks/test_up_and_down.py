"""`make up` leaves the chat running, and `make down` removes it."""

import re
import shutil
import urllib.request

import psutil
import pytest

from chatlab import Lab, cli, list_resources, local_cloud
from chatlab.notebooks import TEARDOWN
from chatlab.paths import NOTEBOOKS
from tests.support import made_up
from tests.support.processes import documented, what_listens

pytestmark = pytest.mark.slow

PARTS = """
import json
from chatlab import Lab
from chatlab.packages import build_package
lab = Lab.load()
lab.client("iam").create_role(RoleName=lab.role, AssumeRolePolicyDocument="{}", Tags=lab.tag_list)
lab.client("lambda").create_function(
    FunctionName=lab.functions["connect"], Runtime="python3.13", Role=lab.arn("iam", f"role/{lab.role}"),
    Handler="lambda_connect.handler", Code={"ZipFile": build_package("connect")},
    Environment={"Variables": {"ROOM_KEY": "known-to-a-few-people"}}, Tags=lab.tags)
s3, bucket = lab.client("s3"), {"Bucket": lab.bucket}
s3.create_bucket(CreateBucketConfiguration={"Tags": lab.tag_list}, **bucket)
s3.put_object(Key="index.html", Body=b"<!doctype html>", **bucket)
allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{lab.bucket}/*"}
s3.delete_public_access_block(**bucket)
s3.put_bucket_policy(Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}), **bucket)
"""
"""What `up` asks a chat for: the function that knows the room's key, and the page."""


DEPLOYS = """
from chatlab import Lab
lab = Lab.load()
lab.client("logs").create_log_group(logGroupName=lab.log_groups["default"], tags=lab.tags);
"""
"""In place of the cell of notebook 07 that deploys the fast broadcast. The cell before it has no tag."""


@pytest.fixture
def chatlab(tmp_path, monkeypatch, capsys):
    """`chatlab("up")`: what the command prints, on notebooks that build no more than PARTS, and the real teardown."""
    notebooks = made_up.write(tmp_path / "notebooks", **{"05_frontend_on_s3": PARTS, "07_faster": DEPLOYS})
    shutil.copy(NOTEBOOKS / f"{TEARDOWN}.ipynb", notebooks)
    made_up.take(notebooks, monkeypatch.setattr)
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path / "home"))

    def command(*arguments):
        assert cli.main(arguments) == 0
        return capsys.readouterr().out

    yield command
    local_cloud.stop()


def test_up_leaves_the_chat_running_and_down_removes_it_and_no_other(chatlab, tmp_path):
    with what_listens(tmp_path) as listened:
        said = chatlab("up", "--hours", "8")
    assert listened == documented("`make up`")
    assert re.search(r"^  07_faster \(deploy\) +\S+ s  ok$", said, re.MULTILINE)
    assert "index.html, with #key= and the room's key behind it\n`make down` removes it." in said
    assert "HOURS=8 has no effect: the end of notebook 04" in said  # these notebooks make no switch
    url = re.search(r"http\S+/index\.html", said)[0]
    cloud = psutil.Process(local_cloud.status()["pid"])
    chat = Lab.load()
    assert chat.log_groups["default"] in set(list_resources(chat)["id"])

    demo = Lab.choose("local", "demo")
    demo.client("logs").create_log_group(logGroupName=demo.log_groups["connect"], tags=demo.tags)
    said = chatlab("down", "--name", "demo")
    assert "The lab demo on the local cloud." in said
    assert "Still open: The lab chat on the local cloud" in said
    assert list_resources(demo).empty
    assert not list_resources(chat).empty
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert b"<!doctype html>" in answer.read().lower()

    assert "99_teardown" in chatlab("down")
    assert not cloud.is_running()
    assert not local_cloud.status()["running"]
    assert "There is no lab here that could be removed" in chatlab("down")
