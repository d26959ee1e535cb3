"""The command line: what you type, how a command begins and ends, and what it says of labs on AWS."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
from botocore.exceptions import NoCredentialsError

from chatlab import Lab, LabError, cli, ledger, local_cloud, notebooks, paths
from chatlab.cli import chat, options, run
from chatlab.notebooks import Outcome, _save
from chatlab.paths import ROOT, ensure_writable, locked, make_run_dir
from chatlab.signals import children_uninterrupted, uninterrupted
from tests.support.processes import environment_of_a_run
from tests.support.stubs import execution


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where the lab's state is; no folder yet."""
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--connections", "abc"], 'CONNECTIONS has to be a whole number from 1 to 5000, and it is "abc".'),
        (["run", "--connections", "0"], 'CONNECTIONS has to be a whole number from 1 to 5000, and it is "0".'),
        (["run", "--broadcasts", "501"], 'BROADCASTS has to be a whole number from 1 to 500, and it is "501".'),
        (["up", "--target", "azure"], 'The target is "azure", but it has to be "local" or "aws".'),
        (["up", "--name", "My Chat"], "The name \"My Chat\" can't begin a bucket's name"),
        (["up", "--boundary", "lab"], 'BOUNDARY is "lab": it has to be the ARN of a managed policy.'),
        (["up", "--role-path", "lab"], 'ROLE_PATH is "lab": it has to be like /lab/, with 64 characters at most.'),
        (["up", "--tags", "team=web,AWS:x=y"], 'TAGS is "team=web,AWS:x=y": it has to be like team=web,cost-center=42'),
        (["up", "--public", "never"], 'PUBLIC is "never": it has to be yes or no.'),
        (["down", "--confirm", "Chat"], 'CONFIRM is "Chat": it has to be the lab\'s NAME.'),
        (["up", "--room-key", "too short"], "ROOM_KEY has to be 16 to 128 letters, digits, hyphens"),
        (["notebooks", "--target", "aws"], "The committed notebooks show the local cloud: leave TARGET out."),
        (["run", "--hours", "ten"], 'HOURS has to be a number, or "none", and it is "ten".'),
        (["capacity", "--rate", "0"], 'RATE has to be a number above 0, at most 1,000, and it is "0".'),
        (["capacity"], "No chat is up here: `make up` builds one. For another server, give --host."),
        (["dance"], "There is no command dance: `python -m chatlab --help` lists all."),
    ],
)
def test_a_mistake_is_one_sentence(home, arguments, sentence):
    with pytest.raises(LabError) as error:
        cli.main(arguments)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)
    assert not home.exists()


def test_the_largest_load_test_is_taken():
    parsed = options.parse("run", ["--connections", "5000", "--broadcasts", "500"])
    assert (parsed.connections, parsed.broadcasts) == (5000, 500)


@pytest.mark.parametrize(
    ("words", "hours"),
    [
        (["run", "--target", "aws"], 3),
        (["run", "--target", "aws", "--hours", "none"], None),
        (["run"], None),
        (["up", "--target", "aws"], None),
    ],
)
def test_a_run_on_aws_is_closed_after_three_hours_unless_you_say_otherwise(words, hours):
    parameters = options.notebook_parameters(options.parse(words[0], words[1:]))
    assert parameters.get("HOURS") == hours


def test_the_rooms_key_reaches_the_notebooks_by_the_environment_and_not_by_a_cell_s_text(monkeypatch):
    monkeypatch.setenv("CHATLAB_ROOM_KEY", "")
    parsed = options.parse("up", ["--room-key", "known-to-a-few-people"])
    assert os.environ["CHATLAB_ROOM_KEY"] == "known-to-a-few-people"
    assert "known" not in str(options.notebook_parameters(parsed))


def test_a_folder_that_cannot_be_written_is_one_sentence(home, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LabError, match=r"^The folder .*/file/home can't be written to: Not a directory\.$"):
        ensure_writable(tmp_path / "file" / "home")
    monkeypatch.setenv("CHATLAB_RUN", str(tmp_path / "file" / "run"))
    with pytest.raises(LabError, match=r"^The folder .*/file/run can't be written to: Not a directory\.$"):
        cli.main(["run"])


