"""The inventory finds what is the lab's, the teardown removes it, and neither touches what is somebody else's."""

import json
from contextlib import suppress

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

import chatlab
from chatlab import Lab, LabError, inventory, list_resources, local_cloud, permissions, poll, teardown
from chatlab.errors import NotOurs
from chatlab.inventory import list_labs, list_tagged_arns
from chatlab.notebooks import BUILD, DEPLOY, FASTER, TEARDOWN
from chatlab.settings import Settings
from chatlab.teardown import Attempts, remove
from tests.support.cells import creating, run_cells
from tests.support.labs import EVERYTHING, lab_in, used_by
from tests.support.policies import without
from tests.support.strangers import KINDS, make_budget, make_load_test, make_schedule_group, make_table, plain

pytestmark = pytest.mark.slow  # it starts clouds


def build(name, *notebooks):
    """A lab called `name`, built by these notebooks."""
    lab = Lab.choose("local", name)
    for notebook in notebooks:
        run_cells(notebook, creating(notebook))
    return lab


def test_everything_that_the_notebooks_make_is_found_by_name_and_by_tag_until_it_is_gone(cloud):
    lab = build("agree", *BUILD[1:5])
    run_cells(FASTER, only=DEPLOY)
    found = list_resources(lab)
    assert found.groupby(["service", "kind"]).size().to_dict() == {
        ("apigateway", "api"): 1, ("apigateway", "integration"): 3, ("apigateway", "route"): 3,
        ("apigateway", "stage"): 1, ("dynamodb", "table"): 1, ("iam", "role"): 1, ("iam", "role policy"): 4,
        ("lambda", "function"): 3, ("logs", "log group"): 3,
    }  # fmt: skip
    assert str(found["created"].dtype).endswith("UTC]")
    tagged = {arn.split(":", 5)[5].split("/")[-1].split(":")[-1] for arn in list_tagged_arns(lab)}
    assert tagged >= {lab.table, *lab.functions.values()}
    assert tagged - {lab.role, "production"} <= set(found["id"])
    assert ("agree", False) in list_labs(cloud)
    other = Lab(Settings("local", "agree-2", lab.region))
    assert list_resources(other).empty and list_tagged_arns(other) == []
    run_cells(TEARDOWN)
    assert list_resources(lab).empty and list_tagged_arns(lab) == []


def test_what_a_list_still_names_and_nothing_else_knows_is_gone(tmp_path, monkeypatch):
    """The cloud answers with lists of a few seconds ago."""
    monkeypatch.setenv("CHATLAB_TRAITS", "stale-lists")
    with lab_in(tmp_path / "home") as stale:
        iam, s3 = stale.client("iam"), stale.client("s3")
        iam.create_role(RoleName=stale.role, AssumeRolePolicyDocument="{}", Tags=stale.tag_list)
        s3.create_bucket(Bucket=stale.bucket, CreateBucketConfiguration={"Tags": stale.tag_list})
        assert sorted(list_resources(stale)["service"]) == ["iam", "s3"]
        iam.delete_role(RoleName=stale.role)
        s3.delete_bucket(Bucket=stale.bucket)
        assert [role["RoleName"] for role in iam.list_roles()["Roles"]] == [stale.role]
        assert list_resources(stale).empty


