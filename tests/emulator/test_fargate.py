"""A task on Fargate, as the local cloud plays it: its whole life, its limits, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from chatlab import LabError, local_cloud, poll
from chatlab.notebooks import OPTIONAL
from chatlab.paths import state_dir
from tests.support.cells import cells, run_cell
from tests.support.labs import lab_in
from tests.support.tasks import define, run

REPORT = """
import json, os, resource, sys, urllib.request
found = {"environment": dict(os.environ), "files": os.listdir(), "home": os.path.realpath("."), "session": os.getsid(0),
         "pid": os.getpid(), "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0]}
urllib.request.urlopen(urllib.request.Request(os.environ["PUT"], json.dumps(found).encode(), method="PUT"))
print("done")
sys.exit(3)
"""
ON_SIGTERM = """
import signal, sys, time
signal.signal(signal.SIGTERM, {})
print("It is ready.", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with lab_in(tmp_path_factory.mktemp("fargate") / "home") as lab:
        lab.client("ecs").create_cluster(clusterName=lab.load_test)
        yield lab


def start(lab, code="", groups=(), **container):
    """Run a task with this code of Python's; its ARN."""
    more = [{"name": "load-test", "environment": [{"name": "MORE", "value": "1"}]}]
    command = {"command": ["python", "-c", code]} if code else {}
    return run(lab, define(lab, **command | container), groups, overrides={"containerOverrides": more})


def describe(lab, task):
    return lab.client("ecs").describe_tasks(cluster=lab.load_test, tasks=[task])["tasks"][0]


def wait_for(lab, task, status):
    deadline = time.monotonic() + 15
    while (found := describe(lab, task))["lastStatus"] != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def stop(lab, task):
    stopping = lab.client("ecs").stop_task(cluster=lab.load_test, task=task, reason="enough")["task"]
    assert stopping["desiredStatus"] == "STOPPED"
    return wait_for(lab, task, "STOPPED")


def code(error):
    return error.value.response["Error"]["Code"]


def test_a_task_is_a_process_with_its_own_environment_folder_limits_and_address(lab):
    # Version 4: in us-east-1 boto3 presigns with version 2, which takes in the Content-Type that urllib adds.
    s3 = lab.client("s3", config=Config(signature_version="s3v4"))
    s3.create_bucket(Bucket=lab.bucket)
    put = s3.generate_presigned_url("put_object", Params={"Bucket": lab.bucket, "Key": "found"}, ExpiresIn=60)
    ulimits = [{"name": "nofile", "softLimit": 512, "hardLimit": 512}]
    task = start(lab, REPORT, environment=[{"name": "PUT", "value": put}], ulimits=ulimits)
    stopped = wait_for(lab, task, "STOPPED")
    (container,) = stopped["containers"]
    assert stopped["stopCode"] == "EssentialContainerExited"
    assert stopped["stoppedReason"] == "Essential container in task exited"
    assert container["exitCode"] == 3 and container["imageDigest"].startswith("sha256:")
    assert stopped["createdAt"] <= stopped["startedAt"] <= stopped["stoppedAt"]
    assert [each["name"] for each in stopped["attachments"][0]["details"]] == [
        "subnetId", "networkInterfaceId", "macAddress", "privateIPv4Address",
    ]  # fmt: skip

    found = json.loads(s3.get_object(Bucket=lab.bucket, Key="found")["Body"].read())
    own = {"PUT", "MORE", "PATH", "LANG", "LC_CTYPE", "HOME", "TMPDIR"}
    assert set(found["environment"]) <= own
    assert found["environment"]["HOME"] == found["environment"]["TMPDIR"] != str(Path.home())
    assert (found["files"], found["nofile"], found["session"]) == ([], 512, found["pid"])
    assert not Path(found["home"]).exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="it has one address on loopback, for one task")
def test_what_a_task_uses_can_not_be_deleted_until_it_has_stopped(lab):
    ec2, ecs = lab.client("ec2"), lab.client("ecs")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="any", Description="any", VpcId=vpc)["GroupId"]
    deaf, polite = ON_SIGTERM.format("signal.SIG_IGN"), ON_SIGTERM.format("lambda *_: sys.exit(7)")
    tasks = [start(lab, deaf, groups=[group], stopTimeout=2), start(lab, polite, groups=[group])]
    running = [wait_for(lab, task, "RUNNING") for task in tasks]
    addresses = [detail["value"] for task in running for detail in task["attachments"][0]["details"][3:]]
    port = local_cloud.status()["port"]  # no other cloud's tasks have these addresses
    assert all(address.startswith(f"127.{port // 256}.{port % 256}.") for address in addresses)
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    assert any(route.get("GatewayId", "").startswith("igw-") for route in table["Routes"])
    interfaces = ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert sorted(each["PrivateIpAddress"] for each in interfaces) == sorted(addresses)
    with pytest.raises(ClientError) as error:
        ecs.delete_cluster(cluster=lab.load_test)
    assert code(error) == "ClusterContainsTasksException"
    with pytest.raises(ClientError) as error:
        ec2.delete_security_group(GroupId=group)
    assert code(error) == "DependencyViolation"
    poll(lambda: (state_dir() / "cloud.log").read_text().count("It is ready.") == 2, "what both have printed")
    stopped = [stop(lab, task) for task in tasks]
    assert [task["containers"][0]["exitCode"] for task in stopped] == [137, 7]
    assert {(task["stopCode"], task["stoppedReason"]) for task in stopped} == {("UserInitiated", "enough")}
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    ec2.delete_security_group(GroupId=group)


