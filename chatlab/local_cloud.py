"""The local cloud: MiniStack, an emulator of AWS, as a background process on loopback, behind a guard.

One lab has one local cloud. Its pid, port, access key and log are in the lab's home, where nobody else may read; its
resources are in its memory, so they are gone when it stops.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from chatlab.emulator.traits import parse_traits
from chatlab.errors import LabError
from chatlab.locks import locked
from chatlab.paths import ensure_writable, state_dir, write_atomically

HOST = "127.0.0.1"  # and nothing else: it runs the code that is uploaded to it
PORT = 4566  # MiniStack's and LocalStack's own; a free one is taken where something else has it
START_TIMEOUT_S = 60
EMULATOR = Path(__file__).parent / "emulator"
SERVER = "chatlab.emulator.local_server"  # the module that EMULATOR runs

SETTINGS = {
    "AUTH": "true",  # enforce IAM: a permission that is missing on AWS is then missing here
    "IOT_MTLS_ENABLED": "0",  # no second listener
    "SFTP_ENABLED": "0",  # nor a third
    "MINISTACK_HOST": HOST,
    "AWS_EC2_METADATA_DISABLED": "true",  # a function must not look for credentials elsewhere
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
# Functions inherit the environment of the local cloud. Of the person's own it has these alone.
INHERITED = re.compile("PATH|TZ|LANG|LANGUAGE|LC_[A-Z]+")


def start():
    """Start the local cloud unless it runs already; its URL.

    In a run it ends with the run, however that ends. It speaks HTTP; with `CHATLAB_CERTIFICATE`, which names a folder
    as in `_tls`, HTTPS. Of AWS's traits it has those that `CHATLAB_TRAITS` names (docs/rehearsal.md), none by
    default. The person is an administrator, or may do what the policy in the file `CHATLAB_POLICY` allows.
    `CHATLAB_RECORD` names a file for what they ask for.

    Raises LabError if the home can't be written or the process does not become ready in time.
    """
    with locked(state_dir() / "start.lock"):  # two that start at once get the same one
        if not _process():
            _begin()
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _key_file().exists():  # it is made before the first connection is taken
        if not _process() or time.monotonic() > deadline:
            try:
                ensure_writable(state_dir())  # which says so if the disk is full
            finally:
                stop()
            raise LabError(f"The local cloud did not start: its last words are in {state_dir() / 'cloud.log'}.")
        time.sleep(0.05)
    return url()


def _begin():
    """Start the process, which becomes ready some time later. Raises LabError for what is wrong beforehand."""
    try:
        parse_traits(os.environ.get("CHATLAB_TRAITS", ""))
    except ValueError as error:
        raise LabError(f"CHATLAB_TRAITS is wrong. {error}") from None
    stop()  # what is left of one which was killed
    try:
        _spawn()
    except OSError as error:
        stop()
        raise LabError(f"The local cloud can't be started in {state_dir()}: {error.strerror}.") from None


def _spawn():
    folder = state_dir()
    folder.chmod(0o700)
    listener = _listener()
    port = listener.getsockname()[1]
    temporary = folder / "tmp"  # where MiniStack unpacks the functions
    temporary.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if INHERITED.fullmatch(name)}
    own = {"GATEWAY_PORT": str(port), "TMPDIR": str(temporary), "HOME": str(temporary)}
    own["CHATLAB_TRAITS"] = os.environ.get("CHATLAB_TRAITS", "")
    for name in ("CHATLAB_POLICY", "CHATLAB_RECORD", "CHATLAB_UNTIL"):
        own |= {name: str(Path(os.environ[name]).resolve())} if os.environ.get(name) else {}
    tls = _tls()
    with listener, open(folder / "cloud.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(EMULATOR), SERVER, str(listener.fileno()), str(_key_file())],
            pass_fds=[listener.fileno()],
            env=inherited | SETTINGS | own | tls, cwd=temporary,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=_allow_many_sockets,
        )  # fmt: skip
    state = {"pid": process.pid, "port": port, "scheme": "https" if tls else "http"}
    write_atomically(_state_file(), json.dumps(state) + "\n")


def stop():
    """Stop the local cloud and the functions' processes. True if it was running.

    One of which nothing was written down, because its start was broken off, is stopped, too.
    """
    running = [process for process in psutil.process_iter() if _is_ours(process)]
    for process in running:
        with suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            process.terminate()
            psutil.wait_procs([process], timeout=5)
            for member in family:  # the functions' processes, and the cloud itself if it did not listen
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(family, timeout=5)
    for file in (_state_file(), _key_file()):
        file.unlink(missing_ok=True)
    return bool(running)


def status():
    """A dict: `running`, and where it was started and not stopped, `pid`, `port` and `url`."""
    state = _state()
    if not state:
        return {"running": False}
    return {"running": _process() is not None, "pid": state["pid"], "port": state["port"], "url": _url(state)}


def has_died():
    """Whether it was ready, and has ended without being stopped. (Why one does not become ready, `start` says.)"""
    return _state() is not None and _key_file().exists() and _process() is None


def require_running():
    """Raises LabError if the local cloud does not run: everything in it is gone then."""
    if _process():
        return
    if _state():
        raise LabError(
            "The local cloud has died, and everything in it is gone with it (its last words are in "
            f"{state_dir() / 'cloud.log'}): run notebook 00_start, which "
            "starts an empty one, and then the others in order."
        )
    raise LabError("The local cloud is not running: run notebook 00_start, and then the others in order.")


def url():
    """The local cloud's endpoint. Raises LabError if none was started."""
    state = _state()
    if not state:
        raise LabError("The local cloud is not running: run notebook 00_start first.")
    return _url(state)


