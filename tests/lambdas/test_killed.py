"""A run that is killed between two cells leaves what the teardown finds, and a second lab beside it stays whole."""

import time

import pytest

from chatlab import Lab, list_resources
from chatlab.inventory import list_tagged_arns
from chatlab.notebooks import BUILD, TEARDOWN
from tests.support.cells import cells, creating, run_cells
from tests.support.chat import is_heard
from tests.support.labs import lab_in
from tests.support.tables import print_table

CREATING = BUILD[1:]
EVERY = [(name, number) for name in [*CREATING, TEARDOWN] for number in range(1, len(cells(name)) + 1)]
# A role without policies, log groups without functions, an API without routes, a lab half removed.
SOME = [("02_iam_role", 2), ("03_lambda_functions", 4), ("04_websocket_api", 2), (TEARDOWN, 4)]


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A lab that is built whole, in the local cloud in which the others are killed."""
    with lab_in(tmp_path_factory.mktemp("cloud")) as lab:
        for name in CREATING:
            run_cells(name, creating(name))
        yield lab


@pytest.fixture(scope="module")
def report(request):
    """Rows of the table of cases, which is printed at the end: docs/reliability.md has it."""
    rows = []
    yield rows
    columns = ["killed after", "things made", "left by the teardown", "seconds", "by a second one"]
    print_table(request, columns, [(f"{notebook}, cell {number}", *row) for notebook, number, *row in sorted(rows)])


def as_records(lab):
    return list_resources(lab).astype(str).to_dict("records")


def names(lab):
    """Everything in the cloud that begins with the lab's name, whoever's it is: not asked by way of the inventory."""
    client = lab.client
    found = [
        *client("dynamodb").list_tables()["TableNames"],
        *(role["RoleName"] for role in client("iam").list_roles()["Roles"]),
        *(function["FunctionName"] for function in client("lambda").list_functions()["Functions"]),
        *(api["Name"] for api in client("apigatewayv2").get_apis()["Items"]),
        *(bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]),
        *(group["logGroupName"].rpartition("/")[2] for group in client("logs").describe_log_groups()["logGroups"]),
    ]
    return [name for name in found if name == lab.name or name.startswith(f"{lab.name}-")]


def build_until(lab, notebook, number):
    """Build it until the cell `number` of `notebook` is done, and no further, as if the kernel were killed then."""
    for name in [*CREATING, TEARDOWN][: [*CREATING, TEARDOWN].index(notebook)]:
        run_cells(name, creating(name))
    run_cells(notebook, number)


def kill(beside, report, notebook, number):
    whole = as_records(beside)
    lab = Lab.choose("local", f"k{notebook[:2]}-{number}")
    build_until(lab, notebook, number)
    made, left, seconds = len(list_resources(lab)), [], []
    for _ in range(2):
        began = time.monotonic()
        assert "Nothing is left" in run_cells(TEARDOWN)
        seconds.append(time.monotonic() - began)
        left.append(len([*list_resources(lab)["id"], *list_tagged_arns(lab), *names(lab)]))
    report.append((notebook, number, made, left[0], f"{seconds[0]:.1f}", left[1]))
    assert left == [0, 0]
    assert as_records(beside) == whole
    assert is_heard(beside)


def name_of(value):
    return str(value)


@pytest.mark.parametrize(("notebook", "number"), SOME, ids=name_of)
def test_killed_half_way_nothing_is_left_and_the_lab_beside_it_is_whole(beside, report, notebook, number):
    kill(beside, report, notebook, number)


@pytest.mark.long
@pytest.mark.parametrize(("notebook", "number"), [case for case in EVERY if case not in SOME], ids=name_of)
def test_killed_anywhere_nothing_is_left_and_the_lab_beside_it_is_whole(beside, report, notebook, number):
    kill(beside, report, notebook, number)


def test_a_build_that_was_killed_can_be_gone_on_with(beside):
    lab = Lab.choose("local", "again")
    build_until(lab, "04_websocket_api", 3)
    for name in CREATING:
        run_cells(name, creating(name))
    assert is_heard(lab)
    run_cells(TEARDOWN)


def test_a_table_whose_tags_are_not_told_yet_is_not_forgotten(tmp_path, monkeypatch):
    """Killed within the cell that makes it: to the teardown, a second later, it looks like a stranger's."""
    monkeypatch.setenv("CHATLAB_TRAITS", "late-tags=3")
    with lab_in(tmp_path) as lab:
        lab.client("dynamodb").create_table(
            TableName=lab.table,
            AttributeDefinitions=[{"AttributeName": "connection_id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "connection_id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            Tags=lab.tag_list,
        )
        assert list_resources(lab).empty
        assert f"Deleted the table {lab.table}" in run_cells(TEARDOWN)


def test_lists_that_lag_half_a_minute_behind_do_not_stop_the_teardown(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_TRAITS", "stale-lists=30")
    with lab_in(tmp_path):  # the cloud stays for the lab that is chosen here
        lab = Lab.choose("local", "lag")
        for name in CREATING:
            run_cells(name, creating(name))
        assert len(list_resources(lab)) > 20 and list_tagged_arns(lab)  # so that the lists are read, and told again
        for _ in range(2):
            assert "Nothing is left" in run_cells(TEARDOWN)
