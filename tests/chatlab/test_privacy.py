"""What is private is masked wherever it is shown, and nothing else is."""

import copy
import json
import re

import boto3
import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab import LabError, notebooks, privacy, report
from chatlab.notebooks import execute
from chatlab.privacy import REDACTED, add_secrets, add_session_secrets, redact, redact_notebook, redact_values
from tests.support.strategies import ANY_JSON

ACCOUNT = "123456789012"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # AWS's own examples
TOKEN = "FwoGZXIvYXdzEBYaDKsomeTokenThatIsLong+and/has=signs" * 3
DENIED = (
    f"User: arn:aws:iam::{ACCOUNT}:user/alice is not authorized to perform: dynamodb:CreateTable on resource: "
    f"arn:aws:dynamodb:eu-west-1:{ACCOUNT}:table/chat because no identity-based policy allows the "
    "dynamodb:CreateTable action"
)
DENIED_SSO = (
    f"User: arn:aws:sts::{ACCOUNT}:assumed-role/AWSReservedSSO_Developer_0123456789abcdef/alice@example.com is not "
    f"authorized to perform: iam:CreateRole on resource: arn:aws:iam::{ACCOUNT}:role/chat-lambda"
)
SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method.\n\nThe Canonical String for this request should have been\n'POST\n/\n\n"
    f"host:dynamodb.eu-west-1.amazonaws.com\nx-amz-security-token:{TOKEN}\n'\n\n"
    f"The String-to-Sign should have been\n'AWS4-HMAC-SHA256\n20261125T103509Z\n' of Credential={KEY}"
)
PRIVATE = (ACCOUNT, "alice", "example.com", KEY, SECRET, TOKEN)


@pytest.fixture(autouse=True)
def no_known_secrets(monkeypatch):
    """Forget after each test what it kept private."""
    monkeypatch.setattr(privacy, "_secrets", set())


@pytest.mark.parametrize(
    "text",
    [
        f"arn:aws:lambda:eu-west-1:<{ACCOUNT}>:function:chat-default",
        f"arn:aws:iam::<{ACCOUNT}>:user/<staff/alice.b+c@x> is",
        f"arn:aws:sts::<{ACCOUNT}>:assumed-role/Admin/<alice>, who",
        f"arn:aws:sts::<{ACCOUNT}>:federated-user/<alice>",
        f"{{'Account': '<{ACCOUNT}>'}}",
        f"https://<{ACCOUNT}>.ddb.us-east-1.amazonaws.com/",
        f"The config profile (AdministratorAccess-<{ACCOUNT}>) could not be found",
        f"The key <{KEY}> is not valid",
        "'UserId': '<AROAIOSFODNN7EXAMPLE:alice@example.com>'",
        "from <alice.b@mail.example.com>.",
        "?user=<alice%40example.com>&x",
        f"'SecretAccessKey': '<{SECRET}>'",
        f"x-amz-security-token:<{TOKEN}>",
        f"\x1b[31mClientError\x1b[0m: \x1b[32m<{ACCOUNT}>\x1b[0m",
        f"\x1b[2K\r\x1b]0;a title\x07\x1b<{ACCOUNT}> \x1b",
    ],
)
def test_what_is_private_is_masked_and_the_rest_can_be_read(text):
    shown = re.sub("<.*?>", REDACTED, text)
    assert redact(re.sub("[<>]", "", text)) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "'sent_ms': 1764066909123, 'sent_ns': 1764066909123456789, 'latency': 0.123456789012, 123456789012.5",
        "chat-page-123456789012 with its digest of account and Region",
        "8f14e45f-ceea-467f-9c1d-123456789012 is a request's id",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "arn:aws:s3:::chat-page-0123456789ab/index.html",
        "https://abc.execute-api.eu-west-1.amazonaws.com/production/@connections/L0SM9=",
        "react@19.2.0-beta.next, @pytest.fixture",
        'aws_secret_access_key=key["SecretAccessKey"], session_token = None',
        "No AKIA here; ASIA is a continent.",
    ],
)
def test_what_is_not_private_stays_as_it_is(text):
    add_secrets("000000000000")  # the local cloud's account is known, too
    assert redact(text) == text


AROUND = st.text(st.characters(codec="utf-8", exclude_characters="\x1b"), max_size=20)
LETTERS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=16, max_size=20)
# What shows where a word ends is what texts have: spaces, quotes, brackets and the like.
ENDS = st.sampled_from([" ", "'", '"', "\n", "(", ")", "<", ">", ",", ";", "/", "=", "[", "]", "{", "}", "|", "&", "?"])
SECRETS = st.one_of(
    st.text("0123456789", min_size=12, max_size=12),
    st.tuples(st.sampled_from(["AKIA", "ASIA", "AIDA", "AROA"]), LETTERS).map("".join),
    st.from_regex(r"da2-[a-z0-9]{26}", fullmatch=True),
    st.from_regex(r"[a-z][a-z0-9.+]{0,20}[a-z0-9]@[a-z0-9]{1,20}\.(com|org|de)", fullmatch=True),
)


@given(AROUND, ENDS, SECRETS, ENDS, AROUND)
def test_no_account_key_or_address_survives_between_any_texts(before, begin, secret, end, after):
    shown = redact(f"{before}{begin}{secret}{end}{after}")
    assert secret not in shown or secret in before + after
    assert redact(shown) == shown


