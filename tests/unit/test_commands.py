"""What people type: a mistake is answered with one sentence, and nothing is begun."""

import json
import socket
import subprocess
import sys

import nbformat
import pandas as pd
import pytest

import chatlab.__main__ as commands
from chatlab import Lab, LabError, local_cloud
from chatlab.notebooks import _save
from chatlab.paths import ROOT, writable
from tests.conftest import environment_of_a_run


def chatlab(tmp_path, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "chatlab", *arguments],
        cwd=ROOT, env=environment_of_a_run(tmp_path / "home", **environment),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--connections", "abc"], 'CONNECTIONS has to be a whole number from 1 to 5000, and it is "abc".'),
        (["run", "--connections", "0"], 'CONNECTIONS has to be a whole number from 1 to 5000, and it is "0".'),
        (["run", "--connections", "99999"], 'CONNECTIONS has to be a whole number from 1 to 5000, and it is "99999".'),
        (["run", "--broadcasts", "-1"], 'BROADCASTS has to be a whole number from 1 to 500, and it is "-1".'),
        (["up", "--target", "azure"], 'The target is "azure", but it has to be "local" or "aws".'),
        (["up", "--name", "My Chat"], "The name \"My Chat\" can't begin a bucket's name"),
        (["notebooks", "--target", "aws"], "The committed notebooks show the local cloud: leave TARGET out."),
        ([], "The following arguments are required: command."),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, arguments, sentence):
    done = chatlab(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "home").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LabError, match=r"^The folder .*/file/home can't be written to: Not a directory\.$"):
        writable(tmp_path / "file" / "home")
    done = chatlab(tmp_path, "run", CHATLAB_RUN=str(tmp_path / "file" / "run"))
    assert done.returncode == 1
    assert "can't be written to" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_on_aws_does_not_touch_a_lab_that_is_there(tmp_path, monkeypatch):
    """No AWS is to be had here, so its answer is made up: one table."""
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHATLAB_LEDGER", str(tmp_path / "labs"))
    monkeypatch.setenv("CHATLAB_RUN", str(tmp_path / "run"))
    found = pd.DataFrame([("dynamodb", "table", "chat", None)], columns=["service", "kind", "id", "created"])
    monkeypatch.setattr(commands, "inventory", lambda lab: found)
    monkeypatch.setattr(commands, "execute", lambda *_, **__: pytest.fail("a notebook was run"))
    with pytest.raises(LabError, match=r"remove that lab with `make down TARGET=aws NAME=chat REGION=eu-west-1`"):
        commands.main(["run", "--target", "aws", "--region", "eu-west-1"])


def test_make_gives_its_options_on(tmp_path):
    done = subprocess.run(
        ["make", "--silent", "run", "CONNECTIONS=abc"],
        cwd=ROOT, env=environment_of_a_run(tmp_path), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    assert 'CONNECTIONS has to be a whole number from 1 to 5000, and it is "abc".' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as other:  # a port that no other test's local cloud gives up meanwhile
        monkeypatch.setattr(local_cloud, "PORT", other.getsockname()[1])
        try:
            lab = Lab.choose("local")
            assert local_cloud.status()["port"] != local_cloud.PORT
            assert lab.client("sts").get_caller_identity()["Account"]
        finally:
            local_cloud.stop()


def test_a_full_disk_is_a_sentence():
    notebook = nbformat.v4.new_notebook()
    assert _save(notebook, "/dev/full") == "it ran, but can't be saved: No space left on device."


def test_a_run_that_nobody_reads_is_torn_down(tmp_path):
    """`make run | head`: its lines can't be written any more."""
    environment = environment_of_a_run(tmp_path / "home", CHATLAB_RUN=str(tmp_path / "run"))
    process = subprocess.Popen(
        [sys.executable, "-m", "chatlab", "run"], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(timeout=60) == 1
    assert b"Traceback" not in said
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["failures"] == ["What read this run's lines has ended."]
    assert [notebook["name"] for notebook in summary["notebooks"]] == ["00_start", "99_teardown"]
    assert summary["leftovers"] == 0
