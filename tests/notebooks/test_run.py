"""`python -m chatlab run`, which is `make run`, as a whole, with the policy alone."""

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest

from chatlab import permissions, poll
from chatlab.emulator import rehearsal
from chatlab.errors import LabError
from chatlab.notebooks import BUILD, MEASURE, OPTIONAL, TEARDOWN
from chatlab.paths import NOTEBOOKS, ROOT
from chatlab.privacy import redact
from loadtest import results
from tests.support.cells import AS_NO_PERSON_WRITES, shown
from tests.support.policies import allows
from tests.support.processes import begin_chatlab, documented, processes_of, what_listens

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


SMALL = {
    "06_load_test": {"connections=300, broadcasts=8": "connections=20, broadcasts=3"},
    "08_how_many": {
        "STEPS = [20, 60, 120]": "STEPS = [10, 20, 30]",
        "BROADCASTS = 8": "BROADCASTS = 3",
    },
    "07_faster": {"EACH = min(BROADCASTS, 8)": "EACH = 3"},
    OPTIONAL["region_load"]: {"min(2.0, 1 / (2 * one_s))": "min(8.0, 1 / (2 * one_s))"},
    OPTIONAL["appsync"]: {"ROUNDS = 3": "ROUNDS = 1", "EACH = min(BROADCASTS, 8)": "EACH = 3"},
}
"""What makes the load tests and the simulation small: what is written in a notebook, and what is run instead."""


ALL = [*BUILD, *MEASURE, *OPTIONAL.values(), TEARDOWN]
"""Those that the run from end to end runs."""


def notebooks(folder, changes):
    """Copy the lab's notebooks into `folder`, with these changes in their code; return the folder."""
    folder.mkdir()
    for path in NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for written, instead in changes.get(path.stem, {}).items():
            (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and written in cell.source)
            cell.source = cell.source.replace(written, instead)
        nbformat.write(notebook, folder / path.name)
    return folder


@pytest.fixture
def ended(tmp_path):
    """Kill what the test leaves running."""
    yield
    for process in processes_of(tmp_path):
        process.kill()


@pytest.mark.parametrize(
    ("changes", "connections", "broadcasts"),
    [
        pytest.param(SMALL, 20, 8, id="small"),
        pytest.param(None, 100, 20, marks=pytest.mark.long, id="as it is"),
    ],
)
def test_a_run_from_end_to_end_with_the_policy_and_nothing_more(ended, tmp_path, changes, connections, broadcasts):
    """Nothing goes to the proxy that the shell names: nobody listens there."""
    asked, policy = tmp_path / "asked", tmp_path / "policy.json"
    policy.write_text(permissions.to_text(permissions.policy()))
    names = ("http_proxy", "https_proxy", "all_proxy")
    proxies = dict.fromkeys([*names, *map(str.upper, names)], "http://127.0.0.1:9")
    with what_listens(tmp_path) as listened:
        process = begin_chatlab(
            tmp_path / "home", "run", "--connections", f"{connections}", "--broadcasts", f"{broadcasts}",
            "--email", "ada@example.com", "--hours", "8", "--region-load", "yes", "--tasks", "2", "--appsync", "yes",
            notebooks=notebooks(tmp_path / "notebooks", changes) if changes else None, CHATLAB_RUN=f"{tmp_path}/run",
            CHATLAB_POLICY=str(policy), CHATLAB_RECORD=str(asked), no_proxy="", NO_PROXY="", **proxies,
        )  # fmt: skip
        key_file = tmp_path / "home" / "runs" / "run" / "key.json"
        poll(key_file.exists, "the local cloud to start", timeout_s=30, every_s=0.05)
        key = json.loads(key_file.read_text())
        said, _ = process.communicate()
    # A task's address, another one for each local cloud, is "its" own in the table.
    own = {(name, "its" if re.match(r"127\.(?!0\.0\.1$)", place) else place) for name, place in listened}
    assert own == documented("`make run`")
    assert process.returncode == 0, said
    folder = tmp_path / "run"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["target"] == "local"
    assert [notebook["name"] for notebook in summary["notebooks"]] == ALL
    assert all(notebook["ok"] and notebook["seconds"] > 0 for notebook in summary["notebooks"])
    fanout, expected = summary["fanout"], connections * broadcasts
    assert (fanout["connections"], fanout["broadcasts"]) == (connections, broadcasts)
    counts = [fanout[name] for name in ("expected", "delivered", "missing", "duplicate")]
    assert counts == [expected, expected, 0, 0]
    assert 0 < fanout["latency_ms"]["p50"] <= fanout["latency_ms"]["p99"] <= fanout["latency_ms"]["max"]
    assert 0 < fanout["last_delivery_ms"]["p50"] <= fanout["last_delivery_ms"]["p99"]
    assert summary["leftovers"] == 0
    assert summary["failures"] == []
    for name in ALL:
        assert (folder / "notebooks" / f"{name}.ipynb").exists()
        assert name in said
    assert (folder / "load_test" / "deliveries.parquet").exists()
    assert len(list((folder / "plots").glob("6-*.png"))) >= 6
    assert {"obvious", "event loop"} <= summary["faster"]["variants"].keys() and "as deployed now: " in said
    report = (folder / "report.html").read_text()
    assert "The obvious broadcast reached everybody within " in report and "data:image/gif" in report
    assert f"{expected} expected, {expected} received, 0 missing" in said
    assert "Leftovers: 0" in said
    assert str(folder) in said
    assert not list((tmp_path / "home" / "runs").iterdir())
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(kept) > 20
    for secret in key.values():
        assert secret not in said
        assert not [path for path, content in kept.items() if secret.encode() in content]
    suffixes = (".ipynb", ".json", ".html", ".log")
    written = [content.decode() for path, content in kept.items() if path.suffix in suffixes]
    assert not [text for text in [said, *written] if redact(text) != text]
    assert processes_of(tmp_path) == []
    the_notebooks_say_what_was_measured(folder, connections, broadcasts)
    the_policy_is_what_was_asked_for([json.loads(line) for line in asked.read_text().splitlines()])


