"""Building and removing when something goes wrong: a run is killed between two cells, AWS's control plane fails, is
slow or lags, an answer gets lost, a thing belongs to somebody else. And the budget with an alarm by e-mail."""

import json
import time
from contextlib import nullcontext

import pytest
from botocore.exceptions import ClientError

from chatlab import Lab, list_resources, permissions, poll
from chatlab.errors import NotOurs
from chatlab.inventory import list_tagged_arns
from chatlab.notebooks import BUILD, DEPLOY, FASTER, TEARDOWN
from chatlab.paths import state_dir
from tests.support.cells import cells, creating, run_cells
from tests.support.chat import is_heard
from tests.support.labs import lab_in, without_policy
from tests.support.policies import without

CREATING = BUILD[1:]
EVERY = [(name, number) for name in [*CREATING, TEARDOWN] for number in range(1, len(cells(name)) + 1)]
SOME = ("04_websocket_api", 2)  # an API without routes


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A lab that is built whole, in the local cloud in which the others are killed."""
    folder = tmp_path_factory.mktemp("cloud")
    (folder / "traits").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_TRAITS", f"@{folder / 'traits'}")
        with lab_in(folder) as lab:
            for name in CREATING:
                run_cells(name, creating(name))
            yield lab


@pytest.fixture
def traits(beside):
    """`traits("slow")`: from now on, and until the test ends, that cloud has these traits."""
    file = state_dir() / "traits"

    def choose(text):
        (following := file.with_name("next")).write_text(text)
        following.replace(file)

    yield choose
    choose("")


# --- killed ----------------------------------------------------------------------------------------------------------


def as_records(lab):
    return list_resources(lab).astype(str).to_dict("records")


def names(lab):
    """Everything in the cloud whose name begins with the lab's, found without the inventory."""
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


def build_until(notebook, number):
    """Build the chosen lab until the cell `number` of `notebook` is done, as if the kernel were killed then."""
    for name in [*CREATING, TEARDOWN][: [*CREATING, TEARDOWN].index(notebook)]:
        run_cells(name, creating(name))
    run_cells(notebook, number)


@pytest.mark.parametrize(
    ("notebook", "number"),
    [pytest.param(*case, marks=() if case == SOME else pytest.mark.long) for case in EVERY],
    ids=str,
)
def test_killed_anywhere_nothing_is_left_and_the_lab_beside_it_is_whole(beside, report, notebook, number):
    whole, lab = as_records(beside), Lab.choose("local", f"k{notebook[:2]}-{number}")
    build_until(notebook, number)
    made, left, seconds = len(list_resources(lab)), [], []
    for _ in range(2):
        began = time.monotonic()
        assert "Nothing is left" in run_cells(TEARDOWN)
        seconds.append(time.monotonic() - began)
        left.append(len([*list_resources(lab)["id"], *list_tagged_arns(lab), *names(lab)]))
    report({
        "killed after": f"{notebook}, cell {number}", "things made": made, "left by the teardown": left[0],
        "seconds": f"{seconds[0]:.1f}", "by a second one": left[1],
    })  # fmt: skip
    assert left == [0, 0]
    assert as_records(beside) == whole
    assert is_heard(beside)


def test_a_lab_whose_teardown_was_killed_can_be_built_again(beside):
    lab = Lab.choose("local", "again")
    build_until(TEARDOWN, 4)
    for name in CREATING:
        run_cells(name, creating(name))
    assert is_heard(lab)
    assert "Nothing is left" in run_cells(TEARDOWN)


# --- AWS fails, is slow or lags --------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("trait", ["faults", "lost-answers=0.2", "slow"])
def test_a_control_plane_that_fails_or_is_slow_does_not_stop_a_run(tmp_path, monkeypatch, trait):
    monkeypatch.setenv("CHATLAB_TRAITS", trait)
    with lab_in(tmp_path):
        for name in [*CREATING, TEARDOWN]:
            said = run_cells(name)
        assert "Nothing is left" in said


def test_lists_that_lag_half_a_minute_behind_do_not_stop_the_teardown(traits):
    traits("stale-lists=30")
    lab = Lab.choose("local", "lag")
    for name in CREATING:
        run_cells(name, creating(name))
    run_cells(FASTER, only=DEPLOY)
    # This reads the lists, so that they lag from now on.
    assert len(list_resources(lab)) > 20 and list_tagged_arns(lab)
    for _ in range(2):
        assert "Nothing is left" in run_cells(TEARDOWN)


