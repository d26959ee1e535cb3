"""What all tests share: a lab of their own, so that the one in use on this machine is not touched."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker

import hypothesis
import psutil
import pytest

from chatlab import Lab, local_cloud, processes
from chatlab.notebooks import BUILD, execute
from chatlab.paths import ROOT

# Examples of each property: a few with the profile that pyproject.toml chooses, many with that of `make test-all`. None
# is timed, since the machine may be busy.
untimed = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("quick", max_examples=50, **untimed)
hypothesis.settings.register_profile("thorough", max_examples=2_000, **untimed)

# What a person's shell may say, and what a run sets, is not for the tests.
SET_ASIDE = [
    "CHATLAB_CERTIFICATE", "CHATLAB_HOME", "CHATLAB_LEDGER", "CHATLAB_NAME", "CHATLAB_POLICY", "CHATLAB_RECORD",
    "CHATLAB_ROOM_KEY", "CHATLAB_RUN", "CHATLAB_TARGET", "CHATLAB_TRAITS", "CHATLAB_UNTIL", "LOADTEST_QUERY",
    "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
]  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory):
    """No setting of the shell's reaches a test, nor that Ctrl-C is to be ignored, as by what runs in the background.

    And no test asks for the address of anything but this machine: whatever is not here is made up, and not AWS itself.
    At the end no process is left of all that were begun.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch, no_process_left(tmp_path_factory.getbasetemp(), patch):
        for name in SET_ASIDE:
            patch.delenv(name, raising=False)
        patch.setattr(socket, "getaddrinfo", here_alone)
        yield


@contextmanager
def no_process_left(folder, patch):
    """What is begun within, by whatever test, ends within, too: what does not is killed, and fails.

    A process is known by something in `folder` that its environment names: a local cloud by its home, any other one by
    a variable that is set here. Beside it pytest's own PYTEST_CURRENT_TEST says which test began it.
    """
    patch.setenv("CHATLAB_TESTS", f"{folder}/")
    yield
    resource_tracker._resource_tracker._stop()  # multiprocessing begins it, and it would end with this process
    deadline = time.monotonic() + 3  # some may just be ending
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    told = []
    for process in left:
        with suppress(psutil.NoSuchProcess):
            begun_by = process.environ().get("PYTEST_CURRENT_TEST") or process.environ().get("HOME")
            told.append(f"{begun_by}: {' '.join(process.cmdline())}")
            process.kill()
    if told:
        pytest.fail("\n".join(["These processes were left:", *told]), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """At the end of each test nothing that was begun listens on anything but loopback."""
    result = yield
    if new := listening_to_others() - NOT_OURS:
        found = set()
        for process in [psutil.Process(), *processes_of(item.config._tmp_path_factory.getbasetemp())]:
            with suppress(psutil.NoSuchProcess):
                found |= {tuple(each) for each in listening(process.pid) if each.ip not in ("127.0.0.1", "::1")}
        assert not found, f"Others can reach {found}."
        NOT_OURS.update(new)
    return result


NOT_OURS: set[str] = set()


def listening_to_others():
    """The inodes of all sockets on this machine that listen on more than loopback, as Linux tells them quickly."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(FileNotFoundError), open(table) as lines:
            for line in lines:
                _, address, _, state, *_, inode = line.split()[:10]
                loopback = address.startswith(("0100007F", "00000000000000000000000001000000"))
                if state == "0A" and not loopback:
                    found.add(inode)
    return found


GETADDRINFO = socket.getaddrinfo


def here_alone(host, *more, **options):
    if host == "169.254.169.254":  # where a server of EC2's has its credentials: boto3 looks there last
        raise OSError("There is no such server here.")
    is_nobody = str(host).endswith(".invalid")  # RFC 6761: a name that is nobody's, and never will be
    if host not in (None, "", "localhost", "127.0.0.1", "::1") and not is_nobody:
        pytest.fail(f"This test asks for the address of {host}.")  # no Exception, which botocore would try again
    return GETADDRINFO(host, *more, **options)


@contextmanager
def lab_in(folder):
    """A lab at home in `folder`, chosen, with a local cloud of its own that is stopped at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLAB_HOME", str(folder))
        try:
            yield Lab.choose("local", "chat")
        finally:
            local_cloud.stop()


def run_notebook(name, folder, **parameters):
    """Execute a notebook, which has to succeed; the executed notebook's path."""
    path = folder / f"{name}.ipynb"
    outcome = execute(name, path, parameters)
    assert outcome.ok, f"{name}, {outcome.reason}"
    return path


def run_async(coroutine):
    """What the coroutine returns. In a thread of its own: Playwright leaves a loop running in the one of the tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


@contextmanager
def without_policy(lab, name):
    """The role's inline policy `name` taken away, and put back at the end."""
    iam = lab.client("iam")
    document = iam.get_role_policy(RoleName=lab.role, PolicyName=name)["PolicyDocument"]
    iam.delete_role_policy(RoleName=lab.role, PolicyName=name)
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=lab.role, PolicyName=name, PolicyDocument=json.dumps(document))


