"""What has the lab's name but not its tags is somebody else's: it is the same afterwards, whatever is run."""

import pytest

import chatlab
from chatlab import Lab, LabError, list_resources, poll
from chatlab.errors import NotOurs
from chatlab.notebooks import BUILD, TEARDOWN
from tests.support.cells import creating, run_cells
from tests.support.labs import lab_in
from tests.support.strangers import KINDS, plain


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A local cloud for all cases, each of which has a lab of its own name in it."""
    with lab_in(tmp_path_factory.mktemp("cloud")) as lab:
        yield lab


STOPS_AT = {
    "table": "01_dynamodb_table", "role": "02_iam_role", "functions": "03_lambda_functions",
    "log-groups": "03_lambda_functions", "bucket": "05_frontend_on_s3", "schedules": "04_websocket_api",
    "switch-role": "04_websocket_api",
}  # fmt: skip
TAGS = {"untagged": {}, "tagged": {"chatlab": "theirs"}}
HAS_NO_TAGS = {"api", "bucket", "functions"}
"""Kinds of which AWS says in another way that there are no tags than that they are none."""


def case(kind, word):
    """A kind with or without tags. The one of the two that says more is in `make test`."""
    says_more = word == ("untagged" if kind in HAS_NO_TAGS else "tagged")
    return pytest.param(kind, TAGS[word], id=f"{kind}-{word}", marks=[] if says_more else pytest.mark.long)


def build(check):
    """Run what the notebooks create, each by itself; which errors stopped which. Afterwards `check` each."""
    stopped = {}
    for name in BUILD[1:]:
        try:
            run_cells(name, creating(name))
        except LabError as error:
            stopped[name] = error
        check(name)
    return stopped


@pytest.mark.parametrize(("kind", "tags"), [case(kind, word) for kind in KINDS for word in TAGS])
def test_a_strangers_thing_of_the_labs_name_is_the_same_afterwards(cloud, kind, tags):
    make, describe = KINDS[kind]
    lab = Lab.choose("local", f"{kind}-{'b' if tags else 'a'}", hours=8)
    make(lab, tags)
    before = plain(describe(lab))

    def is_unchanged(name):
        assert plain(describe(lab)) == before, f"{name} changed it"

    stopped = build(is_unchanged)
    if kind in ("api", "budget"):  # an API's name need not be unique, so there are two now; a budget is notebook 00's
        assert not stopped
    else:
        first = next(iter(stopped))
        assert first == STOPS_AT[kind]
        assert isinstance(stopped[first], NotOurs) and "it is not this lab's" in str(stopped[first])
    said = run_cells(TEARDOWN)
    assert kind == "api" or "Left alone, because it is not this lab's: " in said
    is_unchanged(TEARDOWN)
    assert list_resources(lab).empty


@pytest.mark.parametrize("word", TAGS)
def test_where_all_is_a_strangers_nothing_is_made_and_nothing_changed(cloud, word, monkeypatch):
    lab = Lab.choose("local", f"all-{word}", hours=8)
    for make, _ in KINDS.values():
        make(lab, TAGS[word])

    def all_of_it():
        return {kind: plain(describe(lab)) for kind, (_, describe) in KINDS.items()}

    before = all_of_it()

    def is_unchanged(name):
        assert all_of_it() == before, f"{name} changed something"

    stopped = build(is_unchanged)
    assert list(stopped) == BUILD[1:]
    assert all(isinstance(error, NotOurs) for error in stopped.values())
    # A table without tags may be a new one, of which DynamoDB does not tell them yet: here it would.
    monkeypatch.setattr(chatlab, "poll", lambda check, what, **_: poll(check, what, timeout_s=1))
    assert run_cells(TEARDOWN).count("Left alone, because it is not this lab's: ") == 12
    is_unchanged(TEARDOWN)
    assert list_resources(lab).empty
