"""The local cloud: MiniStack, an emulator of AWS, as a background process on loopback, behind a guard.

Its pid, port, access key and log are in the state directory, which nobody else may read. Its resources are in its
memory, so they end when it stops.
"""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from chatlab.emulator.traits import parse_traits
from chatlab.errors import LabError
from chatlab.paths import ROOT, ensure_writable, locked, state_dir, write_atomically
from chatlab.settings import Variable

HOST = "127.0.0.1"  # and nothing else: it runs the code that is uploaded to it
PORT = 4566  # MiniStack's and LocalStack's own; a free one if something else has it
START_TIMEOUT_S = 60
# Of each of the log's two files. A run of all notebooks logs a few KB; a flood of requests fills 2 MB of the disk.
MAX_LOG_BYTES = 1_000_000
SERVER = "chatlab.emulator.server"
DEFAULT_TRAITS = "event-size,publish-rate"
"""AWS's traits that the local cloud has, too: limits that notebook 11 shows, and MiniStack does not have."""

MINISTACK_SETTINGS = {
    "AUTH": "true",  # enforce IAM: a permission that is missing on AWS is then missing here
    "IOT_MTLS_ENABLED": "0",  # no second listener
    "SFTP_ENABLED": "0",  # nor a third
    "MINISTACK_HOST": HOST,
    # Where an API of AppSync Events is, instead of its two host names: chatlab/emulator/appsync.py.
    "APPSYNC_EVENTS_HTTP_HOST_TEMPLATE": f"{HOST}:{{port}}/_aws/appsync-api/{{api_id}}",
    "APPSYNC_EVENTS_REALTIME_HOST_TEMPLATE": f"{HOST}:{{port}}/_aws/appsync-realtime-api/{{api_id}}",
    "AWS_EC2_METADATA_DISABLED": "true",  # a function must not look for credentials elsewhere
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
# Functions inherit the environment of the local cloud, which takes only these variables from yours.
INHERITED_VARIABLES = re.compile("PATH|TZ|LANG|LANGUAGE|LC_[A-Z]+")


def start() -> str:
    """Start the local cloud unless it runs already, and return its URL.

    `chatlab.settings.Variable` says what you can choose. In a run it ends with the run, however that ends. Raises
    LabError if the state directory can't be written to, or if the process does not become ready in time.
    """
    with locked(state_dir() / "start.lock"):  # two that start at once get the same one
        if not _process():
            _start_process()
        started = _state()
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _key_file().exists():  # the emulator writes it before it takes a connection
        if not _process() or time.monotonic() > deadline:
            try:
                ensure_writable(state_dir())  # which says so if the disk is full
            finally:
                with locked(state_dir() / "start.lock"):
                    if _state() in (started, None):  # somebody else may have started another one meanwhile
                        stop()
            raise LabError(f"The local cloud did not start: its last words are in {state_dir() / 'cloud.log'}.")
        time.sleep(0.05)
    return url()


def _start_process() -> None:
    """Start the process, which becomes ready some time later, or raise LabError."""
    try:
        parse_traits(Variable.TRAITS.get() or DEFAULT_TRAITS)
    except ValueError as error:
        raise LabError(f"CHATLAB_TRAITS is wrong. {error}") from None
    stop()  # the remains of one that was killed
    try:
        _spawn()
    except OSError as error:
        stop()
        raise LabError(f"The local cloud can't be started in {state_dir()}: {error.strerror}.") from None


def _spawn() -> None:
    folder = state_dir()
    folder.chmod(0o700)
    listener = _listener()
    port = listener.getsockname()[1]
    temporary = folder / "tmp"  # where MiniStack unpacks the functions, and tasks work
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    inherited = {name: value for name, value in os.environ.items() if INHERITED_VARIABLES.fullmatch(name)}
    own = {"GATEWAY_PORT": str(port), "TMPDIR": str(temporary), "HOME": str(temporary)}
    own["MAX_LOG_BYTES"] = str(MAX_LOG_BYTES)
    own[Variable.TRAITS] = Variable.TRAITS.get() or DEFAULT_TRAITS
    for variable in (Variable.POLICY, Variable.RECORD, Variable.UNTIL):
        if path := variable.path():
            own[variable] = str(path.resolve())  # the process works in another folder
    # A folder with `certificate.pem` and `key.pem`, for 127.0.0.1, and `ca.pem`, which has signed them.
    if certificate := Variable.CERTIFICATE.path():
        names = {"MINISTACK_SSL_CERT": "certificate.pem", "MINISTACK_SSL_KEY": "key.pem", "AWS_CA_BUNDLE": "ca.pem"}
        own |= {"USE_SSL": "1"} | {name: str(certificate.resolve() / file) for name, file in names.items()}
    with listener, open(folder / "cloud.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", SERVER, "local", str(listener.fileno()), str(_key_file())],
            pass_fds=[listener.fileno()],
            env=inherited | MINISTACK_SETTINGS | own, cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=_allow_many_sockets,
        )  # fmt: skip
    state = {"pid": process.pid, "port": port, "url": f"{'https' if certificate else 'http'}://{HOST}:{port}"}
    write_atomically(_state_file(), json.dumps(state) + "\n")


