"""Notebook 00 finds out, before anything is made, what would stop another one later."""

import json
import os
from pathlib import Path

import pytest

from chatlab import Lab, LabError, list_resources, permissions, preflight
from chatlab.notebooks import TEARDOWN
from chatlab.preflight import OK, STOP
from tests.support.cells import run_cells
from tests.support.labs import lab_in


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A local cloud for all tests, each of which has a lab of its own name in it."""
    with lab_in(tmp_path_factory.mktemp("cloud")) as lab:
        yield lab


@pytest.fixture
def restricted(cloud):
    """`restricted(name, policy)`: the lab of this name, of a user who has this policy alone."""
    iam, file = cloud.client("iam"), Path(os.environ["CHATLAB_HOME"]) / "key.json"
    everything, ada = file.read_text(), {"UserName": "ada"}

    def lab_of(name, policy):
        Lab.choose("local", name)
        iam.create_user(**ada)
        iam.put_user_policy(PolicyName="all", PolicyDocument=json.dumps(policy), **ada)
        key = iam.create_access_key(**ada)["AccessKey"]
        file.write_text(json.dumps({name: key[name] for name in ("AccessKeyId", "SecretAccessKey")}))
        return Lab.load()

    yield lab_of
    file.write_text(everything)
    for key in iam.list_access_keys(**ada)["AccessKeyMetadata"]:
        iam.delete_access_key(AccessKeyId=key["AccessKeyId"], **ada)
    iam.delete_user_policy(PolicyName="all", **ada)
    iam.delete_user(**ada)


def statement(*actions, effect="Allow"):
    return {"Effect": effect, "Action": list(actions), "Resource": "*"}


def results(checks):
    return {check.check: check.result for check in checks}


def test_the_labs_own_policy_is_enough(restricted):
    checks = preflight.run_checks(restricted("own-policy", permissions.policy("own-policy")))
    assert STOP not in results(checks).values(), checks
    assert results(checks)["permissions: iam"] == OK  # iam:PassRole, too, whose condition names the service


def test_an_empty_account_is_free_and_the_labs_own_things_are_told_from_others(cloud):
    lab = Lab.choose("local", "empty")
    assert results(preflight.check_names(lab)) == {"names": OK}
    logs = lab.client("logs")
    logs.create_log_group(logGroupName=lab.log_groups["connect"], tags=lab.tags)
    assert [check.found for check in preflight.check_names(lab)] == ["1 things are this lab's own already"]
    logs.create_log_group(logGroupName=lab.log_groups["default"])
    assert results(preflight.check_names(lab)) == {f"name: log group {lab.log_groups['default']}": STOP}


def test_who_may_do_everything_but_make_a_role_is_stopped_in_notebook_00(restricted):
    all_but_one = [statement("*"), statement("iam:CreateRole", effect="Deny")]
    lab = restricted("no-roles", {"Version": "2012-10-17", "Statement": all_but_one})
    with pytest.raises(LabError) as error:
        run_cells("00_start", NAME="no-roles")
    assert str(error.value) == (
        "The lab can't be built here, and nothing was made. permissions: iam: not allowed: iam:CreateRole. Ask for the "
        "policy docs/aws-policy.json (another NAME's: python -m chatlab permissions NAME)."
    )
    assert "not allowed: iam:CreateRole" in run_cells("00_start", 5, NAME="no-roles")  # the table of all checks
    assert list_resources(lab).empty


def test_a_power_user_may_list_roles_and_is_stopped_all_the_same(restricted):
    """As AWS's policy PowerUserAccess, which allows iam:ListRoles, and not to ask the simulator."""
    power = {"Effect": "Allow", "NotAction": ["iam:*"], "Resource": "*"}
    lab = restricted("power", {"Version": "2012-10-17", "Statement": [power, statement("iam:ListRoles")]})
    assert lab.client("iam").list_roles()
    found = results(preflight.run_checks(lab))
    assert found["permissions"] == preflight.NOT_CHECKED
    assert found[f"name: role {lab.role}"] == STOP


def test_who_may_not_ask_the_simulator_can_build_all_the_same(restricted):
    simulate = statement("iam:SimulatePrincipalPolicy", effect="Deny")
    restricted("not-asked", {"Version": "2012-10-17", "Statement": [statement("*"), simulate]})
    for name in ("00_start", "02_iam_role"):
        assert "you may not ask" in run_cells(name, NAME="not-asked")


def test_whoever_may_not_look_at_the_bills_has_made_no_alarm_and_can_do_all_else(restricted):
    policy = permissions.policy("no-bills")
    policy["Statement"].append(statement("budgets:*", effect="Deny"))
    lab = restricted("no-bills", policy)
    assert list_resources(lab).empty
    assert "Nothing is left that could be charged for" in run_cells(TEARDOWN)
