"""The notebooks: each twice, each with its exercises, each without what it stands on; and what is committed of them.

That all of them run in kernels, one after another, is in test_run.py.
"""

import re
import sys
import time

import nbformat
import pytest
import websocket

import chatlab
from chatlab import LabError, list_resources, page, poll, preflight
from chatlab.lab import STAGE
from chatlab.notebooks import BUILD, CAPSTONE, DEPLOY, FASTER, MEASURE, OPTIONAL, TEARDOWN
from chatlab.paths import NOTEBOOKS
from chatlab.privacy import redact, redact_values
from tests.support.cells import AS_NO_PERSON_WRITES, cells, creating, run_cell, run_cells, shown
from tests.support.exercises import exercises
from tests.support.labs import chat_in, everything, lab_in, without_policy
from tests.support.processes import processes_of

ALL = [*BUILD, *MEASURE, CAPSTONE, *OPTIONAL.values(), TEARDOWN]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A lab that is built whole."""
    with lab_in(tmp_path_factory.mktemp("built")) as lab:
        for name in BUILD[1:]:
            run_cells(name, creating(name))
        yield lab


def test_running_each_again_changes_nothing(built):
    """What verifies is run again by the test of practice."""
    before = everything(built)
    run_cells("00_start")
    for name in BUILD[1:]:
        run_cells(name, creating(name))
    assert everything(built) == before


def test_a_run_that_dies_before_it_deploys_its_routes_is_made_good_by_the_next(built):
    gateway, api = built.client("apigatewayv2"), {"ApiId": built.require_api()}

    def deployment():
        return gateway.get_stage(StageName=STAGE, **api)["DeploymentId"]

    before = deployment()
    (route,) = (item for item in gateway.get_routes(**api)["Items"] if item["RouteKey"] == "$disconnect")
    gateway.delete_route(RouteId=route["RouteId"], **api)
    gateway.delete_integration(IntegrationId=route["Target"].removeprefix("integrations/"), **api)
    run_cells("04_websocket_api", stop_after=3)  # it makes them anew, and dies
    assert deployment() == before
    run_cells("04_websocket_api", creating("04_websocket_api"))
    assert deployment() != before


def state(lab):
    """`everything` without the times: what practice breaks and puts back is newer afterwards."""
    found = everything(lab)
    for function in lab.functions.values():
        del found[function]["LastModified"]
    for resource in found["inventory"]:
        del resource["created"]
    return found


BESIDE = OPTIONAL["appsync"]
MAKES_ITS_API = 1 + next(number for number, cell in enumerate(cells(BESIDE)) if "create_api_key" in cell)
"""How many of its cells make what it stands on."""
# Notebooks 06, 08 and 11 take most of a minute each; test_exercises.py has their exercises.
LONG = [pytest.param(name, marks=pytest.mark.long) for name in [*MEASURE, BESIDE]]


@pytest.mark.parametrize("name", [*BUILD[1:], *LONG])
def test_practice_leaves_the_lab_as_it_was_and_only_solutions_are_right(built, name):
    if name == FASTER:
        run_cells(FASTER, only=DEPLOY)
    if name == BESIDE:
        run_cells(BESIDE, MAKES_ITS_API)
    before, names = state(built), {}
    run_cells(name, practice=True, namespace=names)
    assert state(built) == before
    assert len(exercises(name)) == 3
    for exercise in exercises(name):
        assert not run_cell(exercise.skeleton, names).is_right
        answer = run_cell(exercise.solution, names)
        assert answer.is_right, answer
    assert state(built) == before


def test_notebook_11_makes_its_api_its_namespace_and_its_key_once(built):
    for _ in range(2):
        run_cells(BESIDE, MAKES_ITS_API)
        found = list_resources(built).query("service == 'appsync'")
        assert sorted(found["kind"]) == ["api key", "channel namespace", "event api"]
    built.client("appsync").delete_api(apiId=built.find_event_api()["apiId"])


@pytest.mark.long
@pytest.mark.parametrize("number", range(1, len(cells(BESIDE)) + 1))
def test_killed_after_any_cell_of_notebook_11_nothing_is_left(tmp_path, number):
    with chat_in(tmp_path):
        run_cells(BESIDE, number, CONNECTIONS=10, BROADCASTS=2, ROUNDS=1)
        assert "things before, 0 now" in run_cells(TEARDOWN)  # by both finders


@pytest.fixture
def waited(monkeypatch):
    """Whatever is waited for takes a fiftieth of the time; what, and how long it would be waited for."""
    waited = []

    def in_a_hurry(check, what, timeout_s=60, every_s=0.5, **options):
        waited.append((what, timeout_s))
        return poll(check, what, timeout_s / 50, every_s / 50, **options)

    monkeypatch.setattr(chatlab, "poll", in_a_hurry)
    return waited


def test_a_name_that_dns_does_not_know_yet_is_waited_for_longer_than_a_handshake(built, waited, monkeypatch):
    connect, known_at = websocket.create_connection, time.monotonic() + 90 / 50

    def connect_later(*arguments, **options):
        if time.monotonic() < known_at:
            raise websocket.WebSocketAddressException("[Errno -2] Name or service not known")
        return connect(*arguments, **options)

    monkeypatch.setattr(websocket, "create_connection", connect_later)
    opened = 1 + next(number for number, cell in enumerate(cells("04_websocket_api")) if "DNS to know" in cell)
    run_cells("04_websocket_api", opened, namespace=(names := {}))
    assert ("DNS to know the API's name", 1000) in waited
    for socket in (names["ada"], names["grace"]):
        socket.close()
    poll(lambda: names["ids"]().isdisjoint({names["ada_id"], names["grace_id"]}), "both to leave", every_s=0.02)


def test_the_notebook_that_failed_says_which_permission_is_missing(built, waited):
    """It waits for the permission first, here for a shorter time."""
    with without_policy(built, "connections-table"), pytest.raises(LabError) as error:
        run_cells("04_websocket_api")
    assert str(error.value) == (
        "The chat does not work (the handshake was refused with 500), because the role chat-lambda-us-east-1 lacks "
        "dynamodb:PutItem on table/chat: run notebook 02_iam_role again."
    )
    assert waited[-1] == ("the role's permissions", 10)


def test_without_node_the_page_s_notebook_says_where_to_get_it(built, tmp_path, monkeypatch):
    """There is no npm beside Python and none on the PATH."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    begin, make_the_page = cells("05_frontend_on_s3")[:2]
    exec(begin, names := {})
    with pytest.raises(LabError) as error:
        exec(make_the_page, names)
    assert str(error.value) == (
        "Node.js is missing: `make setup` installs it into .venv, and so does environment.yml for conda."
    )


