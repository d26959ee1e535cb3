"""Notebook 00 finds out, before anything is made, what would stop another one later.

Botocore's Stubber answers where no machine here has an account. The local cloud's policy simulator answers the rest.
"""

from types import SimpleNamespace

import boto3
import IPython.display
import pytest

from chatlab import Lab, LabError, list_resources, permissions, preflight
from chatlab.inventory import list_tagged_arns
from chatlab.notebooks import TEARDOWN
from chatlab.permissions import Need
from chatlab.preflight import BY_ACCOUNT, BY_EITHER, BY_ORGANISATION, NOT_CHECKED, OK, STOP, WARNING, Check
from chatlab.settings import Options
from tests.support.cells import run_cells
from tests.support.labs import lab_in
from tests.support.policies import without
from tests.support.stubs import answering

ACCOUNT = "111122223333"
SSO_ROLE = "AWSReservedSSO_Developer_0123456789abcdef"


class Account(SimpleNamespace):
    """A stand-in for a lab, whose clients give these answers: `sts=("get_caller_identity", {...})`, or a list."""

    target, name, region, partition, account_id = "aws", "chat", "eu-west-1", "aws", ACCOUNT
    options = Options()
    role, bucket, switch_role = "chat-lambda-eu-west-1", "chat-page-0123456789ab", "chat-switch-eu-west-1"
    load_test_bucket = "chat-load-0123456789ab"

    def client(self, service, **_):
        client = boto3.client(service, region_name="eu-west-1", aws_access_key_id="no", aws_secret_access_key="no")
        answers = getattr(self, service)
        return answering(client, *(answers if isinstance(answers, list) else [answers]))


def caller(resource, service="iam"):
    arn = f"arn:aws:{service}::{ACCOUNT}:{resource}"
    return "get_caller_identity", {"Arn": arn, "Account": ACCOUNT, "UserId": "AIDA"}


def role(path):
    created = {"RoleId": "A" * 16, "CreateDate": 0, "RoleName": SSO_ROLE, "Path": path}
    return created | {"Arn": f"arn:aws:iam::{ACCOUNT}:role{path}{SSO_ROLE}"}


def decision(action, decision, **more):
    return {"EvalActionName": action, "EvalDecision": decision} | more


@pytest.mark.parametrize(
    ("who", "result", "found"),
    [
        (caller("root"), WARNING, "the root user"),
        (caller("user/team/ada"), OK, "a user"),
        (caller("assumed-role/builder/ada", "sts"), OK, "a session of a role"),
    ],
)
def test_nobody_should_be_root(who, result, found):
    check = preflight.check_identity(Account(sts=who))
    assert (check.result, check.found) == (result, found)


def test_a_session_of_identity_center_is_simulated_as_its_role_which_has_a_path():
    path = "/aws-reserved/sso.amazonaws.com/eu-north-1/"
    account = Account(
        sts=caller(f"assumed-role/{SSO_ROLE}/ada@example.com", "sts"),
        iam=("list_roles", {"Roles": [role(path)], "IsTruncated": False}),
    )
    assert preflight.principal(account) == f"arn:aws:iam::{ACCOUNT}:role{path}{SSO_ROLE}"


@pytest.mark.parametrize("who", [caller("root"), caller("federated-user/ada", "sts")])
def test_whom_the_simulator_does_not_know_is_not_checked(who):
    (check,) = preflight.check_permissions(Account(sts=who))
    assert check.result == NOT_CHECKED


FROM_ELSEWHERE = {
    "EvalResourceName": "*", "EvalResourceDecision": "explicitDeny", "MissingContextValues": ["aws:SourceIp"],
}  # fmt: skip


def need(action, resource="*", loses=""):
    return Need(action, resource, (("aws:ResourceTag/chatlab", "chat"),), loses)


def simulated(*decisions):
    return "simulate_principal_policy", {"EvaluationResults": list(decisions), "IsTruncated": False}


