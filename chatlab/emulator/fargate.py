"""ECS on Fargate, which MiniStack plays with Docker, or as a task that is RUNNING and does nothing.

Here a task's container is a process of this machine: `chatlab.emulator.container`. It has the environment of its task
definition and nothing of yours, its own empty folder, a limit of open files and of memory, an address of its own on
loopback, and a network interface with it. Each image of Python's is this machine's Python. What a task prints goes into
the local cloud's log; a log driver, a role, a volume and a second container in a task are not played.

What MiniStack answers otherwise than AWS is corrected: who may run what where, how a task stops, what can't be deleted.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
"""

import hashlib
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import psutil
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response, request_scope
from ministack.services import ec2, ecs

from chatlab.emulator import container

Record: TypeAlias = dict[str, Any]  # a task, a container, ..., as MiniStack keeps it
Answer: TypeAlias = tuple[int, dict[str, str], bytes]  # status, headers, body
Handler: TypeAlias = Callable[[Record], Answer]

# Linux has all of 127.0.0.0/8, macOS only the first.
ADDRESSES = ["127.0.0.1"] if sys.platform == "darwin" else [f"127.0.1.{number}" for number in range(1, 255)]
STOP_TIMEOUT_S = 30  # by default, from SIGTERM to SIGKILL
MAX_OPEN_FILES = 65_535  # by default: botocore's model of Ulimit
MAX_LINE_BYTES = 1_000  # of what a container prints, for each line of the log
# What MiniStack gives each container so that it can call AWS, and ask about itself, which is not played here.
NOT_OF_A_TASK = {
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_ENDPOINT_URL",
    "ECS_CONTAINER_METADATA_URI_V4",
}  # fmt: skip
PYTHON_IMAGE = re.compile(r"(?:[\w.:-]+/)*[\w.-]*python[\w.-]*(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?")

# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
NOT_FOUND = "pull image manifest has been retried 1 time(s): failed to resolve ref {image}: {image}: not found"
NO_ANSWER = (
    "pull image manifest has been retried 5 time(s): failed to resolve ref {image}: failed to do request: Head "
    '"https://{image}": dial tcp: i/o timeout'
)
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

# MiniStack's own functions, which those below call.
_handlers: dict[str, Handler] = dict(ecs._ACTION_MAP)
_init_defaults = ec2._init_defaults
_delete_security_group = ec2._ACTION_MAP["DeleteSecurityGroup"]
_mark_task_stopped = ecs._mark_task_stopped
_mark_task_running = ecs._mark_task_running
_mark_task_pending, _mark_task_activating = ecs._mark_task_pending, ecs._mark_task_activating


def correct(
    *,
    start_s: float = 0.0,
    stops_after_s: float | None = None,
    vcpus: float = float("inf"),
    pulls: bool = True,
    default_vpc: bool = True,
) -> None:
    """From now on, in this process, MiniStack plays Fargate as this module's head says.

    Args:
        start_s: how long a task is PROVISIONING, PENDING and ACTIVATING, in seconds.
        stops_after_s: how long a task runs until AWS stops it; None: as long as it likes.
        vcpus: the account's quota of vCPUs that run at a time.
        pulls: whether images can be pulled.
        default_vpc: whether the account has a default VPC.
    """
    ecs._docker = Containers()
    ecs._run_docker_container = partial(start_container, pulls=pulls)
    ecs._record_task_ip, ecs._mark_task_stopped = attach, mark_task_stopped
    if start_s:
        ecs._mark_task_pending = partial(_after, start_s / 2, _mark_task_pending)
        ecs._mark_task_activating = partial(_after, start_s / 2, _mark_task_activating)
    if stops_after_s is not None:
        ecs._mark_task_running = partial(mark_task_running, stops_after_s)
    ecs._ACTION_MAP |= {
        "DeleteCluster": delete_cluster,
        "DeleteTaskDefinitions": delete_task_definitions,
        "RunTask": partial(run_task, vcpus),
        "StopTask": stop_task,
    }
    ec2._ACTION_MAP["DeleteSecurityGroup"] = delete_security_group
    ec2._init_defaults = partial(make_defaults, default_vpc)
    ec2._default_initialized_scopes.clear()
    for store in (ec2._vpcs, ec2._subnets, ec2._route_tables):
        store.clear()


