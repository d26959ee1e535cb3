"""The page's bucket as strangers find it, by real requests without credentials: its files can be read, and no more.

They run in a rehearsal of AWS, without the local cloud's guard: S3 itself refuses, by the policy of notebook 05.
"""

import json
import os
import subprocess
import sys

import pytest

from chatlab.emulator import rehearsal
from chatlab.errors import LabError
from chatlab.paths import ROOT
from tests.support.policies import complaints
from tests.support.processes import processes_of

pytestmark = pytest.mark.slow  # it starts clouds

REFUSED = [
    # nothing is listed
    "GET /", "HEAD /", "GET /?list-type=2", "GET /?list-type=2&prefix=private/", "GET /?versions", "GET /?uploads",
    # nor told of how it is set up
    "GET /?policy", "GET /?acl", "GET /?tagging", "GET /?location", "GET /?website", "GET /?publicAccessBlock",
    "GET /?cors", "GET /?logging", "GET /?versioning", "GET /?policyStatus",
    # what is not the page's can't be read, nor whether it is there
    "GET /private/neighbour.txt", "HEAD /private/neighbour.txt", "GET /no-such-file", "GET /index.html/",
    "GET //index.html", "GET /index.html?acl", "GET /index.html?tagging", "GET /private/../private/neighbour.txt",
    # nothing is written
    "PUT /index.html", "PUT /new.html", "PUT /assets/new.js", "PUT /private/neighbour.txt", "PUT /index.html?acl",
    "PUT /index.html?tagging", "PUT /?policy", "PUT /?acl", "PUT /?website", "PUT /?publicAccessBlock", "PUT /?cors",
    "PUT /?versioning", "PUT /?tagging", "PUT /?lifecycle", "PUT /?notification", "POST /index.html?uploads",
    # nor deleted
    "DELETE /index.html", "DELETE /private/neighbour.txt", "DELETE /no-such-file", "DELETE /", "DELETE /?policy",
    "DELETE /?website", "DELETE /?publicAccessBlock", "DELETE /index.html?tagging", "POST /?delete",
]  # fmt: skip

# Run in the rehearsal; its last line is JSON.
CODE = """
import gzip, http.client, json, os, re, sys
from urllib.parse import urlsplit
from chatlab import Lab, preflight
from chatlab.lab import STAGE
from tests.support.cells import creating, run_cells

lab = Lab.choose("aws", "chat", os.environ["AWS_DEFAULT_REGION"])
gateway = lab.client("apigatewayv2")
expression = "$request.body.action"
api = gateway.create_api(
    Name=lab.api, ProtocolType="WEBSOCKET", RouteSelectionExpression=expression, Tags=lab.tags)["ApiId"]
gateway.create_stage(ApiId=api, StageName=STAGE, Tags=lab.tags)
preflight.require_parts = lambda *_: None  # there are no functions here, which the last cell before Verify is about
run_cells("05_frontend_on_s3", creating("05_frontend_on_s3")[:-1])

s3 = lab.client("s3")
def there():
    objects = s3.list_objects_v2(Bucket=lab.bucket)["Contents"]
    return [(found["Key"], found["ETag"]) for found in objects], s3.get_bucket_policy(Bucket=lab.bucket)["Policy"]

DELETE = "<Delete><Object><Key>index.html</Key></Object></Delete>"
def ask(method, url, path, body=None, **headers):
    to = urlsplit(url)
    connection = http.client.HTTPSConnection(to.netloc, timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    said = answer.read()
    said = gzip.decompress(said) if answer.getheader("Content-Encoding") == "gzip" else said
    return [answer.status, said.decode(), answer.getheader("Access-Control-Allow-Origin")]

before = there()
rest = lab.object_url("")
answers = {"read": ask("GET", rest, "/index.html", Origin="https://evil.example"),
           "a header to own it": ask("PUT", rest, "/mine.html", "mine", **{"x-amz-acl": "public-read-write"}),
           "a preflight": ask("OPTIONS", rest, "/index.html", Origin="https://evil.example",
                              **{"Access-Control-Request-Method": "PUT"})}
for what in json.loads(sys.argv[1]):
    method, path = what.split(" ")
    body = DELETE if path == "/?delete" else "mine" if method in ("PUT", "POST") else None
    answers[what] = ask(method, rest, path, body)
print(json.dumps({"answers": answers, "is unchanged": there() == before, "there": before[0],
                  "policy": json.loads(before[1])}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What strangers were answered, and whether anything is changed."""
    try:
        rehearsal.require_namespaces()
    except LabError as reason:
        pytest.skip(str(reason))
    folder = tmp_path_factory.mktemp("bucket")
    command = [sys.executable, "-m", "chatlab", "rehearse", "--region", "eu-central-1", "--traits", "delay", "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", CODE, json.dumps(REFUSED)], cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert processes_of(folder) == []
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_everybody_can_read_the_page_but_no_other_sites_script(told):
    assert told["answers"]["read"] == [200, "<!doctype html>", None]


def test_nobody_can_do_anything_else_without_credentials(told):
    asked = {what: answer for what, answer in told["answers"].items() if not what.startswith("read")}
    assert len(asked) > len(REFUSED)
    assert {what: status for what, (status, *_) in asked.items() if status not in (403, 405)} == {}
    assert [what for what, (_, body, _) in asked.items() if "Only for the owner" in body] == []


def test_nothing_is_changed_afterwards(told):
    assert told["is unchanged"]
    assert [key for key, _ in told["there"]] == ["index.html", "private/neighbour.txt"]


def test_a_linter_has_nothing_against_the_buckets_policy(told):
    assert complaints("bucket", told["policy"]) == []
