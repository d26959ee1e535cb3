"""What is busy is asked again, what is gone is gone, and an error stops nothing. AWS's answers are made up."""

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from chatlab import LabError, teardown
from chatlab.teardown import Attempts, remove


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time, which passes only while one sleeps."""

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
    """A client, and what it is answered: `answers.add_client_error("delete_table", code)`."""
    client = boto3.client("dynamodb", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as answers:
        yield client, answers


def test_a_table_that_is_still_being_made_is_asked_again(table, clock):
    client, answers = table
    for _ in range(3):
        answers.add_client_error("delete_table", "ResourceInUseException")
    answers.add_response("delete_table", {}, {"TableName": "chat"})
    assert remove(client.delete_table, TableName="chat") is True
    assert clock.now == 0.5 + 1 + 2
    answers.assert_no_pending_responses()


def test_what_is_gone_already_is_no_error(table):
    client, answers = table
    answers.add_client_error("delete_table", "ResourceNotFoundException")
    assert remove(client.delete_table, TableName="chat") is False


def test_it_is_asked_for_five_minutes_and_no_longer(table, clock):
    client, answers = table
    for _ in range(100):
        answers.add_client_error("delete_table", "ResourceInUseException")
    with pytest.raises(ClientError, match="ResourceInUseException"):
        remove(client.delete_table, TableName="chat")
    assert 290 < clock.now <= 300


def test_what_is_forbidden_is_not_asked_again(table, clock):
    client, answers = table
    answers.add_client_error("delete_table", "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        remove(client.delete_table, TableName="chat")
    assert clock.now == 0


def test_an_error_is_noted_and_the_rest_is_done(capsys):
    attempts = Attempts()
    done = []
    for what, error in [("one", LabError("It resists.")), ("two", None), ("three", KeyError("x"))]:
        with attempts(what):
            if error:
                raise error
            done.append(what)
    assert done == ["two"]
    assert attempts.failed == [{"what": "one", "why": "It resists."}, {"what": "three", "why": "KeyError: 'x'"}]
    assert "NOT done, one: It resists." in capsys.readouterr().out


def test_ctrl_c_is_no_failure_to_go_on_after():
    with pytest.raises(KeyboardInterrupt), Attempts()("one"):
        raise KeyboardInterrupt
