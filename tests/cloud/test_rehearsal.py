"""The rehearsal of AWS: its network, its names, whom it trusts, and that nothing is left of it."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from chatlab import poll
from chatlab.emulator import rehearsal
from chatlab.errors import LabError
from chatlab.paths import ROOT
from tests.support.cells import run_cells
from tests.support.labs import lab_in
from tests.support.processes import processes_of

try:
    rehearsal.require_namespaces()
except LabError as reason:
    pytestmark = pytest.mark.skip(reason=str(reason))


@pytest.fixture(scope="module")
def rehearse(tmp_path_factory):
    """`rehearse(code, *options)`: Python code, run in a rehearsal; the process, ended."""
    folder = tmp_path_factory.mktemp("rehearsal")
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}

    def run(code, *options, arguments=(), **more):
        command = [sys.executable, "-m", "chatlab", "rehearse", *options, "--", sys.executable, "-c", code, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=environment | more, capture_output=True, text=True, timeout=120
        )  # fmt: skip
        assert processes_of(folder) == []
        return done

    return run


ASK = """
import boto3, httpx, socket, ssl, os
identity = boto3.client("sts").get_caller_identity()
s3, region = boto3.client("s3"), os.environ["AWS_DEFAULT_REGION"]
where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
s3.create_bucket(Bucket="rehearsed", **where)
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
where = {} if lab.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": lab.region}}
s3.create_bucket(Bucket=lab.bucket, **where)
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
print(ask(lab.website_url))
s3.put_bucket_website(Bucket=lab.bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}})
print(lab.page_url.split(":")[0], ask(lab.page_url), ask(lab.object_url("")), ask(lab.object_url("other")))
website = lab.website_url
print(website.split(":")[0], ask(website), ask(website + "index.html"), ask(website + "other"))
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
dearer = round(prices["DynamoDB read units"] / PRICES["DynamoDB read units"], 3)
print(dearer, prices.source.partition(" (")[0], prices.date)
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

ALL = {
    "ask": ASK, "page": SERVE_A_PAGE, "quotas": READ_QUOTAS_AND_PRICES, "elsewhere": LOOK_ELSEWHERE,
    "credentials": LOOK_FOR_CREDENTIALS, "nobody": TRUST_NOBODY,
}  # fmt: skip
RUN_ALL = """
import contextlib, io, json, sys
said = {}
for name, code in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            exec(code, {})
        except Exception as error:
            print(f"{error!r}")
    said[name] = printed.getvalue()
print(json.dumps(said))
"""


@pytest.fixture(scope="module", params=["eu-south-1", "us-east-1"])
def region(request):
    return request.param


@pytest.fixture(scope="module")
def said(rehearse, region):
    """What each of ALL printed in one rehearsal of this Region, one line an element, and what it raised."""
    mine = dict.fromkeys(["AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"], "the person's")
    done = rehearse(RUN_ALL, "--region", region, arguments=[json.dumps(ALL)], **mine)
    assert done.returncode == 0, done.stderr
    return {name: text.splitlines() for name, text in json.loads(done.stdout).items()}


def test_aws_is_on_this_machine_and_everyone_s_certificates_are_verified(said, region):
    assert said["ask"] == [f"learner {region}"]


def test_a_page_is_served_over_https_at_its_rest_address_and_over_http_at_its_website(said):
    assert said["page"] == ["404", "https the page 403 403", "http the page the page 403"]


def test_a_region_has_its_own_quota_and_its_own_prices(said, region):
    quota, dearer = {"eu-south-1": ("2500.0", "1.2"), "us-east-1": ("10000.0", "1.0")}[region]
    assert said["quotas"] == [f"{quota} True", f"{dearer} AWS's price list of {region} 2026-11-01"]


def test_nothing_else_can_be_reached(said):
    assert said["elsewhere"] == ["no such name", "no such name", "['lo']"]


def test_whoever_does_not_trust_the_rehearsals_authority_is_not_connected(said):
    (raised,) = said["nobody"]
    assert "certificate verify failed" in raised


def test_no_credentials_of_the_persons_are_taken_along(said):
    assert said["credentials"] == ["[]"]


def test_a_trait_that_there_is_not_ends_it_with_a_sentence(rehearse):
    done = rehearse("print('never')", "--traits", "bad")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("There is no trait bad: the traits are delay, ")


def test_the_commands_status_is_the_rehearsals_and_what_it_leaves_running_ends_with_it(rehearse):
    sleeps = f"{os.getpid()}.5"
    done = rehearse(
        f"import subprocess; subprocess.Popen(['sleep', '{sleeps}'], start_new_session=True); raise SystemExit(3)"
    )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr

    def survivors():
        lines = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
        return [line for line in lines if sleeps in line]

    poll(lambda: not survivors(), "it to end", timeout_s=5, every_s=0.1)


@pytest.mark.slow
def test_the_functions_are_made_with_a_role_that_can_not_be_used_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_TRAITS", "new-role=5,late-policy=4")
    with lab_in(tmp_path / "home"):
        for name in ("01_dynamodb_table", "02_iam_role", "03_lambda_functions"):
            run_cells(name)


def test_without_namespaces_a_sentence_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "chatlab", "rehearse"],
        cwd=ROOT, env=os.environ | {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "A rehearsal of AWS needs Linux's network namespaces and the command unshare (util-linux).\n"