@given(AROUND, st.text("ABCDEFGHabcdefgh0123456789/+=", min_size=12, max_size=40), AROUND)
def test_what_is_known_to_be_private_survives_nowhere(before, secret, after):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(privacy, "_secrets", set())
        add_secrets(secret)
        if not secret.isdecimal():
            assert secret not in redact(f"{before}{secret}{after}")


@given(ANY_JSON)
def test_what_is_masked_keeps_its_form(value):
    def form(value):
        if isinstance(value, dict):
            return {key: form(item) for key, item in value.items()}
        return [form(item) for item in value] if isinstance(value, list) else type(value)

    assert form(redact_values(value)) == form(value)


def test_ones_own_account_is_masked_within_a_name_too_and_zeros_are_no_account_within_a_number():
    add_secrets(ACCOUNT, "000000000000")
    assert redact(f"cdk-assets-{ACCOUNT}-eu-west-1") == f"cdk-assets-{REDACTED}-eu-west-1"
    assert redact("0.000000000000 1000000000000 arn:aws:iam::000000000000:root") == (
        f"0.000000000000 1000000000000 arn:aws:iam::{REDACTED}:root"
    )


def test_the_credentials_that_a_session_signs_with_are_masked_wherever_they_stand():
    session = boto3.Session(KEY, SECRET, TOKEN, region_name="eu-west-1")
    add_session_secrets(session)
    assert SECRET in redact(f"it said {SECRET}")
    session.client("sts").generate_presigned_url("get_caller_identity")  # signs, and asks nobody
    assert redact(f"it said {SECRET} and {TOKEN}") == f"it said {REDACTED} and {REDACTED}"
    assert redact(f"?X-Amz-Security-Token={TOKEN.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}&") == (
        f"?X-Amz-Security-Token={REDACTED}&"
    )


def test_a_lab_error_is_masked_when_it_is_made():
    error = LabError(f"The table can't be made: {DENIED} {DENIED_SSO} {SIGNATURE}")
    assert str(error).startswith("The table can't be made: User: ")
    assert not [private for private in PRIVATE if private in str(error) + repr(error)]


@pytest.fixture
def run_cells(tmp_path, monkeypatch):
    """`run_cells(*sources)`: a notebook of these cells, executed; its Outcome, and its text as it was saved."""
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    seen = []

    def run(*sources):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "cells.ipynb")
        monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it, a kernel leaves alone what its child processes print

        def keep(notebook):
            seen.append(copy.deepcopy(notebook))
            return notebook

        monkeypatch.setattr(notebooks, "redact_notebook", keep)  # what the kernel says, before it is masked once more
        return execute("cells", tmp_path / "out.ipynb"), json.dumps(seen[-1])

    return run


def test_what_a_cell_shows_is_masked_by_the_kernel_itself(run_cells, monkeypatch, tmp_path):
    """Prints, a child's output, a value, a table, markup, and an error of boto3 with its traceback."""
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path / "home"))
    hex_of = [text.encode().hex() for text in (DENIED, SIGNATURE, ACCOUNT)]  # so that the sources say nothing
    outcome, saved = run_cells(
        f"""import sys, subprocess, pandas as pd
from contextlib import suppress
from IPython.display import HTML, display
from chatlab import Lab, LabError
pd.set_option("display.max_colwidth", None)
with suppress(LabError):
    Lab.load()  # as each notebook begins; none is chosen here
denied, signature, account = [bytes.fromhex(text).decode() for text in {hex_of}]
print(denied, file=sys.stderr)
print(denied)
subprocess.run([sys.executable, "-c", "import sys; print(sys.argv[1])", denied])
display(HTML(f"<b>{{denied}}</b>"))
{{"Account": account}}""",
        "pd.DataFrame([{'said': denied}])",
        """import boto3
from botocore.stub import Stubber
sts = boto3.client("sts", aws_access_key_id="nobody", aws_secret_access_key="nothing", region_name="eu-west-1")
stubber = Stubber(sts)
stubber.add_client_error("get_caller_identity", "SignatureDoesNotMatch", signature + " " + denied)
stubber.activate()
sts.get_caller_identity()""",
    )
    assert saved.count("is not authorized to perform") >= 7
    assert "SignatureDoesNotMatch" in saved and "SignatureDoesNotMatch" in outcome.reason
    assert not [private for private in PRIVATE if private in saved + outcome.reason]


def test_a_saved_notebook_is_masked_once_more():
    picture = nbformat.v4.new_output("display_data", {"image/png": ACCOUNT, "text/plain": DENIED})
    outputs = [nbformat.v4.new_output("stream", text=DENIED), picture]
    cell = nbformat.v4.new_code_cell(f'PROFILE = "Admin-{ACCOUNT}"', outputs=outputs)
    notebook = redact_notebook(nbformat.v4.new_notebook(cells=[cell]))
    nbformat.validate(notebook)
    assert cell.outputs[1].data["image/png"] == ACCOUNT  # as it was: it is no text
    del cell.outputs[1].data["image/png"]
    assert not [private for private in PRIVATE if private in json.dumps(notebook)]


def test_a_runs_summary_and_its_failures_are_masked(tmp_path):
    summary = {"target": "aws", "machine": {}, "notebooks": [], "fanout": None, "leftovers": None}
    summary["failures"] = [DENIED, DENIED_SSO]
    report.write(tmp_path, summary)
    written = (tmp_path / "summary.json").read_text() + (tmp_path / "report.html").read_text()
    said = "\n".join(report.lines(summary, tmp_path))
    assert not [private for private in PRIVATE if private in written + said]
    assert "dynamodb:CreateTable" in written and "dynamodb:CreateTable" in said