# --- containers ------------------------------------------------------------------------------------------------------


class Containers(dict[str, "Container"]):
    """The containers by id, where MiniStack has a Docker client."""

    @property
    def containers(self) -> "Containers":
        """As docker-py calls them."""
        return self

    def __bool__(self) -> bool:
        return True

    def get(self, key: str, default: Any = None) -> Any:
        """Raises KeyError if there is no such container: MiniStack asks whether it runs in one itself."""
        return self[key]

    def list(self, **_: object) -> list["Container"]:
        """All of them."""
        return list(self.values())


class Container:
    """A process, with what MiniStack takes of docker-py's Container."""

    def __init__(self, command: list[str], environment: dict[str, str], max_open_files: int, max_bytes: int) -> None:
        """Start it. Raises OSError if no address is free, or if there is no such command."""
        self.id, self.interface = secrets.token_hex(32), f"eni-{secrets.token_hex(9)[:17]}"
        with _lock:
            self.address = next((each for each in ADDRESSES if each not in _used_addresses), "")
            _used_addresses.add(self.address)
        if not self.address:
            raise OSError("no address is free")
        self._max_bytes, self._has_ended = max_bytes, threading.Event()
        folder = tempfile.mkdtemp(prefix="task-")
        own = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
        own |= {"HOME": folder, "TMPDIR": folder}
        if authority := os.environ.get("AWS_CA_BUNDLE"):  # whom everybody trusts in this cloud
            own["SSL_CERT_FILE"] = authority
        try:
            if not shutil.which(command[0], path=own["PATH"]):
                raise OSError(f'exec: "{command[0]}": executable file not found in $PATH')
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", container.__file__, str(max_open_files), folder, *command],
                cwd=folder, env=own | environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError:
            _used_addresses.discard(self.address)
            shutil.rmtree(folder)
            raise
        threading.Thread(target=self._log, daemon=True).start()

    def _log(self) -> None:
        """Log what it prints."""
        assert self._process.stdout
        while line := self._process.stdout.readline(MAX_LINE_BYTES):
            logger.info("%s: %s", self.address, line.decode(errors="replace").rstrip())

    def watch(self, record: Record, ended: Callable[[], None]) -> None:
        """Kill it if it takes too much memory, until it has ended; then call `ended`. `record` gets the reason."""
        while self._process.poll() is None:
            if _memory_bytes(self._process.pid) > self._max_bytes:
                record["reason"] = OUT_OF_MEMORY
                self.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
        _used_addresses.discard(self.address)
        ended()
        self._has_ended.set()

    @property
    def status(self) -> str:
        """In Docker's words: running or exited."""
        return "exited" if self._has_ended.is_set() else "running"

    def reload(self) -> None:
        """Nothing: what is read here is never old."""

    def wait(self) -> dict[str, int]:
        """Its exit status, once it has ended."""
        self._has_ended.wait()
        return {"StatusCode": self._process.returncode}

    def stop(self, timeout: float) -> None:
        """SIGTERM; SIGKILL if it has not ended after so many seconds."""
        self._process.terminate()
        if not self._has_ended.wait(timeout):
            self.kill()
            self._has_ended.wait()

    def kill(self) -> None:
        """SIGKILL for it and all that it has started."""
        assert self._process.stdin
        self._process.stdin.close()

    def remove(self, **_: object) -> None:
        """Nothing: it removes its folder itself."""