def test_what_a_role_may_do_is_waited_for_also_by_whoever_may_not_ask_what_it_may_do(tmp_path, monkeypatch):
    (policy := tmp_path / "policy.json").write_text(
        json.dumps(without(permissions.policy(), "iam:SimulatePrincipalPolicy"))
    )
    monkeypatch.setenv("CHATLAB_POLICY", str(policy))
    monkeypatch.setenv("CHATLAB_RECORD", str(tmp_path / "asked"))
    monkeypatch.setenv("CHATLAB_TRAITS", "new-role=2,late-policy=2")  # Lambda waits for the role itself, too
    with lab_in(tmp_path / "home") as lab:
        for name in CREATING[:3]:
            run_cells(name, creating(name), namespace=(names := {}))
        with without_policy(lab, "connections-table"):
            pass  # so that what it allows is new
        run_cells(name, [7, 8], namespace=names)  # notebook 03 verifies
        made = creating(name := CREATING[3])
        run_cells(name, made, namespace=(names := {}))
        with without_policy(lab, "connections-table"):
            pass  # so that what it allows is new
        run_cells(name, [number for number in range(len(cells(name))) if number not in made][:3], namespace=names)
    questions = [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]
    assert ("iam:SimulatePrincipalPolicy", False) in {(each["action"], each["allowed"]) for each in questions}


def test_tags_that_come_late_and_a_bucket_name_that_is_busy_are_waited_for(traits):
    traits("late-tags=3,busy-bucket-name=2")
    lab = Lab.choose("local", "late")
    s3 = lab.client("s3")
    make = next(source for source in cells("05_frontend_on_s3") if "create_bucket(" in source)
    exec(make, variables := {"lab": lab, "s3": s3, "poll": poll, "ClientError": ClientError})
    s3.delete_bucket(Bucket=lab.bucket)
    began = time.monotonic()
    exec(make, variables)
    assert time.monotonic() - began > 1
    assert lab.owns(s3.get_bucket_tagging(Bucket=lab.bucket)["TagSet"])

    # As if killed within the cell that makes the table: a second later, it looks like a stranger's to the teardown.
    lab.client("dynamodb").create_table(
        TableName=lab.table,
        AttributeDefinitions=[{"AttributeName": "connection_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "connection_id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=lab.tag_list,
    )
    assert "table" not in list_resources(lab)["kind"].tolist()
    assert f"Deleted the table {lab.table}" in run_cells(TEARDOWN)


@pytest.mark.parametrize("is_on", [True, False])
def test_an_error_from_time_to_live_is_ignored_if_it_is_on(beside, is_on):
    """The answer got lost, boto3 asked again, and DynamoDB takes only one change an hour."""
    turn_on = next(source for source in cells("01_dynamodb_table") if "update_time_to_live(" in source)
    lab, message = Lab.choose("local", f"ttl-{is_on}".lower()), "Time to live has been modified multiple times"
    run_cells("01_dynamodb_table", 2)
    dynamodb = lab.client("dynamodb")
    update = dynamodb.update_time_to_live

    def again(**specification):
        if is_on:
            update(**specification)
        raise ClientError({"Error": {"Code": "ValidationException", "Message": message}}, "UpdateTimeToLive")

    dynamodb.update_time_to_live = again
    with nullcontext() if is_on else pytest.raises(ClientError, match=message):
        exec(turn_on, {"lab": lab, "dynamodb": dynamodb})
    status = dynamodb.describe_time_to_live(TableName=lab.table)["TimeToLiveDescription"]["TimeToLiveStatus"]
    assert (status == "ENABLED") == is_on


# --- the alarm: chosen and made in 00, found by the inventory, removed by 99 -----------------------------------------

ADDRESS = "ada@example.com"


def test_an_alarm_is_made_once_found_and_removed(beside):
    chosen = {"NAME": "alarmed", "EMAIL": ADDRESS}
    said = run_cells("00_start", **chosen)
    lab = Lab.load()
    budgets, budget = lab.client("budgets"), {"AccountId": lab.account_id, "BudgetName": lab.alarm}
    (notification,) = budgets.describe_notifications_for_budget(**budget)["Notifications"]
    assert (notification["Threshold"], notification["NotificationType"]) == (80, "ACTUAL")
    (who,) = budgets.describe_subscribers_for_notification(Notification=notification, **budget)["Subscribers"]
    assert who == {"SubscriptionType": "EMAIL", "Address": ADDRESS}
    said += run_cells("00_start", **chosen)
    assert "The budget exists already." in said
    assert ADDRESS not in said
    assert list_resources(lab)[["service", "kind", "id"]].values.tolist() == [
        ["budgets", "budget", "alarmed-us-east-1"]
    ]
    assert "Deleted the budget alarmed-us-east-1" in run_cells(TEARDOWN)
    assert list_resources(lab).empty


def test_a_strangers_budget_of_the_alarms_name_stops_notebook_00(beside):
    lab = Lab.choose("local", "taken")
    budget = {"BudgetName": lab.alarm, "BudgetType": "COST", "TimeUnit": "MONTHLY"}
    lab.client("budgets").create_budget(AccountId=lab.account_id, Budget=budget)
    with pytest.raises(NotOurs, match="There is a budget taken-us-east-1 already"):
        run_cells("00_start", NAME="taken", EMAIL=ADDRESS)