def test_an_image_that_is_none_and_too_much_memory_are_told_as_aws_does(lab):
    task = wait_for(lab, start(lab, image="public.ecr.aws/docker/library/pyton:3.12"), "STOPPED")
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("CannotPullContainerError: pull image manifest")
    task = wait_for(lab, start(lab, "import time; x = bytearray(2**27); time.sleep(60)", memory=64), "STOPPED")
    assert (task["containers"][0]["exitCode"], task["containers"][0]["reason"][:17]) == (137, "OutOfMemoryError:")


def test_what_aws_refuses_is_refused(lab):
    ecs = lab.client("ecs")
    definition = describe(lab, start(lab, "pass"))["taskDefinitionArn"]
    network = {"awsvpcConfiguration": {"subnets": ["subnet-of-nobody"]}}
    run = {"taskDefinition": definition, "launchType": "FARGATE", "networkConfiguration": network}
    for changed, expected in (
        ({"cluster": "none"}, "ClusterNotFoundException"),
        ({"cluster": lab.load_test}, "InvalidParameterException"),
        ({"cluster": lab.load_test, "networkConfiguration": {}}, "InvalidParameterException"),
    ):
        with pytest.raises(ClientError) as error:
            ecs.run_task(**run | changed)
        assert code(error) == expected
    assert ecs.delete_task_definitions(taskDefinitions=[definition])["failures"]
    ecs.deregister_task_definition(taskDefinition=definition)
    with pytest.raises(ClientError, match="inactive"):
        ecs.run_task(**run | {"cluster": lab.load_test})
    assert not ecs.delete_task_definitions(taskDefinitions=[definition])["failures"]


def test_a_task_ends_with_the_local_cloud_also_if_that_is_killed(lab):
    """The last test that uses this cloud."""
    begins_another = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time;time.sleep(61)'])"
    wait_for(lab, start(lab, begins_another), "RUNNING")
    cloud = psutil.Process(local_cloud.status()["pid"])
    last_words = lambda: [each.cmdline()[-1] for each in cloud.children(recursive=True)]  # noqa: E731
    poll(lambda: "import time;time.sleep(61)" in last_words(), "the other one")
    processes = cloud.children(recursive=True)
    assert list(state_dir().rglob("task-*"))
    os.kill(cloud.pid, signal.SIGKILL)
    assert not psutil.wait_procs(processes, timeout=5)[1]
    assert not list(state_dir().rglob("task-*"))


def test_how_a_task_begins_and_ends_on_a_bad_day(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_TRAITS", "new-service-role=0.5,task-start=1,task-stops=0.5,vcpu-quota=0.25")
    with lab_in(tmp_path / "home") as lab:
        with pytest.raises(ClientError, match="service linked role") as error:
            lab.client("ecs").create_cluster(clusterName=lab.load_test)
        assert code(error) == "InvalidParameterException"
        time.sleep(0.5)
        lab.client("ecs").create_cluster(clusterName=lab.load_test)
        quota = lab.client("service-quotas").get_service_quota(ServiceCode="fargate", QuotaCode="L-3032A538")
        assert quota["Quota"]["Value"] == 0.25
        task = start(lab)
        assert describe(lab, task)["lastStatus"] == "PROVISIONING"
        with pytest.raises(AssertionError, match="limit on the number of vCPUs"):
            start(lab)
        stopped = wait_for(lab, task, "STOPPED")
        assert (stopped["startedAt"] - stopped["createdAt"]).total_seconds() >= 1
        assert stopped["stopCode"] == "TerminationNotice" and "maintenance" in stopped["stoppedReason"]


def test_an_account_without_a_network_or_an_image(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_TRAITS", "no-default-vpc,no-images")
    with lab_in(tmp_path / "home") as lab:
        ec2 = lab.client("ec2")
        lab.client("ecs").create_cluster(clusterName=lab.load_test)
        assert ec2.describe_vpcs()["Vpcs"] == ec2.describe_subnets()["Subnets"] == []
        where = next(source for source in cells(OPTIONAL["region_load"]) if "describe_route_tables" in source)
        with pytest.raises(LabError, match=r"^There is no default VPC in us-east-1: `aws ec2 create-default-vpc"):
            run_cell(where, {"lab": lab, "ec2": ec2, "SUBNET": None, "LabError": LabError})
        ec2.create_default_vpc()
        task = wait_for(lab, start(lab), "STOPPED")
        assert (task["stopCode"], task["stoppedReason"][-12:]) == ("TaskFailedToStart", " i/o timeout")


ONE_ADDRESS = """
from chatlab.emulator import fargate
fargate.ADDRESSES = ["127.0.0.1"]
fargate.correct({})
fargate.ec2._ensure_defaults_initialized()
fargate._handlers["CreateCluster"]({"clusterName": "chat"})
definition = {"family": "chat", "cpu": "256", "containerDefinitions": [{"name": "one", "image": "python"}]}
fargate._handlers["RegisterTaskDefinition"](definition)
network = {"awsvpcConfiguration": {"subnets": ["subnet-00000001"]}}
run = {"cluster": "chat", "taskDefinition": "chat", "count": 2, "networkConfiguration": network}
print(fargate.run_task(1, run)[2].decode())
"""


def test_a_machine_with_one_loopback_address_runs_one_task_at_a_time():
    found = subprocess.run([sys.executable, "-c", ONE_ADDRESS], capture_output=True, text=True, timeout=60)
    assert "has 1 loopback address for tasks" in found.stdout and "TASKS=1" in found.stdout, found.stderr
