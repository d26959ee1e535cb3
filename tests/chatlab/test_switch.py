"""The switch for the forgetful: after `HOURS` the stage is gone by itself, and so is the schedule."""

import json
from datetime import UTC, datetime

import pytest
import websocket

from chatlab import Lab, LabError, list_resources, poll
from chatlab.lab import STAGE
from chatlab.notebooks import TEARDOWN
from tests.support.cells import creating, run_cells
from tests.support.chat import is_heard
from tests.support.labs import build_chat

SOON = 1 / 3600  # hours


def has_schedule(lab):
    """Whether the inventory finds a schedule."""
    return "schedule" in list_resources(lab)["kind"].tolist()


def stages(lab):
    """The names of the API's stages."""
    items = lab.client("apigatewayv2").get_stages(ApiId=lab.require_api())["Items"]
    return [stage["StageName"] for stage in items]


def the_role_may_delete_this_stage_and_nothing_else(lab):
    iam = lab.client("iam")
    role = iam.get_role(RoleName=lab.switch_role)["Role"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": lab.account_id}}
    api = f"arn:aws:apigateway:{lab.region}::/apis/{lab.require_api()}"
    for action, resource, decision in [
        ("apigateway:DELETE", f"{api}/stages/{STAGE}", "allowed"),
        ("apigateway:DELETE", api, "implicitDeny"),
        ("apigateway:PATCH", f"{api}/stages/{STAGE}", "implicitDeny"),
    ]:
        question = {"PolicySourceArn": role["Arn"], "ActionNames": [action], "ResourceArns": [resource]}
        (answer,) = iam.simulate_principal_policy(**question)["EvaluationResults"]
        assert answer["EvalDecision"] == decision


def a_role_without_permission_deletes_nothing(lab):
    iam, scheduler = lab.client("iam"), lab.client("scheduler")
    for name in iam.list_role_policies(RoleName=lab.switch_role)["PolicyNames"]:
        iam.delete_role_policy(RoleName=lab.switch_role, PolicyName=name)
    schedule = scheduler.get_schedule(Name="remove-the-stage", GroupName=lab.switch)
    kept = {name: schedule[name] for name in ("Name", "GroupName", "FlexibleTimeWindow", "Target")}
    now = f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})"
    scheduler.update_schedule(**kept, ScheduleExpression=now, ActionAfterCompletion="DELETE")
    poll(lambda: not has_schedule(lab), "the schedule to be over", timeout_s=30)
    assert stages(lab) == [STAGE]


def choose(hours):
    """Create what notebooks 00 and 04 create, with a switch after these hours; return what 04 says."""
    run_cells("00_start", HOURS=hours)
    return run_cells("04_websocket_api", creating("04_websocket_api"))


def test_the_stage_is_removed_when_the_hours_are_over_and_comes_back_with_notebook_04(lab):
    build_chat()  # without a switch, which is chosen now
    choose(8)
    assert has_schedule(lab)
    assert stages(lab) == [STAGE]
    the_role_may_delete_this_stage_and_nothing_else(lab)

    assert "The group of schedules exists already." in choose(SOON)
    poll(lambda: not has_schedule(lab), "the schedule to be over", timeout_s=30)
    assert stages(lab) == []
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        websocket.create_connection(lab.websocket_url(lab.require_api()), timeout=5)

    for hours in (8, 9):  # made again, and then set anew
        assert "The group of schedules exists already." in choose(hours)
        assert stages(lab) == [STAGE]
        schedule = lab.client("scheduler").get_schedule(Name="remove-the-stage", GroupName=lab.switch)
        assert schedule["ActionAfterCompletion"] == "DELETE"
        assert json.loads(schedule["Target"]["Input"]) == {"ApiId": lab.require_api(), "StageName": STAGE}
    assert is_heard(lab)

    a_role_without_permission_deletes_nothing(lab)
    said = run_cells(TEARDOWN)
    assert f"Deleted the schedule group {lab.switch}" in said
    assert f"Deleted the role {lab.switch_role}" in said


@pytest.mark.parametrize("hours", [0, 10_000])
def test_hours_that_make_no_switch_are_refused(tmp_path, monkeypatch, hours):
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path))
    with pytest.raises(LabError, match=f"HOURS is {hours}: it has to be a number of hours above 0"):
        Lab.choose("local", "chat", hours=hours)