def test_what_is_not_allowed_is_named_and_by_whom():
    table, role, prices = (
        need("dynamodb:CreateTable"),
        need("iam:CreateRole"),
        need("pricing:GetProducts", loses="prices"),
    )
    settings, group, other = need("lambda:GetAccountSettings"), need("logs:CreateLogGroup"), need("any:Other")
    by_organisation = {"OrganizationsDecisionDetail": {"AllowedByOrganizations": False}}
    lab = Account(
        iam=[
            simulated(decision("DynamoDB:createtable", "implicitDeny")),  # IAM's action names know no case
            simulated(decision("iam:CreateRole", "explicitDeny", **by_organisation)),
            simulated(decision("lambda:GetAccountSettings", "allowed")),
            simulated(decision("pricing:GetProducts", "implicitDeny")),
            simulated(decision("logs:CreateLogGroup", "explicitDeny", ResourceSpecificResults=[FROM_ELSEWHERE])),
        ]
    )
    refused = preflight._refused(lab, f"arn:aws:iam::{ACCOUNT}:user/ada", [table, role, settings, prices, group])
    assert refused == {
        table: "",
        role: " (by your organisation)",
        prices: "",
        group: " (it depends on aws:SourceIp)",
    }

    def check(*needs, refused=refused):
        return preflight._check_service("any", [*needs, other], refused)

    assert check(role).result == STOP
    assert "BOUNDARY, ROLE_PATH or TAGS" in check(role).what_to_do
    warning = check(prices)  # there is a table of prices
    assert warning.result == WARNING and warning.what_to_do == "Without it, prices (docs/aws-policy-optional.json)."
    assert check(prices, table) == check(table)  # what stops is named
    policy = need("s3:PutBucketPolicy")
    # The page is served from this machine then.
    by_organisation = check(policy, refused={policy: " (by your organisation)"})
    assert by_organisation.result == WARNING and "PUBLIC=no" in by_organisation.what_to_do
    assert check(policy, refused={policy: ""}).result == STOP
    assert check(group).result == NOT_CHECKED
    others = preflight._check_service("logs", [need("logs:TagResource"), need("logs:DeleteLogGroup")], refused)
    assert others == Check("permissions: logs", OK, "all 2 actions")


def test_what_the_simulator_refuses_as_a_mixture_is_asked_one_by_one():
    create, tag = needs = [need("dynamodb:CreateTable"), need("dynamodb:TagResource")]
    refusal = ("simulate_principal_policy", "InvalidInput")
    account = Account(iam=[refusal, simulated(decision(create.action, "implicitDeny")), refusal])
    refused = preflight._refused(account, f"arn:aws:iam::{ACCOUNT}:user/ada", needs)
    assert refused == {create: "", tag: " (it can't be simulated)"}
    check = preflight._check_service("dynamodb", needs[1:], refused)
    assert check.result == NOT_CHECKED
    assert check.found == "not known: dynamodb:TagResource (it can't be simulated)"


OPEN = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": False, "RestrictPublicBuckets": False}
BLOCKED = '{"s3_attributes":{"public_access_block_configuration":"all"}}'


@pytest.mark.parametrize(
    ("block", "policy", "sentence", "result"),
    [
        ("NoSuchPublicAccessBlockConfiguration", None, "", OK),
        ("AccessDenied", None, "", NOT_CHECKED),
        (OPEN, None, "", OK),
        (OPEN | {"BlockPublicPolicy": True}, "AWSOrganizationsNotInUseException", BY_ACCOUNT, WARNING),
        (OPEN | {"RestrictPublicBuckets": True}, "EffectivePolicyNotFoundException", BY_ACCOUNT, WARNING),
        (OPEN | {"BlockPublicPolicy": True}, BLOCKED, BY_ORGANISATION, WARNING),
        (OPEN | {"BlockPublicPolicy": True}, BLOCKED.replace("all", "none"), BY_ACCOUNT, WARNING),
        (OPEN | {"BlockPublicPolicy": True}, "AccessDeniedException", BY_EITHER, WARNING),
    ],
)
def test_who_forbids_public_buckets(block, policy, sentence, result):
    answer = block if isinstance(block, str) else {"PublicAccessBlockConfiguration": block}
    effective = {"EffectivePolicy": {"PolicyContent": policy}} if policy and policy.startswith("{") else policy
    organizations = "describe_effective_policy", effective
    account = Account(s3control=("get_public_access_block", answer), organizations=organizations)
    assert preflight.why_forbidden(account) == sentence
    check = preflight.check_public_access(account)
    assert check.result == result and sentence.startswith(check.found) is bool(sentence)


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ("because public policies are prevented by the BlockPublicPolicy setting in S3", BY_EITHER),
        ("to perform: s3:PutBucketPolicy with an explicit deny in a service control policy", BY_ORGANISATION),
        ("because no identity-based policy allows the s3:PutBucketPolicy action", ""),
    ],
)
def test_a_refusal_says_by_its_text_who_forbids(refusal, sentence):
    assert preflight.why_refused(refusal) == sentence


def test_one_stop_ends_it_with_a_sentence_that_names_each():
    preflight.require_passed([Check("identity", OK, "a user"), Check("permissions", NOT_CHECKED, "")])
    stop = Check("permissions: iam", STOP, "not allowed: iam:CreateRole", "Ask.")
    with pytest.raises(LabError) as error:
        preflight.require_passed([stop, Check("a", OK, "")])
    assert str(error.value) == (
        "The lab can't be built here, and nothing was made. permissions: iam: not allowed: iam:CreateRole. Ask."
    )


