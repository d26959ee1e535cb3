"""Which labs are open, and that a teardown never removes another lab than the one that is meant."""

import json

import nbformat
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatlab import Lab, LabError, cli, ledger, local_cloud, notebooks
from chatlab.cli import chat
from chatlab.notebooks import TEARDOWN, Outcome, inject, without_injected
from chatlab.settings import NAME_PATTERN, Settings
from tests.support.strategies import ANY_JSON, objects
from tests.support.stubs import execution


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home, and credentials whose account is known without asking AWS."""
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path))
    credentials = tmp_path / "credentials"
    credentials.write_text("[work]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(
        Lab, "account_id", property(lambda lab: "222222222222" if lab.settings.profile == "work" else "1" * 12)
    )
    return tmp_path


@pytest.fixture
def executed(monkeypatch):
    """(notebook, parameters) of each execution, which is made up. The teardown's closes its lab in the ledger."""
    calls = []

    def execute(name, parameters):
        calls.append((name, parameters))
        if name == TEARDOWN:
            Lab.find(*(parameters[key] for key in ("TARGET", "NAME", "REGION", "PROFILE"))).close()
        return Outcome(name, 1.0, True)

    monkeypatch.setattr(notebooks, "_Execution", execution(execute))
    monkeypatch.setattr(chat, "list_labs", lambda lab: [])
    return calls


NAMES = st.from_regex(NAME_PATTERN, fullmatch=True)