@contextmanager
def variables(lab, part="default", **more):
    """The broadcast, or another function, with these environment variables beside, or in place of, its own."""
    functions, function = lab.client("lambda"), lab.functions[part]
    before = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]

    def set_to(wanted):
        functions.update_function_configuration(FunctionName=function, Environment={"Variables": wanted})
        functions.get_waiter("function_updated_v2").wait(FunctionName=function)

    set_to(before | more)
    try:
        yield
    finally:
        set_to(before)


def sharding(lab, shards, above):
    """The broadcast with `SHARDS` and `SHARD_ABOVE` set."""
    return variables(lab, SHARDS=str(shards), SHARD_ABOVE=str(above))


@pytest.fixture
def lab(tmp_path):
    """A lab with an empty local cloud."""
    with lab_in(tmp_path / "home") as lab:
        yield lab


@contextmanager
def chat_in(folder):
    """A lab in `folder` whose chat is built, by the notebooks themselves, up to the WebSocket API."""
    with lab_in(folder / "home") as lab:
        for name in BUILD[:-1]:  # all but the page
            run_notebook(name, folder)
        yield lab


@pytest.fixture(scope="session")
def chat(tmp_path_factory):
    """A chat for all tests."""
    with chat_in(tmp_path_factory.mktemp("chat")) as lab:
        yield lab


def listening(pid):
    """Addresses, as (host, port), that a process and its children listen on."""
    members = processes.tree(psutil.Process(pid))
    return {c.laddr for member in members for c in member.net_connections("inet") if c.status == psutil.CONN_LISTEN}


def processes_of(folder):
    """The running processes that something in `folder` was named to, in their environment: what was begun for a test
    that has its home, its run or its temporary files there, and all that it started."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(value.startswith(f"{folder}/") for value in process.environ().values()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def environment_of_a_run(home, **more):
    """The environment for a process that is to have a lab of its own in `home`."""
    inherited = {key: value for key, value in os.environ.items() if key not in SET_ASIDE}
    return inherited | {"CHATLAB_HOME": str(home)} | more


def begin_chatlab(home, *arguments, **environment):
    """`python -m chatlab` with these arguments, begun in a session of its own, with a lab of its own in `home`."""
    return subprocess.Popen(
        [sys.executable, "-m", "chatlab", *arguments],
        cwd=ROOT, env=environment_of_a_run(home, **environment),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def reported(request, *columns):
    """For a fixture: yields a list that takes rows, each a tuple, and prints them as a table at the end."""
    rows = []
    yield rows
    print_table(request, columns, rows)


def print_table(request, columns, rows):
    """Print a table in Markdown, past pytest's capturing: what a test measures, as docs/reliability.md has it."""
    lines = [columns, ["---"] * len(columns), *rows]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("", *(f"| {' | '.join(map(str, line))} |" for line in lines), sep="\n")
