"""docs/aws.md: its commands exist, and its names are the lab's."""

import re
import shlex
import subprocess

import botocore.session
from botocore import xform_name

from chatlab import Lab
from chatlab.aws import GUIDE
from chatlab.paths import ROOT
from chatlab.settings import Settings

TEXT = (ROOT / GUIDE).read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
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


def test_the_names_are_the_labs(monkeypatch):
    lab = Lab(Settings("aws", "chat", "eu-central-1"))
    monkeypatch.setattr(Lab, "account_id", "111122223333")
    shell = "\n".join(BLOCKS)
    spelled = {shell.replace("$part", part) for part in lab.functions}
    for name in [lab.role, *lab.functions.values(), *lab.log_groups.values()]:
        assert any(f'{name}"' in text or f"{name} " in text for text in spelled), name
    assert f"--table-name {lab.table}\n" in shell
    assert lab.bucket.startswith("chat-page-")
    assert set(lab.tags) == {"chatlab", "chatlab-region"}