def stop() -> bool:
    """Stop the local cloud and the functions' processes, and return whether it was running.

    This finds it even if its start was broken off before its state was written.
    """
    running = [process for process in psutil.process_iter() if _is_ours(process)]
    for process in running:
        end_tree(process)
    for file in (_state_file(), _key_file()):
        file.unlink(missing_ok=True)
    return bool(running)


def status() -> dict[str, Any]:
    """`running`; and if it was started and not stopped, its `pid`, `port` and `url`."""
    return {"running": _process() is not None, **(_state() or {})}


def has_died() -> bool:
    """Whether it was ready, and has ended without being stopped. (Why it does not become ready, `start` says.)"""
    return _state() is not None and _key_file().exists() and _process() is None


def require_running() -> None:
    """Raises LabError if the local cloud does not run: everything in it is lost then."""
    if _process():
        return
    if _state():
        raise LabError(
            "The local cloud has died, and everything in it is gone with it (its last words are in "
            f"{state_dir() / 'cloud.log'}): run notebook 00_start, which starts an empty one, and then the others in "
            "order."
        )
    raise LabError("The local cloud is not running: run notebook 00_start, and then the others in order.")


def url() -> str:
    """The local cloud's endpoint. Raises LabError if none was started."""
    if state := _state():
        return str(state["url"])
    raise LabError("The local cloud is not running: run notebook 00_start first.")


def credentials() -> dict[str, str]:
    """The access key of the local cloud's user, as the arguments that `boto3.Session` takes.

    Nobody else has one: the emulator makes it when it starts, and forgets it when it stops. Raises LabError if the
    local cloud is not running, or not yet.
    """
    require_running()
    try:
        key = json.loads(_key_file().read_text())
    except FileNotFoundError:
        raise LabError("The local cloud is still starting: try again in a few seconds.") from None
    return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}


def _state_file() -> Path:
    return state_dir() / "cloud.json"


def _key_file() -> Path:
    return (state_dir() / "key.json").resolve()


def _state() -> dict[str, Any] | None:
    """What was written when it was started."""
    try:
        state = json.loads(_state_file().read_text())
        return {"pid": state["pid"], "port": state["port"], "url": state["url"]}
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _process() -> psutil.Process | None:
    """The running process, or None."""
    try:
        process = psutil.Process(state["pid"]) if (state := _state()) else None
    except psutil.Error:
        return None
    return process if process and _is_ours(process) else None


def _is_ours(process: psutil.Process) -> bool:
    """Whether it is the local cloud of this state directory: its arguments name the key's file.

    A pid alone may be another process's by now, and the time at which a process began shifts with the machine's clock.
    """
    try:
        words = process.cmdline()  # empty for a zombie
        return words[1:2] == ["-m"] and "local" in words and str(_key_file()) in words
    except psutil.Error:
        return False


def _listener() -> socket.socket:
    """A socket that listens, which the process inherits: so two that start at once never get the same port."""
    for wanted in (PORT, 0):
        try:
            return socket.create_server((HOST, wanted), backlog=2048)
        except OSError:
            continue
    raise LabError("No port is free on this machine for the local cloud: end something that listens.")


def _allow_many_sockets() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says that there is no hard limit, and then takes no more than this, its OPEN_MAX: see setrlimit(2) there.
    soft = 10_240 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- ending processes, whoever started them -------------------------------------------------------------------------


def process_tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and all its descendants; an empty list if it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end_tree(process: psutil.Process) -> None:
    """End a process politely, by SIGTERM. After 5 seconds kill it and its descendants."""
    members = process_tree(process)
    with suppress(psutil.NoSuchProcess):
        process.terminate()
    psutil.wait_procs([process], timeout=5)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(members, timeout=5)


def kill_session(leader: int) -> None:
    """Kill all processes of the session that the process with the pid `leader` began.

    A process stays in its session when its parent is killed, but then it is nobody's descendant.
    """

    def members() -> Iterator[int]:
        for pid in psutil.pids():
            with suppress(OSError):  # it has ended
                if os.getsid(pid) == leader:
                    yield pid

    killed: set[int] = set()
    while found := set(members()) - killed:  # a process may have begun another one meanwhile
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
