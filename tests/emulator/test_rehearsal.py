"""The rehearsal of AWS: its network, its names, whom it trusts, and that nothing is left of it."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from chatlab import poll, record
from chatlab.emulator import rehearsal
from chatlab.errors import LabError
from chatlab.paths import ROOT
from tests.support.processes import processes_of

try:
    rehearsal.require_namespaces()
except LabError as reason:
    pytestmark = pytest.mark.skip(reason=str(reason))


@pytest.fixture
def rehearse(tmp_path):
    """`rehearse(code, *options)`: run Python code in a rehearsal; the process that has ended."""
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def run(code, *options, arguments=(), **more):
        command = [sys.executable, "-m", "chatlab", "rehearse", *options, "--", sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment | more, capture_output=True, text=True, timeout=120)
        assert processes_of(tmp_path) == []
        return done

    return run


ASK = """
import boto3, os
identity = boto3.client("sts").get_caller_identity()
s3, region = boto3.client("s3"), os.environ["AWS_DEFAULT_REGION"]
s3.create_bucket(Bucket="rehearsed", CreateBucketConfiguration={"LocationConstraint": region})
assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["rehearsed"]
api = boto3.client("apigatewayv2").create_api(
    Name="rehearsed", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.action")
boto3.client("iam").list_roles(); boto3.client("dynamodb").list_tables(); boto3.client("lambda").list_functions()
boto3.client("logs").describe_log_groups(); boto3.client("resourcegroupstaggingapi").get_resources()
boto3.client("scheduler").list_schedule_groups()
boto3.client("budgets").describe_budgets(AccountId="0" * 12)
print(identity["Arn"].rpartition("/")[2], region)
"""

SERVE_A_PAGE = """
import json, os, urllib.error, urllib.request
from chatlab import Lab
from chatlab.settings import Settings
lab = Lab(Settings("aws", region=os.environ["AWS_DEFAULT_REGION"]))
s3 = lab.client("s3")
s3.create_bucket(Bucket=lab.bucket, CreateBucketConfiguration={"LocationConstraint": lab.region})
s3.put_object(Bucket=lab.bucket, Key="index.html", Body=b"the page")
page = f"arn:aws:s3:::{lab.bucket}/index.html"
allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": page}
s3.delete_public_access_block(Bucket=lab.bucket)
s3.put_bucket_policy(Bucket=lab.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
def ask(url):
    try:
        return urllib.request.urlopen(url).read().decode()
    except urllib.error.HTTPError as error:
        return error.code
print(lab.page_url.split(":")[0], ask(lab.page_url), ask(lab.object_url("")), ask(lab.object_url("other")))
"""

READ_QUOTAS_AND_PRICES = """
import os
from chatlab import Lab
from chatlab.settings import Settings
from chatlab.cost import PRICES, read_prices
from chatlab.limits import read_quotas
lab = Lab(Settings("aws", region=os.environ["AWS_DEFAULT_REGION"]))
quotas, prices = read_quotas(lab), read_prices(lab)
print(quotas.requests_per_s, quotas.is_live("requests_per_s"))
print(sorted({(round(prices[what] / price, 4), what == "GB out") for what, price in PRICES.items()}))
print(prices.source.partition(" (")[0], prices.source[-10:])
"""

LIST = """
import boto3
clusters, apis = boto3.client("ecs").list_clusters()["clusterArns"], boto3.client("appsync").list_apis()["apis"]
print(len(boto3.client("ec2").describe_subnets()["Subnets"]), clusters, apis)
"""

LOOK_ELSEWHERE = """
import socket
for name in ("example.com", "amazonaws.com.example.com"):
    try:
        print(socket.getaddrinfo(name, 443))
    except socket.gaierror:
        print("no such name")
print([name for _, name in socket.if_nameindex()])
"""

LOOK_FOR_CREDENTIALS = 'import os; print(sorted(name for name in os.environ if os.environ[name] == "the person\'s"))'

TRUST_NOBODY = """
import boto3, os
del os.environ["AWS_CA_BUNDLE"]
os.environ["AWS_MAX_ATTEMPTS"] = "1"
boto3.client("sts").get_caller_identity()
"""

SAID = {
    "aws is on this machine, and everyone's certificates are verified": (ASK, "learner eu-south-1"),
    "a page is served over https": (SERVE_A_PAGE, "https the page 403 403"),
    "a service's host name is no bucket's": (LIST, "3 [] []"),
    "a Region has its own quota and its own prices": (
        READ_QUOTAS_AND_PRICES,
        "2500.0 True\n[(1.0, True), (1.2, False)]\nAWS's price list of eu-south-1 2026-11-01",
    ),
    "nothing else can be reached": (LOOK_ELSEWHERE, "no such name\nno such name\n['lo']"),
    "no credentials of the person's are taken along": (LOOK_FOR_CREDENTIALS, "[]"),
    "whoever does not trust the rehearsal's authority is not connected": (TRUST_NOBODY, "certificate verify failed"),
}  # fmt: skip
RUN_ALL = """
import contextlib, io, json, subprocess, sys
said = []
subprocess.Popen(["sleep", sys.argv[2]], start_new_session=True)
for code in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            exec(code, {})
        except Exception as error:
            print("certificate verify failed" if "certificate verify failed" in str(error) else repr(error))
    said.append(printed.getvalue().strip())
print(json.dumps(said))
raise SystemExit(3)
"""


def test_a_rehearsal_whose_status_is_the_commands_and_which_leaves_nothing(rehearse, tmp_path):
    mine = dict.fromkeys(["AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"], "the person's")
    codes, sleeps = [code for code, _ in SAID.values()], f"{os.getpid()}.5"
    mine["CHATLAB_RUN"] = str(tmp_path)
    done = rehearse(RUN_ALL, "--region", "eu-south-1", arguments=[json.dumps(codes), sleeps], **mine)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert dict(zip(SAID, json.loads(done.stdout), strict=True)) == {name: text for name, (_, text) in SAID.items()}

    assert '"s3", "operation": "PutBucketPolicy", "status": 204' in (tmp_path / record.FILE).read_text()

    def survivors():
        lines = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
        return [line for line in lines if sleeps in line and "sleep" in line]

    poll(lambda: not survivors(), "what the command has left running to end", timeout_s=5, every_s=0.1)


def test_without_namespaces_a_sentence_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "chatlab", "rehearse"],
        cwd=ROOT, env=os.environ | {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "A rehearsal of AWS needs Linux's network namespaces and the command unshare (util-linux).\n"
