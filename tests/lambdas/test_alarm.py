"""The budget with an alarm by e-mail: chosen and made in 00, found by the inventory, removed by 99."""

import pytest

from chatlab import Lab, list_resources
from chatlab.errors import NotOurs
from chatlab.notebooks import TEARDOWN
from tests.support.cells import run_cells
from tests.support.labs import lab_in

ADDRESS = "ada@example.com"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    with lab_in(tmp_path_factory.mktemp("alarm") / "home") as lab:
        yield lab


def test_an_alarm_is_made_once_found_and_removed(cloud):
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


def test_a_strangers_budget_of_the_alarms_name_stops_notebook_00(cloud):
    lab = Lab.choose("local", "taken")
    budget = {"BudgetName": lab.alarm, "BudgetType": "COST", "TimeUnit": "MONTHLY"}
    lab.client("budgets").create_budget(AccountId=lab.account_id, Budget=budget)
    with pytest.raises(NotOurs, match="There is a budget taken-us-east-1 already"):
        run_cells("00_start", NAME="taken", EMAIL=ADDRESS)