def _memory_bytes(pid: int) -> int:
    """The memory of a process's descendants that is in RAM: a container has no other."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total


def start_container(
    containers: Containers, definition: Record, options: Record, *, pulls: bool, **_: object
) -> Container:
    """Start a container of a task, in place of MiniStack's `_run_docker_container`.

    Args:
        definition: the container's, with the overrides of RunTask.
        options: as MiniStack hands them to Docker.
    """
    image: str = definition["image"]
    if not pulls or not PYTHON_IMAGE.fullmatch(image):
        raise ecs._ImagePullError((NOT_FOUND if pulls else NO_ANSWER).format(image=image))
    task: Record = ecs._tasks[options["labels"]["com.amazonaws.ecs.task-arn"]]
    (record,) = (each for each in task["containers"] if each["name"] == definition["name"])
    record["imageDigest"] = f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
    environment = {name: value for name, value in options["environment"].items() if name not in NOT_OF_A_TASK}
    limits = {each["name"]: each["softLimit"] for each in definition.get("ulimits", [])}
    megabytes = int(definition.get("memory") or task["memory"])
    started = Container(
        options["command"] or ["python3"], environment, limits.get("nofile", MAX_OPEN_FILES), megabytes * 2**20
    )
    containers[started.id] = started

    def ended() -> None:
        _, _, _, region, account_id, _ = task["taskArn"].split(":", 5)
        with request_scope(account_id, region):
            ec2._network_interfaces.pop(started.interface, None)

    threading.Thread(target=started.watch, args=[record, ended], daemon=True).start()
    return started


def attach(task: Record, started: Container, _network: object) -> None:
    """Give a task its network interface, in place of MiniStack's `_record_task_ip`."""
    groups = task["overrides"].get("_security_groups") or [ec2._DEFAULT_SG_ID]
    subnet, identifier, mac = ec2._subnets[task["_subnet"]], started.interface, "02:00:00:00:00:00"
    ec2._network_interfaces[identifier] = {
        "NetworkInterfaceId": identifier, "SubnetId": subnet["SubnetId"], "VpcId": subnet["VpcId"],
        "AvailabilityZone": subnet["AvailabilityZone"], "Description": task["taskArn"], "Status": "in-use",
        "OwnerId": get_account_id(), "PrivateIpAddress": started.address, "MacAddress": mac,
        "Groups": [{"GroupId": each, "GroupName": ec2._security_groups[each]["GroupName"]} for each in groups],
    }  # fmt: skip
    if started.status == "exited":  # so soon that its end has found none
        del ec2._network_interfaces[identifier]
    details = {
        "subnetId": subnet["SubnetId"], "networkInterfaceId": identifier, "macAddress": mac,
        "privateIPv4Address": started.address,
    }  # fmt: skip
    task["attachments"] = [
        {
            "id": ecs.new_uuid(), "type": "ElasticNetworkInterface", "status": "ATTACHED",
            "details": [{"name": name, "value": value} for name, value in details.items()],
        }
    ]  # fmt: skip


# --- calls -----------------------------------------------------------------------------------------------------------


def _error(code: str, message: str) -> Answer:
    answer: Answer = error_response_json(code, message, 400)
    return answer