def the_notebooks_say_what_was_measured(folder, connections, broadcasts):
    """Whatever the size is, and as a person would write it."""
    load_test, _, scaling = (shown(folder / "notebooks" / f"{name}.ipynb") for name in MEASURE)
    assert not AS_NO_PERSON_WRITES.search(load_test + scaling)
    summary = results.load(folder / "load_test").summary
    assert f"{connections * broadcasts:,} deliveries, none missing and none twice." in load_test
    assert f"Of {connections * (broadcasts + 2):,} deliveries {2 * connections:,} are the warm-up's." in load_test
    (samples,) = (check for check in summary["verdict"]["checks"] if check["check"] == "samples")
    assert samples["ok"], samples
    for name, ends in summary["interval_95"]["latency_ms"].items():
        interval = f"{ends[0]:,.1f} to {ends[1]:,.1f} ms" if None not in ends else "broadcasts would be enough"
        assert interval in load_test, name
    assert "You have not guessed" in load_test
    growth = results.load(folder / "growth").summary
    assert f"{growth['delivered']:,} deliveries, none missing and none twice." in scaling


UNSEEN = {
    "apigateway:PATCH": "only where a route or the stage is not as it should be",
    "apigateway:PUT": "nothing here asks for it beside a tag",
    "appsync:DeleteApiKey": "only where a learner deletes the key, in notebook 11",
    "appsync:GetApi": "only where the tagging API still names an API that is gone: here it knows none",
    "dynamodb:Query": "only in notebook 09, which a run leaves out",
    "dynamodb:UpdateTable": "the same",
    "iam:GetRolePolicy": "only where a learner takes a permission away, in notebook 04",
    "s3:DeleteBucketPolicy": "only where a learner takes the policy away, in notebook 05",
    "iam:DetachRolePolicy": "only what somebody attached by hand",
    "lambda:DeleteEventSourceMapping": "only what somebody connected by hand",
    "lambda:RemovePermission": "only one that names an API that is gone",
    "organizations:DescribeEffectivePolicy": "only where the account forbids public buckets",
    "pricing:GetProducts": "on aws alone: the local cloud costs nothing",
    "s3:AbortMultipartUpload": "only an upload that somebody began",
    "scheduler:GetScheduleGroup": "only where the tagging API still names a group that is gone: here it knows none",
    "scheduler:UpdateSchedule": "only where notebook 04 is run again",
}
"""Actions of the policy that a run on the local cloud does not ask for, and why."""
UNASKED = {
    "TagsOfApis": "AWS may ask for it beside a create with tags; it is not documented, and not played here",
    "WhoseTable": "only where another table has a name that begins like the lab's",
}
"""Statements whose actions it asks for on other resources only, and why."""


def the_policy_is_what_was_asked_for(asked):
    """What a whole run has asked for is allowed, nothing else is, and no statement could be left out."""
    questions = {(question["action"], question["resource"]) for question in asked if question["allowed"]}
    questions -= {("sts:GetCallerIdentity", "*")}  # which is everybody's
    assert [question for question in asked if not question["allowed"]] == []
    statements = permissions.policy()["Statement"]
    seen = {action for action, _ in questions}
    assert {action for statement in statements for action in statement["Action"]} - seen == UNSEEN.keys()
    for statement in statements:
        others = [other for other in statements if other is not statement]
        needed = [question for question in questions if not allows(others, *question)]
        assert needed or set(statement["Action"]) <= UNSEEN.keys() or statement["Sid"] in UNASKED, statement["Sid"]


@pytest.mark.long
def test_on_aws_without_the_optional_policy_every_notebook_ends_well_and_nothing_is_left(ended, tmp_path):
    try:
        rehearsal.require_namespaces()
    except LabError as reason:
        pytest.skip(str(reason))
    folder = notebooks(tmp_path / "notebooks", SMALL)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "chatlab", "rehearse", "--policy-of", "chat", "--without", "optional", "--"),
            *(sys.executable, "-m", "tests.support.made_up", folder, "run", "--target", "aws"),
            *("--connections", "20", "--broadcasts", "8"),
        ],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path), "CHATLAB_RUN": str(tmp_path / "run")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Leftovers: 0" in done.stdout and "FAILED" not in done.stdout