# --- on the local cloud ---


def statement(*actions, effect="Allow"):
    return {"Effect": effect, "Action": list(actions), "Resource": "*"}


def results(checks):
    return {check.check: check.result for check in checks}


def allow(actions, *resources):
    return {"Effect": "Allow", "Action": actions.split(), "Resource": list(resources)}


NAME = "persons"
IN_ALL = permissions.policy(NAME)["Statement"]
OPTIONAL = {action for each in IN_ALL for action in each["Action"]} - {
    action for each in permissions.policy(NAME, permissions.NEEDED)["Statement"] for action in each["Action"]
}
# As https://docs.aws.amazon.com/aws-managed-policy/latest/reference/PowerUserAccess.html
POWER_USER = [
    {"Effect": "Allow", "NotAction": ["iam:*", "organizations:*", "account:*"], "Resource": "*"},
    statement("iam:CreateServiceLinkedRole", "iam:ListRoles", "organizations:DescribeOrganization"),
]
SCOPED_BY_SERVICE = [
    allow("dynamodb:*", "arn:aws:dynamodb:*:*:table/*"),
    allow("iam:*", "arn:aws:iam::*:role/*"),
    allow("lambda:*", "arn:aws:lambda:*:*:function:*", "arn:aws:lambda:*:*:event-source-mapping:*"),
    allow("logs:*", "arn:aws:logs:*:*:log-group:*"),
    allow("apigateway:*", "arn:aws:apigateway:*::/*"),
    allow("execute-api:*", "arn:aws:execute-api:*:*:*"),
    allow("s3:*", "arn:aws:s3:::*"),
    allow("scheduler:*", "arn:aws:scheduler:*:*:schedule-group/*", "arn:aws:scheduler:*:*:schedule/*/*"),
    allow("budgets:*", "arn:aws:budgets::*:budget/*"),
    allow("appsync:* ecs:* ec2:*", "*"),
    allow("dynamodb:ListTables iam:ListRoles lambda:List* lambda:Get* logs:DescribeLogGroups s3:List* s3:Get*", "*"),
    allow("scheduler:List* budgets:View* servicequotas:* pricing:* tag:* organizations:* iam:Simulate*", "*"),
]
PERSONS = {
    "the lab's policies": (IN_ALL, {OK}),
    "a power user who may do the lab's part of IAM": (
        [*POWER_USER, *(each for each in IN_ALL if each["Action"][0].startswith("iam:"))],
        {OK, WARNING},  # an organisation's policies can't be read
    ),
    "a policy of their own, by service": (SCOPED_BY_SERVICE, {OK}),
    "what each lab needs": (permissions.policy(NAME, permissions.NEEDED)["Statement"], {NOT_CHECKED}),
    "no action that the lab can do without, but to ask": (
        without(permissions.policy(NAME), *OPTIONAL - {"iam:SimulatePrincipalPolicy"})["Statement"],
        {OK, WARNING},
    ),
}


@pytest.mark.parametrize(("statements", "expected"), PERSONS.values(), ids=PERSONS)
def test_who_may_do_all_that_is_needed_can_go_on_and_hears_what_they_lose(restricted, statements, expected):
    restricted(NAME, {"Version": "2012-10-17", "Statement": statements})
    checks = preflight.run_checks(Lab.choose("local", NAME, hours=8), with_alarm=True)
    preflight.require_passed(checks)
    asked = [check for check in checks if check.check.startswith("permissions")]
    assert {check.result for check in asked} == expected, asked
    if len(statements) > len(IN_ALL):
        said = " ".join(check.what_to_do for check in asked)
        losses = {each.loses for each in permissions.STATEMENTS if each.loses and each.sid != "Simulator"}
        assert [loss for loss in losses if loss not in said] == []


def test_who_wants_neither_a_switch_nor_an_alarm_is_not_asked_about_them(restricted):
    lab = restricted(NAME, permissions.policy(NAME))
    services = {check.check.rpartition(" ")[2] for check in preflight.check_permissions(lab)}
    assert services.isdisjoint({"scheduler", "budgets"}) and {"iam", "tag"} <= services


def test_a_simulator_that_takes_no_mixture_is_asked_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_TRAITS", "strict-simulator")
    with lab_in(tmp_path) as lab:
        assert {check.result for check in preflight.check_permissions(lab)} == {OK}


