"""ECS on Fargate, which MiniStack plays with Docker, or as a task that is RUNNING and does nothing.

Here a task is a process of this machine: `chatlab.emulator.container`. It has the environment of its definition and
nothing of yours, its own empty folder, limits of open files and memory, and an address of its own on loopback, with a
network interface. Each image of Python's is this machine's Python. What it prints goes into the local cloud's log. A
second container in a task, a role, a log driver and a volume are not played.

What MiniStack answers otherwise than AWS is corrected: who may run what where, how a task stops, what can't be deleted.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

import hashlib
import itertools
import logging
import math
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import psutil
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response, request_scope
from ministack.services import ec2, ecs

from chatlab.emulator import container
from chatlab.emulator.account import VCPUS

Record: TypeAlias = dict[str, Any]  # a task, a container, a request, ..., as MiniStack has it
Answer: TypeAlias = tuple[int, dict[str, str], bytes]  # status, headers, body

# macOS has one loopback address, Linux all of 127.0.0.0/8: each local cloud takes some that no other one does.
PORT = int(os.environ.get("GATEWAY_PORT", "443"))
ADDRESSES = [f"127.{PORT >> 8}.{PORT & 255}.{n}" for n in range(1, 255)] if sys.platform != "darwin" else ["127.0.0.1"]
STOP_TIMEOUT_S = 30  # by default, from SIGTERM to SIGKILL; and the open files: botocore's model of Ulimit
MAX_OPEN_FILES = 65_535
MAX_LINE_BYTES = 1_000  # of what a task prints, for each line of the log
PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
PYTHON_IMAGE = re.compile(r"(?:[\w.:-]+/)*[\w.-]*python[\w.-]*(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?")

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
CANNOT_PULL = "CannotPullContainerError: pull image manifest has been retried {} time(s): failed to resolve ref {}: {}"
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
OUT_OF_VCPUS = (  # as `failures` have it, and events of services
    "You've reached the limit on the number of vCPUs you can run concurrently. For more information, see the "
    "Troubleshooting section of the Amazon ECS Developer Guide."
)
STILL_ACTIVE = "The specified task definition is still in ACTIVE status. Please deregister the target and try again."
MAINTENANCE = "ECS is performing maintenance on the underlying infrastructure hosting the task."

logger = logging.getLogger("fargate")
_lock = threading.Lock()
_used_addresses = set[str]()
_answered: dict[str, Answer] = {}  # by RunTask's clientToken: boto3 sends the same one when it tries again
_handlers: dict[str, Callable[[Record], Answer]] = dict(ecs._ACTION_MAP)  # MiniStack's own, which those below call
_init_defaults, _delete_security_group = ec2._init_defaults, ec2._ACTION_MAP["DeleteSecurityGroup"]


def correct(traits: Mapping[str, float | None]) -> None:
    """From now on, in this process, MiniStack plays Fargate as this module's head says, with these traits."""
    ecs._docker = object()  # so a task begins as PROVISIONING; nothing is asked of it, since no task has a container
    start_s, stops_after_s = traits.get("task-start") or 0.0, traits.get("task-stops") or math.inf
    ecs._run_task_worker = partial(live, start_s, stops_after_s, "no-images" not in traits)
    ecs._ACTION_MAP |= {
        "DeleteCluster": delete_cluster, "DeleteTaskDefinitions": delete_task_definitions,
        "RunTask": partial(run_task, traits.get("vcpu-quota") or VCPUS), "StopTask": stop_task,
    }  # fmt: skip
    ec2._ACTION_MAP["DeleteSecurityGroup"] = delete_security_group
    ec2._init_defaults = partial(make_defaults, "no-default-vpc" not in traits)
    ec2._default_initialized_scopes.clear()
    for store in (ec2._vpcs, ec2._subnets, ec2._route_tables):
        store.clear()


# --- a task's life ---------------------------------------------------------------------------------------------------


class CannotStart(Exception):
    """Says why, in AWS's words."""


def live(
    start_s: float, stops_after_s: float, pulls: bool,
    task: Record, definition: Record, overrides: list[Record], _: object, account_id: str, region: str,
) -> None:  # fmt: skip
    """The whole life of a task, in a thread of its own; in place of MiniStack's `_run_task_worker`."""
    arn, (said,) = task["taskArn"], task["containers"]
    with request_scope(account_id, region):
        for mark in (ecs._mark_task_pending, ecs._mark_task_activating):
            time.sleep(start_s / 2)
            mark(arn, task)
        process = None
        try:
            if ecs._task_is_active(arn, task):
                process, address = start(pulls, task, definition["containerDefinitions"][0], overrides)
                interface = attach(task, address)
        except CannotStart as error:
            ecs._mark_task_stopped(arn, task, f"{error}", "TaskFailedToStart")
        if process:
            said |= {"lastStatus": "RUNNING", "runtimeId": interface}
            ecs._mark_task_running(arn, task)
            watch(stops_after_s, process, task, definition)
            said["exitCode"] = process.returncode
            _used_addresses.discard(address)
            del ec2._network_interfaces[interface]
            ecs._mark_task_stopped(arn, task, "Essential container in task exited", "EssentialContainerExited")
        if task["lastStatus"] != "STOPPED":  # it was told to stop
            now = ecs._iso()
            said["lastStatus"] = "STOPPED"
            task |= {"lastStatus": "STOPPED", "executionStoppedAt": now, "stoppedAt": now}