def credentials():
    """The access key of the lab's user, an administrator, as the arguments that `boto3.Session` takes.

    Nobody else has one: the emulator makes it when it starts, and forgets it when it stops. Raises LabError if the
    local cloud is not running.
    """
    require_running()
    key = json.loads(_key_file().read_text())
    return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}


def _url(state):
    return f"{state.get('scheme', 'http')}://{HOST}:{state['port']}"  # one that was started before there was a choice


def _state_file():
    return state_dir() / "cloud.json"


def _key_file():
    return (state_dir() / "key.json").resolve()


def _state():
    try:
        return json.loads(_state_file().read_text())
    except (OSError, ValueError):
        return None


def _process():
    """The running process, or None."""
    state = _state()
    try:
        process = psutil.Process(state["pid"]) if state else None
    except psutil.Error:
        return None
    return process if process and _is_ours(process) else None


def _is_ours(process):
    """Whether it is the local cloud of this home, of whose key it was told. A pid alone may be somebody else's by now.

    (When a process was born is no sign of it: that is reckoned from the machine's clock, which may be set.)
    """
    try:
        words = process.cmdline()  # empty for a zombie
        return str(EMULATOR) in words and str(_key_file()) in words
    except psutil.Error:
        return False


def _tls():
    """MiniStack's settings for HTTPS, and whom its functions trust; none without `CHATLAB_CERTIFICATE`.

    That names a folder with `certificate.pem` and `key.pem`, for 127.0.0.1, and `ca.pem`, who has signed it.
    """
    if not (name := os.environ.get("CHATLAB_CERTIFICATE")):
        return {}
    folder = Path(name).resolve()  # the process works in another folder
    return {
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(folder / "certificate.pem"),
        "MINISTACK_SSL_KEY": str(folder / "key.pem"),
        "AWS_CA_BUNDLE": str(folder / "ca.pem"),
    }


def _listener():
    """A socket that listens already, for the process to inherit: so two that start at once never get the same port."""
    for wanted in (PORT, 0):
        try:
            return socket.create_server((HOST, wanted), backlog=2048)
        except OSError:
            continue
    raise LabError("No port is free on this machine for the local cloud: end something that listens.")


def _allow_many_sockets():
    import resource  # not on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says that there is no hard limit, and then takes no more than this, its OPEN_MAX: see setrlimit(2) there.
    soft = 10_240 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