def test_what_can_not_be_removed_does_not_keep_the_rest_and_is_told_at_the_end(cloud):
    lab = build("resists", "01_dynamodb_table", "02_iam_role")
    lab.client("logs").create_log_group(logGroupName=lab.log_groups["connect"], tags=lab.tags)
    iam = lab.client("iam")
    user = lab.client("sts").get_caller_identity()["Arn"].rpartition("/")[2]
    deny = {"Effect": "Deny", "Action": ["iam:DeleteRole", "dynamodb:ListTagsOfResource"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    iam.put_user_policy(UserName=user, PolicyName="deny", PolicyDocument=document)
    try:
        with pytest.raises(LabError, match=r"^Not all could be removed\. ") as error:
            run_cells(TEARDOWN)
    finally:
        iam.delete_user_policy(UserName=user, PolicyName="deny")
    assert f"delete the role {lab.role}: " in str(error.value) and f"delete the table {lab.table}: " in str(error.value)
    assert sorted(list_resources(lab)["kind"]) == ["role", "table"]
    said = run_cells(TEARDOWN)
    assert "Nothing is left" in said
    assert list_resources(lab).empty and list_tagged_arns(lab) == []


def test_what_carries_the_tags_under_another_name_is_found_by_tag(cloud):
    lab = Lab.choose("local", "tagged")
    s3 = lab.client("s3")
    s3.create_bucket(Bucket="of-another-name", CreateBucketConfiguration={"Tags": lab.tag_list})
    assert list_resources(lab).empty
    assert list_tagged_arns(lab) == ["arn:aws:s3:::of-another-name"]
    s3.delete_bucket(Bucket="of-another-name")
    assert list_tagged_arns(lab) == []


def test_a_bucket_with_old_versions_and_half_done_uploads_goes(cloud):
    lab = Lab.choose("local", "versions")
    s3, bucket = lab.client("s3"), {"Bucket": lab.bucket}
    s3.create_bucket(CreateBucketConfiguration={"Tags": lab.tag_list}, **bucket)
    s3.put_object(Key="from before", Body=b"0", **bucket)
    s3.put_bucket_versioning(VersioningConfiguration={"Status": "Enabled"}, **bucket)
    for body in (b"1", b"2"):
        s3.put_object(Key="twice", Body=body, **bucket)
    s3.put_object(Key="deleted", Body=b"3", **bucket)
    s3.delete_object(Key="deleted", **bucket)
    upload = s3.create_multipart_upload(Key="half", **bucket)["UploadId"]
    s3.upload_part(Key="half", UploadId=upload, PartNumber=1, Body=b"x", **bucket)
    assert list_resources(lab)["kind"].tolist() == ["bucket with 2 objects"]
    said = run_cells(TEARDOWN)
    assert "Deleted 5 objects" in said and "Ended the unfinished upload of half" in said
    assert "1 things before, 0 now" in said
    assert list_resources(lab).empty


def test_a_load_test_in_the_region_goes_with_its_running_task(cloud):
    lab = Lab.choose("local", "region")
    make_load_test(lab, lab.tags, running=True)
    assert list_resources(lab).groupby(["service", "kind"]).size().to_dict() == {
        ("ec2", "network interface"): 1, ("ec2", "security group"): 1, ("ecs", "cluster"): 1, ("ecs", "task"): 1,
        ("ecs", "task definition"): 2, ("s3", "bucket with 1 objects"): 1,
    }  # fmt: skip
    assert sorted(arn.split(":")[2] for arn in list_tagged_arns(lab)) == ["ec2", "ecs", "ecs", "ecs", "ecs", "s3"]
    said = run_cells(TEARDOWN)
    assert "Stopped the task" in said and said.count("Deleted the task definition") == 2
    assert list_resources(lab).empty and list_tagged_arns(lab) == []
    assert cloud.client("ec2").describe_network_interfaces()["NetworkInterfaces"] == []
    assert not inventory._exists(lab, lab.arn("ecs", "task-definition/long-gone:1"))


def test_what_was_attached_to_the_role_by_hand_is_detached(cloud):
    lab = build("attached", "02_iam_role")
    iam = lab.client("iam")
    iam.attach_role_policy(RoleName=lab.role, PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    assert "Detached the policy ReadOnlyAccess" in run_cells(TEARDOWN)
    assert list_resources(lab).empty


def test_a_role_in_an_instance_profile_stays_until_its_person_takes_it_out(cloud):
    """The right to take a role out of any instance profile would be one over all machines of the account."""
    lab = build("profiled", "02_iam_role")
    iam, within = lab.client("iam"), {"InstanceProfileName": "by-hand", "RoleName": lab.role}
    iam.create_instance_profile(InstanceProfileName="by-hand")
    iam.add_role_to_instance_profile(**within)
    with pytest.raises(LabError, match="It is in the instance profile by-hand: take it out first"):
        run_cells(TEARDOWN)
    iam.remove_role_from_instance_profile(**within)
    run_cells(TEARDOWN)
    assert list_resources(lab).empty


def test_a_functions_versions_aliases_and_event_sources_go_with_it(cloud):
    lab = build("versioned", *BUILD[1:4])
    functions, function = lab.client("lambda"), lab.functions["default"]
    version = functions.publish_version(FunctionName=function)["Version"]
    functions.create_alias(FunctionName=function, Name="live", FunctionVersion=version)
    queue = lab.client("sqs").create_queue(QueueName="by-hand")["QueueUrl"]
    arn = lab.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    functions.create_event_source_mapping(FunctionName=function, EventSourceArn=arn)
    said = run_cells(TEARDOWN)
    assert f"Deleted an event source of {function}" in said
    assert functions.list_event_source_mappings()["EventSourceMappings"] == []
    assert list_resources(lab).empty


STOPS_AT = {
    "table": "01_dynamodb_table", "role": "02_iam_role", "functions": "03_lambda_functions",
    "log-groups": "03_lambda_functions", "bucket": "05_frontend_on_s3", "schedules": "04_websocket_api",
    "switch-role": "04_websocket_api",
}  # fmt: skip
THEIRS = {"chatlab": "theirs"}
HAS_NO_TAGS = {"api", "bucket", "functions"}
"""Kinds that are made without tags: AWS says so in another way than with an empty list."""


def stops(notebooks, check):
    """Run each notebook until it verifies, then `check(name)`; return the LabErrors by notebook."""
    stopped = {}
    for name in notebooks:
        try:
            run_cells(name, creating(name))
        except LabError as error:
            stopped[name] = error
        check(name)
    return stopped


@pytest.mark.parametrize("kind", KINDS)
def test_a_strangers_thing_of_the_labs_name_is_the_same_afterwards(cloud, kind):
    make, describe = KINDS[kind]
    lab = Lab.choose("local", f"of-{kind}", hours=8)
    make(lab, {} if kind in HAS_NO_TAGS else THEIRS)
    before = plain(describe(lab))

    def is_unchanged(name):
        assert plain(describe(lab)) == before, f"{name} changed it"

    last = STOPS_AT.get(kind, "04_websocket_api")  # that those after it stop, too, the next test shows
    stopped = stops(BUILD[1 : BUILD.index(last) + 1], is_unchanged)
    # An API's name need not be unique, so there are two now; a budget is notebook 00's, the others are 10's and 11's.
    if kind in ("api", "event-api", "budget", "load-test"):
        assert not stopped
    else:
        assert list(stopped) == [last]
        assert isinstance(stopped[last], NotOurs) and "it is not this lab's" in str(stopped[last])
    said = run_cells(TEARDOWN)
    assert kind in ("api", "event-api") or "Left alone, because it is not this lab's: " in said
    is_unchanged(TEARDOWN)
    assert list_resources(lab).empty


@pytest.mark.parametrize("word", ["tagged", pytest.param("untagged", marks=pytest.mark.long)])
def test_where_all_is_a_strangers_nothing_is_made_and_nothing_changed(cloud, word, monkeypatch):
    lab = Lab.choose("local", f"all-{word}", hours=8)
    for make, _ in KINDS.values():
        make(lab, {} if word == "untagged" else THEIRS)

    def all_of_it():
        return {kind: plain(describe(lab)) for kind, (_, describe) in KINDS.items()}

    before = all_of_it()
    assert list_resources(lab).empty

    def is_unchanged(name):
        assert all_of_it() == before, f"{name} changed something"

    stopped = stops(BUILD[1:], is_unchanged)
    assert list(stopped) == BUILD[1:]
    assert all(isinstance(error, NotOurs) for error in stopped.values())
    # A table without tags may be a new one, whose tags DynamoDB does not show yet: here it would.
    monkeypatch.setattr(chatlab, "poll", lambda check, what, **_: poll(check, what, timeout_s=1))
    assert run_cells(TEARDOWN).count("Left alone, because it is not this lab's: ") == 17
    is_unchanged(TEARDOWN)
    assert list_resources(lab).empty


def test_what_you_may_not_ask_about_stops_neither_inventory_nor_teardown_unless_it_has_the_labs_very_name(
    cloud, restricted
):
    """The person may do nothing that the lab can do without, neither look at schedules nor at bills."""
    needed = permissions.policy("few", permissions.NEEDED)
    policy = without(needed, "dynamodb:ListTagsOfResource")
    policy = without(policy, "iam:ListRoleTags", resource="arn:aws:iam::*:role/few-switch-*")
    lab = restricted("few", policy)
    others, beside = Lab(Settings("local", "few")), Lab(Settings("local", "few-theirs"))
    others.session = beside.session = cloud.session
    for make in (make_schedule_group, make_budget):
        make(others, THEIRS)
    make_table(beside, THEIRS)
    others.client("iam").create_role(RoleName="few-bot", Path="/service-role/", AssumeRolePolicyDocument="{}")
    lab.client("logs").create_log_group(logGroupName=lab.log_groups["connect"], tags=lab.tags)
    assert list_resources(lab)["kind"].tolist() == ["log group"]
    said = run_cells(TEARDOWN)
    assert "1 things before, 0 now." in said and "You may not ask the tagging API (tag:GetResources): " in said
    assert list_resources(lab).empty
    make_table(others, THEIRS)
    with pytest.raises(ClientError, match="dynamodb:ListTagsOfResource"):
        list_resources(lab)


def test_of_two_peoples_labs_of_one_name_neither_ends_the_other_by_accident(cloud):
    ada = build("shared", *BUILD[1:5])
    before = plain(list_resources(ada).astype(str).to_dict("records"))

    def is_whole(name):
        assert plain(list_resources(ada).astype(str).to_dict("records")) == before, f"{name} changed it"

    with used_by("grace", cloud):
        with pytest.raises(LabError, match=r"name: table shared: it is a colleague's lab; .* give CONFIRM=shared to"):
            run_cells("00_start", NAME="shared")
        stopped = stops(BUILD[1:5], is_whole)
        assert list(stopped) == BUILD[1:5] and all("it is a colleague's lab" in str(each) for each in stopped.values())
        grace = Lab.load()
        assert list_resources(grace).empty and list_tagged_arns(grace) == []
        assert ("shared", True) in list_labs(grace)
        for confirmed in ({}, {"CONFIRM": "shared"}):  # in notebook 00, to work on it; not in 99, to remove it
            with suppress(LabError):
                run_cells("00_start", NAME="shared", OPTIONS=confirmed)
            assert run_cells(TEARDOWN, NAME="shared").count("Left alone, because it is not this lab's: ") == 8
            is_whole(TEARDOWN)

        said = run_cells("00_start", NAME="shared", OPTIONS={"CONFIRM": "shared"})
        assert "things are a colleague's" in said and "The table exists already" in run_cells("01_dynamodb_table")
        assert "0 now" in run_cells(TEARDOWN, NAME="shared", CONFIRM="shared")
    assert list_resources(ada).empty and list_tagged_arns(ada) == []


def test_what_an_organisation_asks_for_is_made_so_and_removed(cloud):
    iam = cloud.client("iam")
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(EVERYTHING))["Policy"]["Arn"]
    options = {"BOUNDARY": boundary, "ROLE_PATH": "/lab/", "TAGS": "team=web,cost-center=42", "PUBLIC": "no"}
    run_cells("00_start", NAME="asked", HOURS=8, OPTIONS=options)
    for name in BUILD[1:]:
        run_cells(name, creating(name))
    lab = Lab.load()
    for name in (lab.role, lab.switch_role):
        role = iam.get_role(RoleName=name)["Role"]
        assert (role["Path"], role["Arn"]) == ("/lab/", f"arn:aws:iam::{lab.account_id}:role/lab/{name}")
        assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary
    tagging = lab.client("resourcegroupstaggingapi")
    tagged = tagging.get_resources(TagFilters=[{"Key": "cost-center", "Values": ["42"]}])["ResourceTagMappingList"]
    assert {mapping["ResourceARN"] for mapping in tagged} == set(list_tagged_arns(lab))
    assert lab.page_url.startswith("http://127.0.0.1") and not lab.page_url.startswith(local_cloud.url())
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        lab.client("s3").get_bucket_policy(Bucket=lab.bucket)
    run_cells(TEARDOWN, NAME="asked")
    assert list_resources(lab).empty


# --- deleting resource after resource; AWS's answers are made up ---


@pytest.fixture
def clock(monkeypatch):
    """The time, which passes only during sleeps."""

    class Clock:
        now = 0.0

        @staticmethod
        def monotonic():
            return Clock.now

        @staticmethod
        def sleep(seconds):
            Clock.now += seconds

    monkeypatch.setattr(teardown, "time", Clock)
    return Clock


@pytest.fixture
def table():
    """A client and its answers, as in `answers.add_client_error("delete_table", code)`."""
    client = boto3.client("dynamodb", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as answers:
        yield client, answers


def test_what_is_busy_is_asked_again_and_what_is_gone_is_no_error(table, clock):
    client, answers = table
    for _ in range(3):
        answers.add_client_error("delete_table", "ResourceInUseException")
    answers.add_response("delete_table", {}, {"TableName": "chat"})
    assert remove(client.delete_table, TableName="chat") is True
    assert clock.now == 0.5 + 1 + 2
    answers.assert_no_pending_responses()
    answers.add_client_error("delete_table", "ResourceNotFoundException")
    assert remove(client.delete_table, TableName="chat") is False


@pytest.mark.parametrize(("code", "at_least_s"), [("ResourceInUseException", 290), ("AccessDeniedException", 0)])
def test_what_stays_busy_is_asked_for_five_minutes_and_what_is_forbidden_once(table, clock, code, at_least_s):
    client, answers = table
    for _ in range(100):
        answers.add_client_error("delete_table", code)
    with pytest.raises(ClientError, match=code):
        remove(client.delete_table, TableName="chat")
    assert at_least_s <= clock.now <= (300 if at_least_s else 0)


def test_an_error_is_noted_and_the_rest_is_done_but_ctrl_c_ends_it(capsys):
    attempts, done = Attempts(), []
    for what, error in [("one", LabError("It resists.")), ("two", None), ("three", KeyError("x"))]:
        with attempts(what):
            if error:
                raise error
            done.append(what)
    assert done == ["two"]
    assert attempts.failed == [{"what": "one", "why": "It resists."}, {"what": "three", "why": "KeyError: 'x'"}]
    assert "NOT done, one: It resists." in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt), attempts("four"):
        raise KeyboardInterrupt
