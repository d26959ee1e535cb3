"""Notebook 00 finds out, before anything is made, what would stop another one later."""

import json
import os
from pathlib import Path

import pytest

from chatlab import Lab, list_resources, permissions, preflight
from chatlab.notebooks import TEARDOWN, execute
from chatlab.preflight import OK, STOP
from tests.support.cells import run_cells
from tests.support.labs import run_notebook


@pytest.fixture
def restricted(lab):
    """`restricted(policy)`: the lab of a user who has this policy alone."""

    def lab_of(policy):
        iam = lab.client("iam")
        iam.create_user(UserName="ada")
        iam.put_user_policy(UserName="ada", PolicyName="all", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName="ada")["AccessKey"]
        file = Path(os.environ["CHATLAB_HOME"]) / "key.json"
        file.write_text(json.dumps({name: key[name] for name in ("AccessKeyId", "SecretAccessKey")}))
        return Lab.load()

    return lab_of


def statement(*actions, effect="Allow"):
    return {"Effect": effect, "Action": list(actions), "Resource": "*"}


def results(checks):
    return {check.check: check.result for check in checks}


def test_the_labs_own_policy_is_enough(restricted):
    checks = preflight.run_checks(restricted(permissions.policy()))
    assert STOP not in results(checks).values(), checks
    assert results(checks)["permissions: iam"] == OK  # iam:PassRole, too, whose condition names the service


def test_an_empty_account_is_free_and_the_labs_own_things_are_told_from_others(lab):
    assert results(preflight.check_names(lab)) == {"names": OK}
    logs = lab.client("logs")
    logs.create_log_group(logGroupName=lab.log_groups["connect"], tags=lab.tags)
    assert [check.found for check in preflight.check_names(lab)] == ["1 things are this lab's own already"]
    logs.create_log_group(logGroupName=lab.log_groups["default"])
    assert results(preflight.check_names(lab)) == {f"name: log group {lab.log_groups['default']}": STOP}


def test_who_may_do_everything_but_make_a_role_is_stopped_in_notebook_00(restricted, tmp_path):
    restricted({"Version": "2012-10-17", "Statement": [statement("*"), statement("iam:CreateRole", effect="Deny")]})
    outcome = execute("00_start", tmp_path / "00.ipynb")
    assert outcome.reason.endswith(
        "The lab can't be built here, and nothing was made. permissions: iam: not allowed: iam:CreateRole. Ask for the "
        "policy docs/aws-policy.json (another NAME's: python -m chatlab.permissions NAME)."
    )
    assert "not allowed: iam:CreateRole" in (tmp_path / "00.ipynb").read_text()


def test_a_power_user_may_list_roles_and_is_stopped_all_the_same(restricted):
    """As AWS's policy PowerUserAccess, which allows iam:ListRoles, and not to ask the simulator."""
    power = {"Effect": "Allow", "NotAction": ["iam:*"], "Resource": "*"}
    lab = restricted({"Version": "2012-10-17", "Statement": [power, statement("iam:ListRoles")]})
    assert lab.client("iam").list_roles()
    found = results(preflight.run_checks(lab))
    assert found["permissions"] == preflight.NOT_CHECKED
    assert found[f"name: role {lab.role}"] == STOP


def test_who_may_not_ask_the_simulator_can_build_all_the_same(restricted, tmp_path):
    simulate = statement("iam:SimulatePrincipalPolicy", effect="Deny")
    restricted({"Version": "2012-10-17", "Statement": [statement("*"), simulate]})
    for name in ("00_start", "02_iam_role"):
        assert "you may not ask" in run_notebook(name, tmp_path).read_text()


def test_whoever_may_not_look_at_the_bills_has_made_no_alarm_and_can_do_all_else(restricted):
    policy = permissions.policy()
    policy["Statement"].append(statement("budgets:*", effect="Deny"))
    lab = restricted(policy)
    assert list_resources(lab).empty
    assert "Nothing is left that could be charged for" in run_cells(TEARDOWN)
