"""Notebook 10: the load test from inside the Region, with one task and with several, and what becomes of bad days."""

import json
import sys
import threading
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import boto3
import psutil
import pytest

from chatlab import Lab, LabError, fargate, list_resources, local_cloud, poll
from chatlab.inventory import list_tagged_arns
from chatlab.notebooks import OPTIONAL, TEARDOWN
from chatlab.privacy import redact
from loadtest import live, results
from tests.support.cells import cells, run_cell, run_cells
from tests.support.labs import build_chat, chat_in, variables

pytestmark = pytest.mark.slow
INSIDE = OPTIONAL["region_load"]
LOAD = {"CONNECTIONS": 20, "BROADCASTS": 8}


def found(text):
    """The number of the cell with this text, after the parameters were set."""
    return next(number for number, source in enumerate(cells(INSIDE, **LOAD)) if text in source)


SIGN, GO = found("run_id ="), found("append(run_task(number))")
several = pytest.mark.skipif(sys.platform == "darwin", reason="it has one address on loopback, for one task")

QUICK = {
    "warm_up": SimpleNamespace(broadcast_s=lambda *_: 0.05, handshake_s=lambda *_: 0.05),
    "live": SimpleNamespace(begin=lambda *_, **__: None, watch=lambda *_: None, words=live.words),
    "results": SimpleNamespace(load=lambda *_: None),
}
"""In place of what the notebook measures from here: the first test has it."""


def run_until(end, namespace, **load):
    """Run its first `end` cells, without what they measure from here."""
    run_cells(INSIDE, [0], namespace=namespace, **load)  # which imports
    namespace |= QUICK
    run_cells(INSIDE, [*range(1, end)], namespace=namespace, **load)


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    """A chat, and the folder that it has to itself."""
    folder = tmp_path_factory.mktemp("inside")
    with pytest.MonkeyPatch.context() as patch, chat_in(folder) as lab:
        patch.setenv("CHATLAB_RUN", str(folder / "run"))
        yield lab, folder / "run" / "inside"


def running(lab):
    return lab.client("ecs").list_tasks(cluster=lab.load_test)["taskArns"]


@pytest.mark.parametrize("number", [1, pytest.param(3, marks=several)])
def test_all_deliveries_are_accounted_for_and_no_secret_is_where_others_may_read(inside, number):
    lab, folder = inside
    with variables(lab, "connect", ROOM_KEY="only-who-knows-this-comes-in"):
        said = run_cells(INSIDE, CONNECTIONS=40, BROADCASTS=8, TASKS=number, namespace=(names := {}))
    assert f"320 deliveries, none missing and none twice. Processes: {max(1, number - 1)}." in said
    here, there = (names[name].summary for name in ("from_here", "from_inside"))
    for name in ("connections", "broadcasts", "expected", "delivered", "missing", "duplicate"):
        assert there[name] == here[name]
    text = (folder / "task 0.json").read_text()
    assert redact(text) == text
    kept = json.loads(text)
    assert (kept["image"], kept["said"]["state"]) == (fargate.IMAGE, "ended")
    assert kept["digests"][0].startswith("sha256:")
    definition = names["definition"]
    assert not definition.get("taskRoleArn") and not definition.get("executionRoleArn")
    secrets = [*names["secret"].values(), *(address for each in names["put"] for address in each.values())]
    assert not [secret for secret in secrets if secret.removeprefix("key=") in f"{definition} {names['tasks']()}"]
    assert running(lab) == []
    listed = lab.client("s3").list_objects_v2(Bucket=lab.load_test_bucket)["Contents"]
    assert not [each for each in listed if each["Key"] == names["code_key"]]


def test_run_again_it_makes_nothing_twice(inside):
    lab, _ = inside
    end = found("authorize_security_group_ingress") + 1

    def made():
        family = lab.client("ecs").list_task_definitions(familyPrefix=lab.load_test)["taskDefinitionArns"]
        return family, sorted(list_tagged_arns(lab)), list_resources(lab).to_csv()

    run_until(end, {}, TASKS=2, **LOAD)
    before = made()
    run_until(end, {}, TASKS=2, **LOAD)
    assert made() == before and "security-group" in f"{before}" and before[0]


@pytest.fixture(scope="module")
def ready(inside):
    """`ready(number)`: the names of the notebook's cells before it starts so many tasks, whose test takes long."""
    known = {}

    def before(number):
        if number not in known:
            run_until(GO, names := {}, TASKS=number, **LOAD)
            names["options"]["broadcasts"] = 100
            known[number] = names
        return known[number]

    return before