def start(
    pulls: bool, task: Record, definition: Record, overrides: list[Record]
) -> tuple["subprocess.Popen[bytes]", str]:
    """Start a task's only container; the process, and the task's address. Raises CannotStart."""
    image: str = definition["image"]
    if not pulls:
        raise CannotStart(CANNOT_PULL.format(5, image, f'failed to do request: Head "https://{image}": i/o timeout'))
    if not PYTHON_IMAGE.fullmatch(image):
        raise CannotStart(CANNOT_PULL.format(1, image, f"{image}: not found"))
    own: Record = next((each for each in overrides if each["name"] == definition["name"]), {})
    command = own.get("command") or definition.get("command") or ["python3"]
    if not shutil.which(command[0], path=PATH):
        raise CannotStart(f'CannotStartContainerError: exec: "{command[0]}": executable file not found in $PATH')
    folder = tempfile.mkdtemp(prefix="task-")
    environment = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder}
    if authority := os.environ.get("AWS_CA_BUNDLE"):  # whom everybody trusts in this cloud
        environment["SSL_CERT_FILE"] = authority
    for pair in definition.get("environment", []) + own.get("environment", []):
        environment[pair["name"]] = pair["value"]
    limits = {each["name"]: each["softLimit"] for each in definition.get("ulimits", [])}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", container.__file__, f"{limits.get('nofile', MAX_OPEN_FILES)}", folder, *command],
        cwd=folder, env=environment, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    with _lock:
        address = next(each for each in ADDRESSES if each not in _used_addresses)
        _used_addresses.add(address)
    task["containers"][0]["imageDigest"] = f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
    threading.Thread(target=_log, args=[process, address], daemon=True).start()
    return process, address


def _log(process: "subprocess.Popen[bytes]", address: str) -> None:
    """Log what a task prints."""
    assert process.stdout
    while line := process.stdout.readline(MAX_LINE_BYTES):
        logger.info("%s: %s", address, line.decode(errors="replace").rstrip())


def attach(task: Record, address: str) -> str:
    """Give a task a network interface; its id."""
    groups = [ec2._security_groups.get(each) for each in task["overrides"]["_security_groups"] or [ec2._DEFAULT_SG_ID]]
    subnet, interface, mac = ec2._subnets[task["_subnet"]], f"eni-{secrets.token_hex(9)[:17]}", "02:00:00:00:00:00"
    ec2._network_interfaces[interface] = {
        "NetworkInterfaceId": interface, "SubnetId": subnet["SubnetId"], "VpcId": subnet["VpcId"],
        "AvailabilityZone": subnet["AvailabilityZone"], "Description": task["taskArn"], "Status": "in-use",
        "OwnerId": get_account_id(), "PrivateIpAddress": address, "MacAddress": mac,
        "Groups": [{"GroupId": each["GroupId"], "GroupName": each["GroupName"]} for each in groups if each],
    }  # fmt: skip
    details = {
        "subnetId": subnet["SubnetId"], "networkInterfaceId": interface, "macAddress": mac,
        "privateIPv4Address": address,
    }  # fmt: skip
    attachment = {"id": ecs.new_uuid(), "type": "ElasticNetworkInterface", "status": "ATTACHED"}
    task["attachments"] = [attachment | {"details": [{"name": key, "value": each} for key, each in details.items()]}]
    return interface


def watch(stops_after_s: float, process: "subprocess.Popen[bytes]", task: Record, definition: Record) -> None:
    """Wait until a task's process has ended: by itself, because the task is to stop, or for too much memory."""
    assert process.stdin
    (own,) = definition["containerDefinitions"]
    max_bytes = int(own.get("memory") or task["memory"]) * 2**20
    began, kill_at, rounds = time.monotonic(), math.inf, itertools.count()
    while process.poll() is None:
        now = time.monotonic()
        if now - began > stops_after_s:
            begin_to_stop(task, MAINTENANCE, "TerminationNotice")
        if task["desiredStatus"] == "STOPPED" and kill_at == math.inf:
            process.terminate()
            kill_at = now + own.get("stopTimeout", STOP_TIMEOUT_S)
        # To look at all processes takes milliseconds, which a load test would see: once a second is enough.
        if too_large := next(rounds) % 5 == 0 and _memory_bytes(process.pid) > max_bytes:
            task["containers"][0]["reason"] = OUT_OF_MEMORY
        if too_large or now > kill_at:
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