@pytest.mark.slow
def test_where_no_bucket_may_be_public_the_page_is_served_from_this_machine(tmp_path, monkeypatch):
    """The notebook says who forbids it, the page works, and its process ends with the teardown."""
    monkeypatch.setenv("CHATLAB_TRAITS", "no-public-buckets")
    with chat_in(tmp_path) as lab:
        try:
            said = run_cells("05_frontend_on_s3", namespace=(names := {}), instead={})
            assert preflight.BY_ACCOUNT in said
            assert lab.page_url == page.url(lab)
            assert f"So the page is served from this machine, to nobody else: {lab.page_url}" in said
            assert names["picture"].data.startswith(b"\x89PNG")  # of two people who chat
            run_cells(TEARDOWN)
            assert page.url(lab) is None
        finally:
            page.stop(lab)
    assert processes_of(tmp_path) == []


def test_without_notebook_00_a_notebook_says_where_to_begin(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path))
    for name in [*BUILD[1:], *MEASURE, CAPSTONE, *OPTIONAL.values()]:
        with pytest.raises(LabError, match=r"^No lab is chosen yet: run notebook 00_start first\.$"):
            run_cells(name)


@pytest.mark.parametrize("name", ALL)
def test_the_committed_notebook_is_whole(name):
    """It carries the outputs of a run in order, without an error, and as a person would write them: nothing private."""
    text = (NOTEBOOKS / f"{name}.ipynb").read_text()
    notebook = nbformat.reads(text, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert any(cell.outputs for cell in code)
    assert [cell.source for cell in notebook.cells if redact(cell.source) != cell.source] == []
    assert [cell.outputs for cell in code if redact_values(cell.outputs) != cell.outputs] == []
    stripped = re.sub(r'"image/png": "[^"]*"', "", text)
    assert re.findall(r"/home/|/root/|/Users/|/tmp/|Traceback \(most", stripped) == []
    assert not AS_NO_PERSON_WRITES.search(shown(NOTEBOOKS / f"{name}.ipynb"))


def test_the_numbers_of_the_notebooks_are_those_that_are_run():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == ALL
