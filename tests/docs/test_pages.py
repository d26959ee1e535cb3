"""What single pages of docs/ promise: that commands and tests exist, and that quotations are word for word."""

import ast
import re
import shlex
import subprocess

import botocore.session
from botocore import xform_name

from chatlab import Lab
from chatlab.aws import GUIDE
from chatlab.notebooks import BUILD, MEASURE, OPTIONAL, TEARDOWN
from chatlab.paths import ROOT
from chatlab.settings import Settings
from tests.support.cells import WRITEFILE, cells

# --- docs/aws.md: its commands exist, and its names are the lab's ---

BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / GUIDE).read_text(), re.DOTALL)
GLOBAL_OPTIONS = {"--query", "--output", "--profile", "--region"}  # of the command line itself, not of a call


def commands():
    """The calls of AWS in the page's commands, as (service, operation, set of its options)."""
    shell = "\n".join(BLOCKS).replace("\\\n", " ")
    within = re.findall(r"\$\(([^()]*)\)", shell)
    without = re.sub(r"\$\([^()]*\)", "X", shell).splitlines()
    for line in [*within, *without]:
        if not line.strip().startswith("aws "):
            continue
        _, service, operation, *rest = shlex.split(line, comments=True)
        if service not in ("s3", "configure"):  # commands of the tool's own
            options = {word for word in rest if word.startswith("--")}
            yield service.replace("s3api", "s3"), operation, options - GLOBAL_OPTIONS


def test_each_command_is_a_call_of_aws():
    session, found = botocore.session.Session(), list(commands())
    assert len(found) > 12
    for service, operation, arguments in found:
        model = session.get_service_model(service)
        names = {xform_name(name, "-"): name for name in model.operation_names}
        assert operation in names, f"aws {service} {operation}"
        members = {f"--{xform_name(name, '-')}" for name in model.operation_model(names[operation]).input_shape.members}
        assert arguments <= members, f"aws {service} {operation} {arguments}"


def test_the_shell_can_read_every_block():
    assert subprocess.run(["bash", "-n"], input="\n".join(BLOCKS), text=True, capture_output=True).stderr == ""


AWS = """
aws() {
    case "$1 $2" in
        "resourcegroupstaggingapi get-resources") [[ "$*" == *Key=chatlab-owner* ]] && echo "$TAGGED" ;;
        "iam list-role-tags") [[ "$4" == chat-lambda-* ]] && echo "$OWNER" || echo another ;;
        "iam list-role-policies") echo logs ;;
        *) echo "$*" ;;
    esac
}
"""
"""In place of the command line of AWS: it prints what it would do."""


def test_what_is_left_is_removed_by_the_labs_own_names_and_tags(monkeypatch):
    monkeypatch.setattr(Lab, "_caller", {"Account": "111122223333", "Arn": "arn:aws:iam::111122223333:user/ada"})
    lab = Lab(Settings("aws", "chat", "eu-central-1"))
    api, stage = (f"arn:aws:apigateway:{lab.region}::/apis/abc123{more}" for more in ("", "/stages/production"))
    removed = {
        api: "apigatewayv2 delete-api --api-id abc123",
        lab.arn("dynamodb", f"table/{lab.table}"): f"dynamodb delete-table --table-name {lab.table}",
        lab.arn("scheduler", f"schedule-group/{lab.switch}"): f"scheduler delete-schedule-group --name {lab.switch}",
        f"arn:aws:s3:::{lab.bucket}": f"s3 rb s3://{lab.bucket} --force",
    }
    for name in lab.functions.values():
        removed[lab.arn("lambda", f"function:{name}")] = f"lambda delete-function --function-name {name}"
    for name in lab.log_groups.values():
        removed[lab.arn("logs", f"log-group:{name}:*")] = f"logs delete-log-group --log-group-name {name}"
    role = f"--role-name {lab.role}"  # the other role is somebody else's
    (shell,) = (block for block in BLOCKS if "get-resources" in block)
    shell = AWS + shell.replace("owner=0123abcd", f"owner={lab.owner}")
    environment = {"TAGGED": " ".join([*removed, stage]), "OWNER": lab.owner}
    done = subprocess.run(["bash", "-c", shell], env=environment, text=True, capture_output=True, check=True)
    said = [*removed.values(), f"iam delete-role-policy {role} --policy-name logs", f"iam delete-role {role}"]
    assert done.stdout.splitlines() == said
    assert "for role in " in shell and lab.switch_role == f"chat-switch-{lab.region}"
    assert set(lab.own_tags) == set(re.findall(r"Key=(chatlab[a-z-]*)", shell))


# --- docs/reliability.md: each promise has a test that exists, and a figure ---

RELIABILITY = (ROOT / "docs/reliability.md").read_text()
HEADER = r"\| what is promised \| how it is tested \| last measured \|\n\| --- \| --- \| --- \|\n"


def test_a_promise_has_a_test_and_a_figure():
    tables = re.findall(rf"{HEADER}((?:\|.*\n)+)", RELIABILITY)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()]
    assert len(rows) > 40
    assert [row for row in rows if len(row) != 3 or not all(row)] == []
    assert [row for row in rows if not re.search(r"`(tests|frontend/test)/|`make |`python -m ", row[1])] == []


def test_every_test_that_the_page_names_exists():
    file, missing = "", []
    for path, name in re.findall(r"`((?:tests|frontend/test)/[\w./-]+)?(?:::(\w+))?`", RELIABILITY):
        file = path or file
        if not (ROOT / file).exists() or (name and f"def {name}(" not in (ROOT / file).read_text()):
            missing.append(f"{file}::{name}")
    assert file
    assert missing == []


# --- docs/troubleshooting.md quotes the lab word for word ---

OF_AWS = {  # AWS's and OpenSSL's words, and an option
    "Too Many Requests", "Internal server error", "Endpoint request timed out", "OperationAborted", "ROOM_KEY",
    "Lambda was unable to decrypt the environment variables", "Missing Authority Key Identifier",
    "CA cert does not include key usage extension",
}  # fmt: skip


def quoted():
    """Each sentence, or part of one, in the first column."""
    for line in (ROOT / "docs/troubleshooting.md").read_text().splitlines():
        if line.startswith("| "):
            yield from re.findall(r"`([^`]+)`", line.split(" | ")[0])


def said():
    """All string constants of the lab's code and notebooks, a line each; an f-string gives its constant parts."""
    sources = [(ROOT / "Makefile").read_text()]
    for folder in ("chatlab", "loadtest"):
        sources += [_texts(path.read_text()) for path in (ROOT / folder).rglob("*.py")]
    for name in (*BUILD, *MEASURE, *OPTIONAL.values(), TEARDOWN):
        sources += [_texts(WRITEFILE.sub("", source)) for source in cells(name)]
    return "\n".join(sources)


def _texts(source):
    return "\n".join(
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_the_lab_says_every_sentence_that_the_page_quotes():
    quotes, all_that_is_said = set(quoted()) - OF_AWS, said()
    assert len(quotes) > 30
    parts = [part.strip(" .,:") for quote in quotes for part in quote.split("…")]
    assert [part for part in parts if part not in all_that_is_said] == []
