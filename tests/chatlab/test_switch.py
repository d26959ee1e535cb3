"""The switch for the forgetful: after `HOURS` stage and page are closed by themselves, and the schedules are gone."""

import json
from datetime import UTC, datetime
from functools import partial

import pytest
import urllib3
import websocket
from botocore.validate import validate_parameters

from chatlab import Lab, LabError, fargate, list_resources, permissions, poll
from chatlab.lab import STAGE
from chatlab.notebooks import BUILD, TEARDOWN
from tests.support.cells import creating, run_cells
from tests.support.chat import is_heard
from tests.support.labs import build_chat, lab_in
from tests.support.strangers import make_load_test

SOON = 1 / 3600  # hours
CALLS = {"remove-the-stage": "apigatewayv2:deleteStage", "close-the-page": "s3:deleteBucketPolicy"}


def has_schedule(lab):
    """Whether the inventory finds a schedule."""
    return "schedule" in list_resources(lab)["kind"].tolist()


def stages(lab):
    """The names of the API's stages."""
    items = lab.client("apigatewayv2").get_stages(ApiId=lab.require_api())["Items"]
    return [stage["StageName"] for stage in items]


def page_status(lab):
    """What somebody without credentials is answered who asks for the page."""
    return urllib3.request("GET", lab.object_url("index.html")).status


def set_schedules(lab):
    """Both schedules. Each is deleted after its call, whose arguments fit AWS's model of it."""
    for name, call in CALLS.items():
        schedule = lab.client("scheduler").get_schedule(Name=name, GroupName=lab.switch)
        assert schedule["ActionAfterCompletion"] == "DELETE"
        assert schedule["Target"]["Arn"] == f"arn:aws:scheduler:::aws-sdk:{call}"
        service, operation = call.split(":")
        model = lab.client(service).meta.service_model.operation_model(operation[0].upper() + operation[1:])
        validate_parameters(json.loads(schedule["Target"]["Input"]), model.input_shape)
        yield schedule


def the_role_may_close_this_chat_and_nothing_else(lab):
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
        ("s3:DeleteBucketPolicy", f"arn:aws:s3:::{lab.bucket}", "allowed"),
        ("s3:DeleteBucketPolicy", f"arn:aws:s3:::{lab.bucket}-2", "implicitDeny"),
        ("s3:PutBucketPolicy", f"arn:aws:s3:::{lab.bucket}", "implicitDeny"),
        ("ecs:StopTask", lab.arn("ecs", f"task/{lab.load_test}/1"), "allowed"),
        ("ecs:StopTask", lab.arn("ecs", f"task/{lab.load_test}-2/1"), "implicitDeny"),
    ]:
        question = {"PolicySourceArn": role["Arn"], "ActionNames": [action], "ResourceArns": [resource]}
        (answer,) = iam.simulate_principal_policy(**question)["EvaluationResults"]
        assert answer["EvalDecision"] == decision


def a_task_is_stopped_too(lab):
    """At the time of the switch, which has not come, so the schedule is set to now."""
    ecs, scheduler = lab.client("ecs"), lab.client("scheduler")
    task = make_load_test(lab, lab.tags, running=True)
    assert "The switch stops what is left of them: at(" in fargate.stop_with_the_chat(Lab.load(), [task])
    schedule = scheduler.get_schedule(Name=f"stop-{task.rpartition('/')[2]}", GroupName=lab.switch)
    kept = {name: schedule[name] for name in ("Name", "GroupName", "FlexibleTimeWindow", "Target")}
    now = f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})"
    scheduler.update_schedule(**kept, ScheduleExpression=now, ActionAfterCompletion="DELETE")
    ecs.get_waiter("tasks_stopped").wait(cluster=lab.load_test, tasks=[task], WaiterConfig={"Delay": 0.2})
    (stopped,) = ecs.describe_tasks(cluster=lab.load_test, tasks=[task])["tasks"]
    assert stopped["stoppedReason"] == "HOURS are over."