@pytest.mark.parametrize("command", ["up", "down"])
def test_of_two_builds_at_once_the_second_is_told_to_wait(home, command):
    at_work = r"^Another `make up` or `make down` is at work here: let it end\.$"
    with locked(home / "up-or-down.lock"), pytest.raises(LabError, match=at_work):
        cli.main([command])


def test_of_two_runs_into_one_folder_the_second_is_refused(home, tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_RUN", str(tmp_path / "here"))
    monkeypatch.setenv("CHATLAB_UNTIL", "")  # what a run sets is unset at the end
    with locked(home / "runs" / "here" / "run.lock"), pytest.raises(LabError) as error:
        cli.main(["run"])
    assert str(error.value) == (f"Another run is under way in {tmp_path / 'here'}: let it end, or name another folder.")


def test_runs_that_begin_within_the_same_second_have_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.delenv("CHATLAB_RUN", raising=False)
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    assert len({make_run_dir() for _ in range(5)}) == 5


def test_make_begins_with_the_setup():
    makefile = (ROOT / "Makefile").read_text()
    for command in ("run", "up", "down", "capacity", "notebooks", "rehearse", "test", "lab"):
        assert re.search(rf"^([a-z-]+ )*{command}( [a-z-]+)*: setup\b", makefile, re.MULTILINE), command


def make(*words, **environment):
    """`make` without the setup, which tests/chatlab/test_install.py tests."""
    return subprocess.run(
        ["make", "--silent", "--old-file=setup", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_make_gives_its_options_on_and_a_mistake_is_all_that_is_said(tmp_path):
    done = make("run", "CONNECTIONS=abc", **environment_of_a_run(tmp_path / "home"))
    assert done.returncode != 0
    said, *of_make = done.stderr.splitlines()
    assert said == 'CONNECTIONS has to be a whole number from 1 to 5000, and it is "abc".'
    assert all(line.startswith("make") for line in of_make) and done.stdout == ""
    assert not (tmp_path / "home").exists()


def test_a_variable_that_the_shell_has_by_chance_is_not_meant(tmp_path):
    """Under WSL, NAME is the computer's."""
    done = make("down", **environment_of_a_run(tmp_path, NAME="MY PC"))
    assert done.returncode == 0, done.stderr
    assert "There is no lab here that could be removed." in done.stdout


@pytest.fixture
def aws(home, tmp_path, monkeypatch):
    """A made-up AWS: how much is `left`, which notebooks are to fail, and which were run."""
    answers = {"left": 0, "fails": {}, "run": []}
    monkeypatch.setenv("CHATLAB_RUN", str(tmp_path / "run"))
    for variable in ("CHATLAB_UNTIL", "CHATLAB_LEDGER"):  # what a run sets is unset at the end
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setattr(Lab, "account_id", "1" * 12)

    def look(lab):
        if isinstance(answers["left"], Exception):
            raise answers["left"]
        return pd.DataFrame([("dynamodb", "table", "chat", None)] * answers["left"])

    def execute(name, parameters):
        answers["run"].append(name)
        if name == "00_start":
            Lab.choose(parameters["TARGET"], parameters["NAME"], parameters["REGION"], parameters["PROFILE"])
            answers["left"] = answers.get("later", 0)
        reason = answers["fails"].get(name, "")
        return Outcome(name, 1.0, not reason, reason)

    monkeypatch.setattr(chat, "list_resources", look)
    monkeypatch.setattr(chat, "list_labs", lambda lab: answers.get("tagged", []))
    monkeypatch.setattr(notebooks, "_Execution", execution(execute))
    return answers


RUN_ON_AWS = ["run", "--target", "aws", "--name", "demo", "--region", "eu-west-1"]


def test_credentials_that_expire_leave_the_command_to_go_on_with(aws, home, capsys, monkeypatch):
    aws["fails"] = {"03_lambda_functions": "cell 2: expired.", "99_teardown": "cell 2: expired."}
    aws["later"] = LabError("The credentials have expired.")
    assert cli.main(RUN_ON_AWS) == 1
    said = capsys.readouterr().out
    assert "Leftovers: not known" in said
    assert "It is not known what is left: `make down TARGET=aws NAME=demo REGION=eu-west-1` removes it." in said
    assert "FAILED: 03_lambda_functions, cell 2: expired." in said
    assert aws["run"] == [*notebooks.BUILD[:4], notebooks.TEARDOWN]  # after a failure the others are not run
    monkeypatch.delenv("CHATLAB_LEDGER")
    monkeypatch.setenv("CHATLAB_HOME", str(home))
    assert [entry.settings.name for entry in ledger.entries()] == ["demo"]  # so a plain `make down` finds it


def test_what_is_left_is_counted_with_the_command_to_go_on_with(aws, capsys):
    aws["fails"] = {"99_teardown": "cell 9: refused."}
    aws["later"] = 3
    assert cli.main(RUN_ON_AWS) == 1
    left = "3 resources are left: `make down TARGET=aws NAME=demo REGION=eu-west-1` removes it."
    assert left in capsys.readouterr().out


def test_a_run_on_aws_does_not_touch_a_lab_that_is_there(aws):
    aws["left"] = 1
    with pytest.raises(LabError, match=r"remove that lab with `make down TARGET=aws NAME=demo REGION=eu-west-1`"):
        cli.main(RUN_ON_AWS)
    assert aws["run"] == []


def test_a_run_on_aws_that_cannot_be_begun_is_one_sentence(aws):
    aws["left"] = NoCredentialsError()
    with pytest.raises(LabError, match="It is impossible to know what exists of the lab: Unable to locate credentials"):
        cli.main(RUN_ON_AWS)
    assert aws["run"] == []


def test_a_lab_of_another_folder_is_used_and_that_is_said(aws, capsys):
    aws["left"] = 2
    aws["fails"] = {"00_start": "cell 1: no."}
    with pytest.raises(LabError) as error:
        cli.main(["up", *RUN_ON_AWS[1:]])
    assert "was not made from this folder: its parts are found by their tag." in capsys.readouterr().out
    assert "`make down TARGET=aws NAME=demo REGION=eu-west-1` removes it" in str(error.value)


def test_labs_of_other_folders_are_named_with_the_command_that_removes_them(aws, capsys):
    aws["tagged"] = [("demo", False), ("demo", True), ("theirs", False), ("another", True)]
    assert cli.main(["down", *RUN_ON_AWS[1:]]) == 0
    said = capsys.readouterr().out
    assert "The lab demo on AWS, eu-west-1, which was not made from this folder: it is found by its tag." in said
    assert (
        "Found by its tag, made in another folder or on another machine: The lab theirs on AWS, eu-west-1: "
        "`make down TARGET=aws NAME=theirs REGION=eu-west-1`." in said
    )
    assert said.count("Found by its tag") == 1
    assert (
        "Left alone, because it is a colleague's: The lab demo on AWS, eu-west-1. "
        "`make down TARGET=aws NAME=demo REGION=eu-west-1 CONFIRM=demo` removes it, too." in said
    )
    assert cli.main(["down", *RUN_ON_AWS[1:], "--confirm", "demo"]) == 0
    assert "colleague" not in capsys.readouterr().out


def test_renewed_are_the_notebooks_and_the_readme_s_picture(tmp_path, monkeypatch):
    done, lab = tmp_path / "run", tmp_path / "lab"
    for folder in (done / "notebooks", done / "plots", lab / "notebooks", lab / "docs" / "pictures"):
        folder.mkdir(parents=True)
    cells = [nbformat.v4.new_code_cell(f"{number}", execution_count=number) for number in (1, 2, 3)]
    cells[1].metadata.tags = [notebooks.INJECTED]
    cells[2].outputs = [nbformat.v4.new_output("execute_result", execution_count=3)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), done / "notebooks" / "00_start.ipynb")
    for name in ("7-0 ripple.gif", "7-0 ripple.png", "6-1 latency distribution.png"):
        (done / "plots" / name).write_text(name)
    monkeypatch.setenv("CHATLAB_RUN", str(done))
    monkeypatch.setattr(run, "_run_all", lambda options, practice: 0)
    monkeypatch.setattr(run, "NOTEBOOKS", lab / "notebooks")
    monkeypatch.setattr(run, "ROOT", lab)
    assert run.renew_notebooks([]) == 0
    renewed = nbformat.read(lab / "notebooks" / "00_start.ipynb", as_version=4).cells
    assert [(cell.source, cell.execution_count) for cell in renewed] == [("1", 1), ("3", 2)]
    assert renewed[1].outputs[0].execution_count == 2
    kept = {path.name: path.read_text() for path in (lab / "docs" / "pictures").iterdir()}
    assert kept == {"ripple.gif": "7-0 ripple.gif", "ripple.png": "7-0 ripple.png"}


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


@pytest.fixture
def full():
    """A machine on which no file can grow beyond 1,000 bytes; the system's words for that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield "File too large"
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_a_sentence_and_what_was_saved_before_stays(tmp_path, full):
    path = tmp_path / "it.ipynb"
    assert _save(nbformat.v4.new_notebook(), path) == ""
    before = path.read_bytes()
    longer = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("x" * 1000)])
    assert _save(longer, path) == f"it ran, but can't be saved: {full}."
    assert [each.name for each in tmp_path.iterdir()] == ["it.ipynb"]
    assert path.read_bytes() == before


def test_a_folder_on_a_full_disk_cannot_be_written_to(tmp_path, full):
    with pytest.raises(LabError, match=f"can't be written to: {full}"):
        ensure_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


INTERRUPTED = """
import os, runpy, signal, sys

class CtrlC:
    def find_spec(self, name, *_):
        if name == "chatlab.cli.run":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, CtrlC())
sys.argv[1:] = ["run"]
runpy.run_module("chatlab", run_name="__main__")
"""


def python(code, tmp_path):
    """Run this code in a Python of its own; its status, output and errors."""
    environment = environment_of_a_run(tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def test_ctrl_c_while_a_command_loads_ends_it_without_a_word(tmp_path):
    assert python(INTERRUPTED, tmp_path) == (-signal.SIGINT, "", "")


ENDED = """
import signal, sys
from chatlab import LabError
from chatlab.signals import exit_status

def command():
    print("begun", flush=True)
    {code}

status = exit_status(command)
print("over", status)
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("return 3", (3, "begun\nover 3\n", "")),
        ("raise LabError('It is so.')", (1, "begun\nover 1\n", "It is so.\n")),
        ("signal.raise_signal(signal.SIGINT)", (1, "begun\nover 1\n", "Stopped.\n")),
        ("signal.raise_signal(signal.SIGTERM)", (1, "begun\nover 1\n", "Stopped.\n")),
        ("signal.raise_signal(signal.SIGHUP)", (1, "begun\n", "")),  # nobody is there to read more
        ("raise BrokenPipeError", (1, "begun\n", "")),
    ],
)
def test_a_command_that_is_ended_says_so_in_a_word_where_somebody_reads_it(code, ended, tmp_path):
    assert python(ENDED.format(code=code), tmp_path) == ended


def test_ctrl_c_does_not_reach_what_a_command_starts_for_itself():
    code = "import signal; signal.raise_signal(signal.SIGINT); print('goes on')"
    with children_uninterrupted():
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.communicate(timeout=60)[0] == "goes on\n"
    with uninterrupted():
        signal.raise_signal(signal.SIGTERM)  # nor what must not be half done
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


COMMAND = """
import os
from chatlab import __main__, cli
cli.load = lambda words: lambda: print(f"{os.umask(0):04o}")
__main__.run([])
"""


@pytest.mark.parametrize(
    "command", [[sys.executable, "-c", COMMAND], ["make", "--no-print-directory", "--eval", "mask: ; @umask", "mask"]]
)
def test_whatever_a_shell_allows_nobody_else_may_change_what_a_command_writes(command):
    if command[0] == "make" and b"GNU Make 3" in subprocess.check_output(["make", "--version"]):
        pytest.skip("This make, as macOS has it, has no .SHELLFLAGS.")
    command = ["sh", "-c", 'umask 0; exec "$@"', "sh", *command]
    assert subprocess.check_output(command, cwd=ROOT, text=True) == "0022\n"
