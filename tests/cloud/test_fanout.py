"""The broadcast on the local cloud: its log line, its shards as real invocations, its permissions, and churn."""

import base64
import json
import threading
import time
from contextlib import contextmanager

import pytest
import websocket

from chatlab import poll
from tests.cloud.test_chat import ids, people
from tests.conftest import without_policy


@pytest.fixture(autouse=True)
def nobody_is_left(chat):
    yield
    poll(lambda: not ids(chat), "the table to be empty", timeout_s=30)


@contextmanager
def sharding(lab, shards, above):
    """The broadcast with `SHARDS` and `SHARD_ABOVE` set."""
    functions, function = lab.client("lambda"), lab.functions["default"]
    before = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]

    def set_to(variables):
        functions.update_function_configuration(FunctionName=function, Environment={"Variables": variables})
        functions.get_waiter("function_updated_v2").wait(FunctionName=function)

    set_to(before | {"SHARDS": str(shards), "SHARD_ABOVE": str(above)})
    try:
        yield
    finally:
        set_to(before)


def say(lab, text):
    """Invoke the broadcast as API Gateway does; its log line."""
    event = {"requestContext": {"connectionId": "test"}, "body": text, "isBase64Encoded": False}
    answer = lab.client("lambda").invoke(
        FunctionName=lab.functions["default"], Payload=json.dumps(event), LogType="Tail"
    )
    tail = base64.b64decode(answer["LogResult"]).decode().splitlines()
    return json.loads(next(line for line in tail if line.startswith("{")))


def heard(sockets, number=1):
    return [[socket.recv() for _ in range(number)] for socket in sockets]


def test_the_log_line_tells_what_became_of_a_broadcast(chat):
    with people(chat, 5) as sockets:
        log = say(chat, "hello")
        assert heard(sockets) == [["hello"]] * 5
    assert (log["connections"], log["delivered"], log["gone"], log["failed"], log["shards"]) == (5, 5, 0, 0, 1)
    assert log["scan_ms"] > 0 and log["post_ms"] > 0


def test_a_split_broadcast_reaches_everyone_once(chat):
    with people(chat, 40) as sockets, sharding(chat, shards=3, above=5):
        assert say(chat, "hello")["shards"] == 3
        assert heard(sockets) == [["hello"]] * 40
        sockets[0].send("and over the socket")
        assert heard(sockets) == [["and over the socket"]] * 40
        for socket in sockets:
            socket.settimeout(0.05)
            with pytest.raises(websocket.WebSocketTimeoutException):
                socket.recv()


def test_without_the_permission_to_invoke_itself_it_is_not_split_and_still_reaches_everyone(chat):
    with people(chat, 40) as sockets, sharding(chat, shards=3, above=5):
        with without_policy(chat, "invoke-itself"):
            assert say(chat, "hello")["shards"] == 1
        assert heard(sockets) == [["hello"]] * 40
        assert say(chat, "again")["shards"] == 3
        assert heard(sockets) == [["again"]] * 40


def test_the_role_may_invoke_nothing_but_the_broadcast(chat):
    iam, functions = chat.client("iam"), chat.client("lambda")
    role = iam.get_role(RoleName=chat.role)["Role"]["Arn"]
    for part, function in chat.functions.items():
        arn = functions.get_function_configuration(FunctionName=function)["FunctionArn"]
        answer = iam.simulate_principal_policy(
            PolicySourceArn=role, ActionNames=["lambda:InvokeFunction"], ResourceArns=[arn]
        )
        decision = answer["EvaluationResults"][0]["EvalDecision"]
        assert decision == ("allowed" if part == "default" else "implicitDeny"), part


@pytest.mark.parametrize("action", ["dynamodb:DeleteItem", "dynamodb:Scan"])
def test_each_permission_on_the_table_is_needed_by_the_broadcast(chat, action):
    iam = chat.client("iam")
    policy = iam.get_role_policy(RoleName=chat.role, PolicyName="connections-table")["PolicyDocument"]
    less = json.loads(json.dumps(policy))
    less["Statement"][0]["Action"].remove(action)
    key = {"connection_id": {"S": "left"}}
    chat.client("dynamodb").put_item(TableName=chat.table, Item=key | {"connected_at": {"N": "1"}})
    iam.put_role_policy(RoleName=chat.role, PolicyName="connections-table", PolicyDocument=json.dumps(less))
    try:
        assert "AccessDeniedException" in say(chat, "hello")["error"]
        assert ids(chat) == {"left"}
    finally:
        iam.put_role_policy(RoleName=chat.role, PolicyName="connections-table", PolicyDocument=json.dumps(policy))
    assert "error" not in say(chat, "hello")
    assert not ids(chat)


class Resident:
    """A connection that stays, and counts what it hears."""

    def __init__(self, url):
        self.socket, self.heard = websocket.create_connection(url, timeout=1), []
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        while True:
            try:
                if not (text := self.socket.recv()):
                    return
                self.heard.append(text)
            except websocket.WebSocketTimeoutException:
                continue
            except (websocket.WebSocketException, OSError):
                return


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 2])
def test_with_people_coming_and_leaving_who_stays_hears_everything_once(chat, shards):
    """1,000 broadcasts, or as many as there is time for, to 20 people, of whom 5 % are replaced each second.

    Half of those who leave do so without a word.
    """
    broadcasts, residents_number, visitors_number, most_s = 1000, 15, 5, 40
    url = chat.websocket_url(chat.require_api())
    with sharding(chat, shards=shards, above=5):
        residents = [Resident(url) for _ in range(residents_number)]
        visitors = [websocket.create_connection(url, timeout=10) for _ in range(visitors_number)]
        over, replaced = threading.Event(), []

        def churn():
            while not over.wait(1 / (0.05 * (residents_number + visitors_number))):
                leaving = visitors.pop(0)
                leaving.close() if len(replaced) % 2 else leaving.shutdown()
                replaced.append(leaving)
                visitors.append(websocket.create_connection(url, timeout=10))

        churning = threading.Thread(target=churn)
        churning.start()
        said, end = [], time.monotonic() + most_s
        try:
            while len(said) < broadcasts and time.monotonic() < end:
                said.append(f"message {len(said)}")
                residents[0].socket.send(said[-1])
                poll(lambda: said[-1] in residents[0].heard[-5:], "the speaker to hear", timeout_s=20, every_s=0.002)
            poll(lambda: all(len(r.heard) >= len(said) for r in residents), "everyone to hear all", timeout_s=20)
        finally:
            over.set()
            churning.join()
            time.sleep(0.5)  # for a second copy to show up
            for left in [*(resident.socket for resident in residents), *visitors]:
                left.close()
        assert len(said) >= 100 and len(replaced) >= 2
        for resident in residents:
            assert sorted(resident.heard) == sorted(said)
