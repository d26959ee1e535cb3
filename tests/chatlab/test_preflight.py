"""What the checks before the first creation make of AWS's answers, which are botocore's Stubber's: no machine here has
an account. `tests/chatlab/test_restricted_person.py` asks the local cloud's policy simulator."""

from types import SimpleNamespace

import boto3
import pytest

from chatlab import LabError, preflight
from chatlab.preflight import NOT_CHECKED, OK, STOP, WARNING, Check
from tests.support.stubs import answering

ACCOUNT = "111122223333"
SSO_ROLE = "AWSReservedSSO_Developer_0123456789abcdef"


class Account(SimpleNamespace):
    """Clients that answer as told, in the place of a lab: `sts=("get_caller_identity", {...})`, several in a list."""

    target, name, region, partition, account_id = "aws", "chat", "eu-west-1", "aws", ACCOUNT
    role, bucket, switch_role = "chat-lambda-eu-west-1", "chat-page-0123456789ab", "chat-switch-eu-west-1"

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


def test_who_may_not_ask_the_simulator_is_not_checked(monkeypatch):
    denied = ("simulate_principal_policy", "AccessDenied")
    (check,) = preflight.check_permissions(Account(sts=caller("user/ada"), iam=denied))
    assert check.result == NOT_CHECKED and "docs/aws-policy.json" in check.what_to_do


FROM_ELSEWHERE = {
    "EvalResourceName": "*", "EvalResourceDecision": "explicitDeny", "MissingContextValues": ["aws:SourceIp"],
}  # fmt: skip


def test_what_is_not_allowed_is_named_and_by_whom():
    lab = Account(iam=None)
    groups = [
        [decision("dynamodb:CreateTable", "implicitDeny")],
        [decision("iam:CreateRole", "explicitDeny", OrganizationsDecisionDetail={"AllowedByOrganizations": False})],
        [decision("lambda:GetAccountSettings", "allowed"), decision("pricing:GetProducts", "implicitDeny")],
        [decision("logs:CreateLogGroup", "explicitDeny", ResourceSpecificResults=[FROM_ELSEWHERE])],
    ]
    lab.iam = [("simulate_principal_policy", {"EvaluationResults": group, "IsTruncated": False}) for group in groups]
    lab.iam += [("simulate_principal_policy", {"EvaluationResults": [], "IsTruncated": False})] * 40
    refused = preflight._refused(lab, f"arn:aws:iam::{ACCOUNT}:user/ada")
    assert refused == {
        "dynamodb:CreateTable": "",
        "iam:CreateRole": " (by your organisation)",
        "pricing:GetProducts": "",
        "logs:CreateLogGroup": " (it depends on aws:SourceIp)",
    }

    def result(action, refused=refused):
        return preflight._check_service("any", {action, "any:Other"}, refused).result

    assert result("iam:CreateRole") == STOP
    assert result("pricing:GetProducts") == WARNING  # there is a table of prices
    by_organisation = {"s3:PutBucketPolicy": " (by your organisation)"}
    assert result("s3:PutBucketPolicy", by_organisation) == WARNING  # the page is served from this machine then
    assert result("s3:PutBucketPolicy", {"s3:PutBucketPolicy": ""}) == STOP
    assert result("logs:CreateLogGroup") == NOT_CHECKED
    others = preflight._check_service("logs", {"logs:TagResource", "logs:DeleteLogGroup"}, refused)
    assert others == Check("permissions: logs", OK, "all 2 actions")


def test_what_the_simulator_can_not_be_asked_is_not_known():
    denied = [("simulate_principal_policy", "InvalidInput")]
    answers = [("simulate_principal_policy", {"EvaluationResults": [], "IsTruncated": False})] * 40
    refused = preflight._refused(Account(iam=denied + answers), f"arn:aws:iam::{ACCOUNT}:user/ada")
    check = preflight._check_service("dynamodb", {"dynamodb:CreateTable"}, refused)
    assert check.result == NOT_CHECKED and check.found.startswith(
        "not known: dynamodb:CreateTable (it can't be simulated)"
    )


BLOCKED = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": False}


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ({"PublicAccessBlockConfiguration": BLOCKED}, WARNING),
        ({"PublicAccessBlockConfiguration": BLOCKED | {"BlockPublicPolicy": False}}, OK),
        ("NoSuchPublicAccessBlockConfiguration", OK),
        ("AccessDenied", NOT_CHECKED),
    ],
)
def test_the_accounts_own_block_of_public_access(answer, result):
    alone = ("describe_effective_policy", "AWSOrganizationsNotInUseException")
    account = Account(s3control=("get_public_access_block", answer), organizations=alone)
    assert preflight.check_public_access(account).result == result


def test_one_stop_ends_it_with_a_sentence_that_names_each():
    preflight.require_passed([Check("identity", OK, "a user"), Check("permissions", NOT_CHECKED, "")])
    with pytest.raises(LabError) as error:
        preflight.require_passed(
            [Check("permissions: iam", STOP, "not allowed: iam:CreateRole", "Ask."), Check("a", OK, "")]
        )
    assert str(error.value) == (
        "The lab can't be built here, and nothing was made. permissions: iam: not allowed: iam:CreateRole. Ask."
    )