def _memory_bytes(pid: int) -> int:
    """The memory of a process's descendants that is in RAM: a container has no other."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total


def begin_to_stop(task: Record, reason: str, code: str) -> None:
    """Let a task's own thread stop it."""
    with ecs.resource_lock("ecs-task", task["taskArn"]):
        if ecs._task_is_active(task["taskArn"], task):
            task |= {"desiredStatus": "STOPPED", "stoppingAt": ecs._iso(), "stoppedReason": reason, "stopCode": code}


# --- calls -----------------------------------------------------------------------------------------------------------


def _error(code: str, message: str) -> Answer:
    answer: Answer = error_response_json(code, message, 400)
    return answer


def _json(body: Record) -> Answer:
    answer: Answer = json_response(body)
    return answer


def _alive() -> list[Record]:
    return [task for task in ecs._tasks.values() if task["lastStatus"] != "STOPPED"]


def run_task(vcpus: float, data: Record) -> Answer:
    """MiniStack's, if AWS would run the task. `vcpus` is the account's quota."""
    token = data.get("clientToken", "")
    if token in _answered:
        return _answered[token]
    network = data.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    definition = ecs._task_defs.get(ecs._resolve_td_key(data["taskDefinition"])) or {}
    if ecs._resolve_cluster_name(data.get("cluster", "default")) not in ecs._clusters:
        return _error("ClusterNotFoundException", "Cluster not found.")
    if definition.get("status", "ACTIVE") != "ACTIVE":
        return _error("ClientException", "TaskDefinition is inactive")
    if not network.get("subnets"):
        needed = "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        return _error("InvalidParameterException", needed)
    for kind, store in (("subnets", ec2._subnets), ("securityGroups", ec2._security_groups)):
        if missing := [name for name in network.get(kind, []) if name not in store]:
            why = f"Error retrieving information for {missing}: the ID '{missing[0]}' does not exist"
            return _error("InvalidParameterException", why)
    alive, count = _alive(), data.get("count", 1)
    if len(alive) + count > len(ADDRESSES):
        few = f"This machine has {len(ADDRESSES)} loopback address for tasks, so it runs that many at a time."
        return _error("ClientException", f"{few} Stop the others, or start fewer: TASKS={len(ADDRESSES)}.")
    used = sum(int(task["cpu"]) for task in alive) + count * int(definition.get("cpu", 0))
    if used > 1024 * vcpus:
        return _json({"tasks": [], "failures": [{"reason": OUT_OF_VCPUS}]})
    # MiniStack keeps the overrides with the task, and shows nothing that begins with "_".
    data.setdefault("overrides", {})["_security_groups"] = network.get("securityGroups")
    answer = _handlers["RunTask"](data)
    if token:
        _answered[token] = answer
    return answer


def stop_task(data: Record) -> Answer:
    """MiniStack's says at once that the task has stopped."""
    task = ecs._resolve_task(data["task"], ecs._resolve_cluster_name(data.get("cluster", "default")))
    if task is None:
        return _handlers["StopTask"](data)  # which says so
    begin_to_stop(task, data.get("reason", "Task stopped by user"), "UserInitiated")
    return _json({"task": ecs._sanitize(task)})


def delete_cluster(data: Record) -> Answer:
    """MiniStack's, if no task of it runs."""
    arn = f"arn:aws:ecs:{get_region()}:{get_account_id()}:cluster/{ecs._resolve_cluster_name(data['cluster'])}"
    if any(task["clusterArn"] == arn for task in _alive()):
        return _error("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
    return _handlers["DeleteCluster"](data)


def delete_task_definitions(data: Record) -> Answer:
    """MiniStack's, if all of them are deregistered."""
    found = [ecs._task_defs.get(ecs._resolve_td_delete_key(name)) or {} for name in data["taskDefinitions"]]
    active = [each["taskDefinitionArn"] for each in found if each.get("status") == "ACTIVE"]
    if active:
        return _json({"taskDefinitions": [], "failures": [{"arn": arn, "reason": STILL_ACTIVE} for arn in active]})
    return _handlers["DeleteTaskDefinitions"](data)


def make_defaults(with_vpc: bool) -> None:
    """MiniStack's default VPC, with a way to the internet as AWS's has it; or none."""
    _init_defaults()
    route = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": ec2._DEFAULT_IGW_ID, "State": "active"}
    ec2._route_tables[ec2._DEFAULT_RTB_ID]["Routes"].append(route | {"Origin": "CreateRoute"})
    for store in () if with_vpc else (ec2._vpcs, ec2._subnets, ec2._route_tables, ec2._security_groups):
        for name in list(store):
            del store[name]


def delete_security_group(parameters: Record) -> Answer:
    """MiniStack's, if no network interface has the group."""
    group = ec2._p(parameters, "GroupId")
    has_it = any(group == each["GroupId"] for eni in ec2._network_interfaces.values() for each in eni["Groups"])
    violation = "DependencyViolation", f"resource {group} has a dependent object", 400
    answer: Answer = ec2._error(*violation) if has_it else _delete_security_group(parameters)
    return answer