def test_an_empty_account_is_free_and_the_labs_own_things_are_told_from_others(cloud):
    lab = Lab.choose("local", "empty")
    assert results(preflight.check_names(lab)) == {"names": OK}
    logs = lab.client("logs")
    logs.create_log_group(logGroupName=lab.log_groups["connect"], tags=lab.tags)
    assert [check.found for check in preflight.check_names(lab)] == ["1 things are this lab's own already"]
    logs.create_log_group(logGroupName=lab.log_groups["default"])
    assert results(preflight.check_names(lab)) == {f"name: log group {lab.log_groups['default']}": STOP}


def test_who_may_do_everything_but_make_a_role_is_stopped_in_notebook_00(restricted, monkeypatch):
    all_but_one = [statement("*"), statement("iam:CreateRole", effect="Deny")]
    lab = restricted("no-roles", {"Version": "2012-10-17", "Statement": all_but_one})
    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    with pytest.raises(LabError) as error:
        run_cells("00_start", NAME="no-roles")
    assert str(error.value) == (
        "The lab can't be built here, and nothing was made. permissions: iam: not allowed: iam:CreateRole. Ask for the "
        "policy docs/aws-policy.json (another NAME's: python -m chatlab permissions NAME)."
    )
    assert "not allowed: iam:CreateRole" in str(shown[-1])  # the table of all checks
    assert list_resources(lab).empty


def test_who_may_make_roles_with_a_boundary_alone_can_give_it(restricted):
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
    with_it = statement("iam:CreateRole") | {"Condition": {"StringEquals": {"iam:PermissionsBoundary": boundary}}}
    others = {"Effect": "Allow", "NotAction": "iam:CreateRole", "Resource": "*"}
    lab = restricted("bounded", {"Version": "2012-10-17", "Statement": [others, with_it]})
    assert results(preflight.check_permissions(lab))["permissions: iam"] == STOP
    lab = Lab.choose("local", "bounded", options={"BOUNDARY": boundary})
    assert results(preflight.check_permissions(lab))["permissions: iam"] == OK


def test_a_power_user_may_list_roles_and_is_stopped_all_the_same(restricted):
    """As AWS's policy PowerUserAccess, which allows iam:ListRoles, and not to ask the simulator."""
    power = {"Effect": "Allow", "NotAction": ["iam:*"], "Resource": "*"}
    lab = restricted("power", {"Version": "2012-10-17", "Statement": [power, statement("iam:ListRoles")]})
    assert lab.client("iam").list_roles()
    found = results(preflight.run_checks(lab))
    assert found["permissions"] == NOT_CHECKED
    assert found[f"name: role {lab.role}"] == STOP


def test_who_may_not_ask_the_simulator_can_build_all_the_same(restricted):
    simulate = statement("iam:SimulatePrincipalPolicy", effect="Deny")
    lab = restricted("not-asked", {"Version": "2012-10-17", "Statement": [statement("*"), simulate]})
    (check,) = preflight.check_permissions(lab)
    assert check.result == NOT_CHECKED and "docs/aws-policy.json" in check.what_to_do
    for name in ("00_start", "02_iam_role"):
        assert "you may not ask" in run_cells(name, NAME="not-asked")


def test_whoever_may_not_look_at_the_bills_has_made_no_alarm_and_can_do_all_else(cloud, restricted):
    # Another lab's group, whose tags are not asked for.
    cloud.client("scheduler").create_schedule_group(Name="no-bills-2-switch")
    policy = permissions.policy("no-bills")
    policy["Statement"].append(statement("budgets:*", effect="Deny"))
    lab = restricted("no-bills", policy)
    assert list_resources(lab).empty
    # What only its tags name is believed to exist if this person may not ask for it.
    s3, bucket = cloud.client("s3"), {"Bucket": "of-another-name"}
    s3.create_bucket(CreateBucketConfiguration={"Tags": lab.tag_list}, **bucket)
    assert list_tagged_arns(lab) == ["arn:aws:s3:::of-another-name"]
    s3.delete_bucket(**bucket)
    assert "Nothing is left that could be charged for" in run_cells(TEARDOWN)


def test_a_notebook_names_the_one_whose_part_it_stands_on(cloud):
    lab = Lab.choose("local", "parts")

    def said(notebook):
        with pytest.raises(LabError) as error:
            run_cells(notebook)
        return str(error.value)

    functions = (
        "Not all of the functions parts-connect, parts-default, parts-disconnect are there yet: run notebook "
        "03_lambda_functions first."
    )
    assert said("03_lambda_functions") == "There is no table parts yet: run notebook 01_dynamodb_table first."
    assert said("05_frontend_on_s3") == functions
    assert list_resources(lab).empty
    run_cells("01_dynamodb_table")
    assert said("03_lambda_functions") == f"There is no role {lab.role} yet: run notebook 02_iam_role first."
    run_cells("02_iam_role")
    assert said("04_websocket_api") == functions