def a_role_without_permission_deletes_nothing(lab):
    iam, scheduler = lab.client("iam"), lab.client("scheduler")
    for name in iam.list_role_policies(RoleName=lab.switch_role)["PolicyNames"]:
        iam.delete_role_policy(RoleName=lab.switch_role, PolicyName=name)
    now = f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})"
    for schedule in set_schedules(lab):
        kept = {name: schedule[name] for name in ("Name", "GroupName", "FlexibleTimeWindow", "Target")}
        scheduler.update_schedule(**kept, ScheduleExpression=now, ActionAfterCompletion="DELETE")
    poll(lambda: not has_schedule(lab), "the schedules to be over", timeout_s=30)
    assert stages(lab) == [STAGE]
    assert page_status(lab) == 200


def build_functions():
    """Create what notebooks 01 to 03 create, which 04 needs."""
    for name in BUILD[1:4]:
        run_cells(name, creating(name))


def choose(hours, **options):
    """Choose the lab with a switch after these hours, as notebook 00 does, and create what 04 creates; return what that
    says."""
    Lab.choose("local", "chat", hours=hours, options=options)
    return run_cells("04_websocket_api", creating("04_websocket_api"))


def test_stage_and_page_are_closed_when_the_hours_are_over_and_come_back_with_notebooks_04_and_05(lab):
    build_chat()  # without a switch, which is chosen now
    choose(8)
    make_page = partial(run_cells, "05_frontend_on_s3", creating("05_frontend_on_s3"))
    make_page()  # the switch is set before there is a bucket
    assert has_schedule(lab)
    assert stages(lab) == [STAGE]
    assert page_status(lab) == 200
    the_role_may_close_this_chat_and_nothing_else(lab)
    a_task_is_stopped_too(lab)

    assert "The group of schedules exists already." in choose(SOON)
    poll(lambda: not has_schedule(lab), "the schedules to be over", timeout_s=30)
    assert stages(lab) == []
    assert page_status(lab) == 403
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        websocket.create_connection(lab.websocket_url(lab.require_api()), timeout=5)

    for hours in (8, 9):  # made again, and then set anew
        assert "The group of schedules exists already." in choose(hours)
        assert stages(lab) == [STAGE]
        inputs = [json.loads(schedule["Target"]["Input"]) for schedule in set_schedules(lab)]
        assert inputs == [{"ApiId": lab.require_api(), "StageName": STAGE}, {"Bucket": lab.bucket}]
    assert is_heard(lab)
    make_page()
    assert page_status(lab) == 200

    a_role_without_permission_deletes_nothing(lab)
    said = run_cells(TEARDOWN)
    assert f"Deleted the schedule group {lab.switch}" in said
    assert f"Deleted the role {lab.switch_role}" in said


def test_a_group_that_is_being_deleted_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_TRAITS", "late-group-deletion=4")
    with lab_in(tmp_path) as lab:
        build_functions()
        choose(8)
        scheduler, group = lab.client("scheduler"), {"Name": lab.switch}
        scheduler.delete_schedule_group(**group)
        assert scheduler.get_schedule_group(**group)["State"] == "DELETING"
        assert "The group of schedules exists already." not in choose(8, PUBLIC="no")
        listed = scheduler.list_schedules(GroupName=lab.switch)["Schedules"]
        assert [schedule["Name"] for schedule in listed] == ["remove-the-stage"]  # nobody can read the page
        assert scheduler.get_schedule_group(**group)["State"] == "ACTIVE" and has_schedule(lab)
        assert "Nothing is left" in run_cells(TEARDOWN)


def test_where_the_scheduler_is_not_allowed_a_warning_says_so_and_the_chat_is_built(tmp_path, monkeypatch):
    others = [each for each in permissions.STATEMENTS if each.loses != permissions.HOURS]
    (tmp_path / "policy.json").write_text(json.dumps(permissions.policy("chat", others)))
    monkeypatch.setenv("CHATLAB_POLICY", str(tmp_path / "policy.json"))
    with lab_in(tmp_path / "home") as lab:
        build_functions()
        said = choose(8)
        assert "Warning: nothing closes the chat after 8 hours, because AWS refuses the switch: " in said
        assert "is not authorized to perform: scheduler:" in said
        assert is_heard(lab)


@pytest.mark.parametrize("hours", [0, 10_000])
def test_hours_that_make_no_switch_are_refused(tmp_path, monkeypatch, hours):
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path))
    with pytest.raises(LabError, match=f"HOURS is {hours}: it has to be a number of hours above 0"):
        Lab.choose("local", "chat", hours=hours)
