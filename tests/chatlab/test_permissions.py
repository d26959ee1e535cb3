"""The person's policy: what it allows, and what it does not."""

import re

import pytest

from chatlab import Lab, LabError, permissions
from chatlab.permissions import main
from chatlab.settings import Settings
from tests.support.policies import allows, complaints


def allowed(action, resource):
    """Whether the policy of the lab `chat`, without its conditions, allows an action on a resource."""
    return allows(permissions.policy()["Statement"], action, resource)


def test_the_committed_policy_is_that_of_the_list():
    assert permissions.POLICY.read_text() == permissions.to_text(permissions.policy())


def test_it_fits_into_a_managed_policy_even_with_the_longest_name_and_path():
    document = permissions.to_text(permissions.policy("a" * 20, f"/{'a' * 62}/"))
    assert len(re.sub(r"\s", "", document)) <= 6_144  # IAM's quota, which counts no white space


def test_it_names_every_action_and_hands_each_role_to_one_service_alone():
    statements = permissions.policy()["Statement"]
    assert not [action for statement in statements for action in statement["Action"] if "*" in action]
    passing = [statement for statement in statements if "iam:PassRole" in statement["Action"]]
    assert [(statement["Resource"], statement["Condition"]) for statement in passing] == [
        ([f"arn:aws:iam::*:role/chat-{role}-*"], {"StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}})
        for role, service in [("lambda", "lambda"), ("switch", "scheduler")]
    ]


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("dynamodb:DeleteTable", "arn:aws:dynamodb:eu-west-1:111122223333:table/{name}"),
        ("iam:PutRolePolicy", "arn:aws:iam::111122223333:role/{name}-lambda-eu-west-1"),
        ("lambda:UpdateFunctionCode", "arn:aws:lambda:eu-west-1:111122223333:function:{name}-default"),
        ("logs:DeleteLogGroup", "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/{name}-default"),
        ("logs:DeleteLogGroup", "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/{name}-default:*"),
        ("s3:DeleteBucket", "arn:aws:s3:::{name}-page-0123456789ab"),
        ("s3:PutObject", "arn:aws:s3:::{name}-page-0123456789ab/index.html"),
    ],
)
def test_what_it_changes_is_the_labs_and_no_other_labs(action, resource):
    assert allowed(action, resource.format(name="chat"))
    assert not allowed(action, resource.format(name="chat-2"))
    assert not allowed(action, resource.format(name="shop"))


def test_the_simulator_can_be_asked_about_each_of_them(monkeypatch):
    lab = Lab(Settings("local", "chat", "eu-west-1"))
    monkeypatch.setattr(Lab, "account_id", "111122223333")
    needs = permissions.list_needs(lab)
    assert {need.action for need in needs} == {action for s in permissions.STATEMENTS for action in s.actions.split()}
    assert not [need for need in needs if set("{*") & set(need.resource) and need.resource != "*"]
    assert all(allowed(need.action, need.resource) for need in needs)
    assert ("iam:PassRole", "iam:PassedToService") in {
        (need.action, entry["ContextKeyName"]) for need in needs for entry in need.context
    }


def test_another_labs_policy_is_printed_and_a_wrong_name_is_a_sentence(capsys):
    assert main(["demo"]) == 0
    assert capsys.readouterr().out == permissions.to_text(permissions.policy("demo"))
    with pytest.raises(LabError, match="can't begin a bucket's name"):
        main(["Demo!"])
    assert main(["demo", "/lab/"]) == 0
    assert "arn:aws:iam::*:role/lab/demo-lambda-*" in capsys.readouterr().out
    with pytest.raises(LabError, match="has to be like /lab/, with 64 characters at most"):
        main(["demo", f"/{'a' * 63}/"])


def test_a_linter_has_nothing_against_it():
    """Each action exists, and takes the resources that it is given."""
    assert complaints("identity", permissions.policy()) == []