@given(
    st.one_of(
        st.binary(),
        ANY_JSON.map(json.dumps).map(str.encode),
        objects(
            target=st.just("local"), name=NAMES, region=st.just("us-east-1"), profile=st.none(), place=st.text(),
            since=st.text(), hours=st.none(),
        ).map(json.dumps).map(str.encode),
        st.just(b"[" * 100_000),
    )
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_an_entry_or_is_named(home, text):
    (path := home / "entry.json").write_bytes(text)
    try:
        assert isinstance(ledger._read(path), ledger.Entry)
    except LabError as error:
        assert "\n" not in str(error)


def names():
    return [entry.settings.name for entry in ledger.entries()]


def test_a_lab_that_is_chosen_again_has_been_open_since_the_first_time():
    Lab.choose("aws", "mine", "eu-west-1")
    path = ledger._path(ledger.entries()[0])
    path.write_text(path.read_text().replace(ledger.entries()[0].since, "2026-11-01T10:00:00Z"))
    Lab.choose("aws", "mine", "eu-west-1", hours=8)
    (entry,) = ledger.entries()
    assert (entry.since, entry.options.hours) == ("2026-11-01T10:00:00Z", 8)
    assert Lab.load().options == Lab.find("aws", "mine").options == entry.options


def test_a_lab_is_written_down_before_it_is_made_and_until_it_is_empty():
    lab = Lab.choose("aws", "mine", "eu-west-1")
    (entry,) = ledger.entries()
    assert entry.settings == Settings("aws", "mine", "eu-west-1")
    assert "1" * 12 not in json.dumps(ledger._read(ledger._path(entry)).place)
    for found in (Lab.load(), Lab.find(), Lab.choose("aws", "mine", "eu-west-1")):
        assert found.settings == lab.settings
    assert len(ledger.entries()) == 1
    lab.close()
    assert ledger.entries() == []


def test_plain_down_goes_to_the_one_lab_that_is_open(executed, capsys):
    """A run on AWS that is killed leaves its lab. "Nothing is left" must not be said of another target."""
    Lab.choose("aws", "chat", "eu-west-1", "work")
    assert cli.main(["down"]) == 0
    settings = {"TARGET": "aws", "NAME": "chat", "REGION": "eu-west-1", "PROFILE": "work"}
    assert executed == [(TEARDOWN, settings | {"CONFIRM": None, "OPTIONS": {}})]  # whatever notebook 99 says
    assert "The lab chat on AWS, eu-west-1." in capsys.readouterr().out
    assert names() == []


def test_of_several_one_has_to_be_named_and_the_others_stay(executed, capsys):
    Lab.choose("aws", "chat", "eu-west-1")
    Lab.choose("aws", "demo", "eu-west-1")
    with pytest.raises(LabError) as error:
        cli.main(["down"])
    assert "make down TARGET=aws NAME=chat REGION=eu-west-1" in str(error.value)
    assert "make down TARGET=aws NAME=demo REGION=eu-west-1" in str(error.value)
    assert executed == []
    assert cli.main(["down", "--name", "demo"]) == 0
    said = capsys.readouterr().out
    assert "Still open: The lab chat on AWS, eu-west-1, since" in said
    assert names() == ["chat"]
    assert cli.main(["down"]) == 0
    assert names() == []
    assert cli.main(["down"]) == 0
    assert "There is no lab here that could be removed" in capsys.readouterr().out
    assert len(executed) == 2


def test_an_error_of_aws_that_a_command_prints_shows_no_account(executed, capsys, monkeypatch):
    said = "User: arn:aws:iam::123456789012:user/alice is not authorized to perform: tag:GetResources"

    def refuse(lab):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": said}}, "GetResources")

    monkeypatch.setattr(chat, "list_labs", refuse)
    assert cli.main(["down", "--target", "aws", "--name", "theirs", "--region", "eu-west-1"]) == 0
    printed = capsys.readouterr().out
    assert "tag:GetResources" in printed and "123456789012" not in printed and "alice" not in printed


def test_a_profile_is_remembered_and_another_account_is_refused(monkeypatch):
    Lab.choose("aws", "chat", "eu-west-1", "work")
    assert Lab.find("aws", "chat").settings.profile == "work"
    Lab.choose("aws", "chat", "us-west-2")
    monkeypatch.setattr(Lab, "account_id", "333333333333")
    for open_it in (Lab.load, Lab.find, lambda: Lab.find("aws", "chat", "us-west-2")):
        with pytest.raises(LabError, match="made in another AWS account than the one that your credentials are for"):
            open_it()


def test_a_name_in_two_accounts_is_the_one_of_the_credentials(monkeypatch):
    Lab.choose("aws", "chat", "eu-west-1")
    monkeypatch.setattr(Lab, "account_id", "333333333333")
    Lab.choose("aws", "chat", "eu-west-1")
    assert len(ledger.entries()) == 2
    Lab.find("aws", "chat", "eu-west-1").close()
    monkeypatch.setattr(Lab, "account_id", "1" * 12)
    assert Lab.find("aws", "chat", "eu-west-1").account_id == "1" * 12
    assert len(ledger.entries()) == 1


def test_without_a_choice_or_with_a_spoilt_one_a_notebook_says_where_to_begin(home):
    with pytest.raises(LabError, match="run notebook 00_start first"):
        Lab.load()
    (home / ledger.CURRENT_FILE).write_text("{")
    with pytest.raises(LabError, match="delete it, and run notebook 00_start again"):
        Lab.load()


def test_the_local_cloud_stops_with_its_last_lab(capsys):
    try:
        chat, demo = Lab.choose("local", "chat"), Lab.choose("local", "demo")
        assert names() == ["chat", "demo"]
        demo.close()
        assert "Still open: The lab chat on the local cloud, since" in capsys.readouterr().out
        assert chat.client("sts").get_caller_identity()["Account"]
        chat.close()
        assert not local_cloud.status()["running"]
        Lab.choose("local", "demo")
        local_cloud.stop()  # or it dies: what was in it is gone with it
        assert names() == []
        Lab.choose("local", "chat")
        assert names() == ["chat"]
    finally:
        local_cloud.stop()


def test_what_a_run_is_told_wins_over_what_the_notebook_says():
    """A plain `make run` stays on the local cloud, whatever was edited in notebook 00."""
    source = 'TARGET = "aws"\nNAME = "mine" if TARGET else HOURS'
    cells = [nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})]
    notebook = nbformat.v4.new_notebook(cells=cells)
    inject(notebook, Settings().parameters | {"HOURS": None, "CONNECTIONS": 3, "BROADCASTS": 2})
    said = {}
    for cell in notebook.cells:
        exec(cell.source, said)
    assert (said["TARGET"], said["NAME"]) == ("local", "chat")
    assert "CONNECTIONS" not in said
    assert "REGION" not in said
    assert "HOURS" not in said  # which is read there, and not assigned
    assert [cell.source for cell in without_injected(notebook).cells] == [source]


def test_one_of_another_folder_is_found_by_its_tag_if_it_is_named(executed, capsys):
    assert cli.main(["down", "--target", "aws", "--name", "theirs", "--region", "eu-west-1"]) == 0
    assert "is found by its tag" in capsys.readouterr().out
    assert executed[0][1]["NAME"] == "theirs"