def end_one(lab, names, which, how):
    """Once the test delivers, end one of its tasks: by ECS, or as a machine that fails."""
    told = lambda: names["said"](0).get("test", {}).get("delivered", 0) > 100  # noqa: E731
    poll(told, "some deliveries", timeout_s=60, every_s=0.1, ignoring=(KeyError, TypeError))
    if how == "stop":
        lab.client("ecs").stop_task(cluster=lab.load_test, task=names["arns"][which], reason="enough")
        return
    for process in psutil.Process(local_cloud.status()["pid"]).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[-1:] == ["loadtest.task"] and process.environ()["LOADTEST_TASK"] == f"{which}":
                process.kill()


@pytest.mark.parametrize(
    ("number", "which", "how", "said"),
    [
        pytest.param(1, 0, "stop", r"The task has ended: It was stopped before its end\. AWS says: enough", id="one"),
        pytest.param(3, 2, "stop", r"Task 2 of 3 has ended: It was stopped", id="a worker", marks=several),
        pytest.param(3, 0, "kill", r"Task 0 of 3 has ended: .*137", id="the master dies", marks=several),
    ],
)
def test_a_task_that_ends_in_the_middle_is_a_sentence_and_what_was_measured_is_there(
    inside, ready, number, which, how, said
):
    lab, folder = inside
    names = ready(number)
    run_cells(INSIDE, [*range(SIGN, GO)], namespace=names, **LOAD)
    stopper = threading.Thread(target=end_one, args=[lab, names, which, how])
    stopper.start()
    with pytest.raises(LabError, match=said):
        run_cells(INSIDE, [GO], namespace=names, **LOAD)
    stopper.join()
    assert running(lab) == []
    if how == "kill":  # its records died with it, and its last sign is there
        assert json.loads((folder / "task 0.json").read_text())["said"]["test"]["delivered"] > 100
        return
    summary = results.load(folder / "from inside").summary
    assert summary["delivered"] > 20 and not summary["complete"]


def test_what_does_not_start_is_a_sentence(tmp_path, monkeypatch):
    """A quota that is used up; an account's first cluster, and an image that can't be fetched.

    That there is no default VPC is in tests/emulator/test_fargate.py.
    """
    monkeypatch.setenv("CHATLAB_TRAITS", "vcpu-quota,new-service-role=1,no-images")
    monkeypatch.setenv("CHATLAB_RUN", str(tmp_path / "run"))
    with chat_in(tmp_path) as lab:
        with pytest.raises(LabError, match=r"^4 tasks need 8 vCPUs, and your quota is 6: take fewer TASKS\.$"):
            run_until(GO, {}, TASKS=4, **LOAD)
        with pytest.raises(LabError, match=r"^The task has ended: AWS could not fetch its image: "):
            run_until(GO + 1, {}, **LOAD)
        assert running(lab) == []


def test_addresses_name_the_regions_own_s3():
    """S3 redirects those of a new bucket that name no Region, and a redirected PUT fails. Signing needs no AWS."""
    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret"}
    aws = SimpleNamespace(client=partial(boto3.Session(region_name="eu-central-1").client, **keys))
    names = {"room_key": SimpleNamespace(query_string=lambda _: ""), "options": {}, "TASKS": 1, "MAX_SECONDS": 600}
    first, *_ = sources = cells(INSIDE, **LOAD)
    run_cell(first.partition("lab = ")[0], own := {})
    own |= names | {"lab": aws, "url": "wss://chat", "bucket": {"Bucket": "chat-load"}}
    run_cell(sources[SIGN], own)
    for url in (own["code_address"], *own["put"][0].values()):
        assert url.startswith("https://chat-load.s3.eu-central-1.amazonaws.com/")


class Killed(BaseException):
    """The kernel is gone: nothing of the cell runs any more."""


# In the one that starts tasks, all that the notebook makes is there.
@pytest.mark.parametrize("number", [GO, *(pytest.param(number, marks=pytest.mark.long) for number in range(GO))])
def test_killed_anywhere_nothing_is_left(inside, number):
    """After the cell with this number; in the one that starts tasks, while they run."""
    chat, _ = inside
    lab, names = Lab.choose("local", f"k10-{number}"), {}
    build_chat()
    load = LOAD | {"TASKS": 1 if sys.platform == "darwin" else 2}
    run_until(min(number + 1, GO), names, **load)
    if number == GO:

        def killed(*_, **__):
            assert len(names["arns"]) == len(running(lab)) == load["TASKS"]
            raise Killed

        names |= {"poll": killed, "stop": lambda: None, "fetch": lambda: None}
        with pytest.raises(Killed):
            run_cells(INSIDE, [GO], namespace=names, **load)
    assert "Nothing is left" in run_cells(TEARDOWN)
    assert list_resources(lab).empty and list_tagged_arns(lab) == []
    cloud = psutil.Process(local_cloud.status()["pid"])
    assert not [each for each in cloud.children(recursive=True) if "MAX_SECONDS" in f"{each.cmdline()}"]
    Lab.choose("local", chat.name)