def delete_cluster(data: Record) -> Answer:
    """MiniStack's, if no task of it runs."""
    arn = f"arn:aws:ecs:{get_region()}:{get_account_id()}:cluster/{ecs._resolve_cluster_name(data['cluster'])}"
    if any(task["clusterArn"] == arn and task["lastStatus"] != "STOPPED" for task in ecs._tasks.values()):
        return _error("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
    return _handlers["DeleteCluster"](data)


def delete_task_definitions(data: Record) -> Answer:
    """MiniStack's, of those that are deregistered. They are gone at once, unless a task still has them."""
    refused, names = [], data["taskDefinitions"]
    for name in names:
        definition = ecs._task_defs.get(ecs._resolve_td_delete_key(name)) or {}
        if definition.get("status") == "ACTIVE":
            refused.append({"arn": definition["taskDefinitionArn"], "reason": STILL_ACTIVE})
    if refused:
        return _json({"taskDefinitions": [], "failures": refused})
    return _handlers["DeleteTaskDefinitions"](data)


def _json(body: Record) -> Answer:
    answer: Answer = json_response(body)
    return answer


def run_task(vcpus: float, data: Record) -> Answer:
    """MiniStack's, if AWS would run the task. `vcpus` is the account's quota."""
    token = data.get("clientToken", "")
    if token and token in _answered:
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
    for kind, words, store, code in (
        ("subnets", "subnet", ec2._subnets, "InvalidSubnetID"),
        ("securityGroups", "security group", ec2._security_groups, "InvalidGroup"),
    ):
        for name in network.get(kind, []):
            if name not in store:
                missing = f"The {words} ID '{name}' does not exist (ErrorCode: {code}.NotFound)"
                why = f"Error retrieving {words} information for [{name}]: {missing}"
                return _error("InvalidParameterException", why)
    alive = [task for task in ecs._tasks.values() if task["lastStatus"] != "STOPPED"]
    count = data.get("count", 1)
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
    """Begin to stop a task: MiniStack's says that it has stopped before it has, and then waits for it."""
    cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
    task = ecs._resolve_task(data.get("task", ""), cluster)
    if task is None:
        return _handlers["StopTask"](data)  # which says so
    _stop(task, data.get("reason", "Task stopped by user"), "UserInitiated")
    return _json({"task": ecs._sanitize(task)})


def _stop(task: Record, reason: str, code: str) -> None:
    with ecs.resource_lock("ecs-task", task["taskArn"]):
        if not ecs._task_is_active(task["taskArn"], task):
            return
        now = ecs._iso()
        task |= {"desiredStatus": "STOPPED", "stoppingAt": now, "stoppedReason": reason, "stopCode": code}
    arguments = [task, get_account_id(), get_region()]
    threading.Thread(target=_finish_stopping, args=arguments, daemon=True).start()


def _finish_stopping(task: Record, account_id: str, region: str) -> None:
    with request_scope(account_id, region):
        (definition,) = ecs._task_defs[ecs._resolve_td_key(task["taskDefinitionArn"])]["containerDefinitions"]
        (record,) = task["containers"]
        for identifier in task["_docker_ids"]:
            running = ecs._docker[identifier]
            running.stop(definition.get("stopTimeout", STOP_TIMEOUT_S))
            record["exitCode"] = running.wait()["StatusCode"]
        ecs._cleanup_task_resources(task, ecs._docker)
        now = ecs._iso()
        record["lastStatus"] = "STOPPED"
        task |= {"lastStatus": "STOPPED", "executionStoppedAt": now, "stoppedAt": now}


def mark_task_stopped(arn: str, task: Record, reason: str, *rest: Any, **options: Any) -> bool:
    """MiniStack's, in AWS's words."""
    reason = reason.replace("Essential container exited", "Essential container in task exited")
    stopped: bool = _mark_task_stopped(arn, task, reason, *rest, **options)
    return stopped


def mark_task_running(seconds: float, arn: str, task: Record) -> bool:
    """MiniStack's; AWS stops the task so many seconds later."""
    running: bool = _mark_task_running(arn, task)
    account_id, region = get_account_id(), get_region()

    def stop() -> None:
        with request_scope(account_id, region):
            _stop(task, MAINTENANCE, "TerminationNotice")

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    return running


def _after(seconds: float, mark: Callable[[str, Record], bool], arn: str, task: Record) -> bool:
    """A step of the task's life, so many seconds later."""
    time.sleep(seconds)
    return mark(arn, task)


# --- the network -----------------------------------------------------------------------------------------------------


def make_defaults(with_vpc: bool) -> None:
    """MiniStack's default VPC, with a way to the internet as AWS's has it; or none."""
    _init_defaults()
    to_the_internet = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": ec2._DEFAULT_IGW_ID, "State": "active"}
    ec2._route_tables[ec2._DEFAULT_RTB_ID]["Routes"].append(to_the_internet | {"Origin": "CreateRoute"})
    if not with_vpc:
        for store in (ec2._vpcs, ec2._subnets, ec2._route_tables, ec2._security_groups):
            for name in list(store):
                del store[name]


def delete_security_group(parameters: Record) -> Answer:
    """MiniStack's, if no network interface has the group."""
    group = ec2._p(parameters, "GroupId")
    if any(group == each["GroupId"] for eni in ec2._network_interfaces.values() for each in eni["Groups"]):
        answer: Answer = ec2._error("DependencyViolation", f"resource {group} has a dependent object", 400)
        return answer
    deleted: Answer = _delete_security_group(parameters)
    return deleted
