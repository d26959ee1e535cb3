"""What all tests share: a lab of their own, so that the one in use on this machine is not touched."""

import signal
import socket
import time
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker

import hypothesis
import psutil
import pytest
from botocore.loaders import Loader

from tests.support.cells import run_cells
from tests.support.fork_server import ForkServer
from tests.support.labs import chat_in, lab_in
from tests.support.processes import SET_ASIDE, listening, listening_to_others, processes_of

# Examples of each property: a few with the profile that pyproject.toml chooses, many with that of `make test-all`. None
# is timed, since the machine may be busy.
untimed = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("quick", max_examples=50, **untimed)
hypothesis.settings.register_profile("thorough", max_examples=2_000, **untimed)


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory):
    """No setting of the shell reaches a test, and no signal stays ignored, as it is in a background job.

    No test looks up an address of another machine, and no process that a test began outlives the tests.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with pytest.MonkeyPatch.context() as patch, no_process_left(tmp_path_factory.getbasetemp(), patch):
        for name in SET_ASIDE:
            patch.delenv(name, raising=False)
        patch.setattr(socket, "getaddrinfo", here_alone)
        yield


@pytest.fixture(scope="session", autouse=True)
def models_of_aws():
    """boto3 reads its models of AWS's services once for all tests, and not anew for each session."""
    begin, read = Loader.__init__, {}

    def share(loader, *arguments, **options):
        begin(loader, *arguments, **options)
        loader._cache = read

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "__init__", share)
        yield


@contextmanager
def no_process_left(folder, patch):
    """Kill each process that a test began and that is left at the end, and fail.

    Such a process has a path in `folder` in its environment: a local cloud its home, any other one the variable that is
    set here. pytest's own PYTEST_CURRENT_TEST says which test began it.
    """
    patch.setenv("CHATLAB_TESTS", f"{folder}/")
    yield
    resource_tracker._resource_tracker._stop()  # begun by multiprocessing, it would end with this process
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
    """At the end of each test, no process that a test began listens on anything but loopback."""
    result = yield
    if new := listening_to_others() - NOT_OURS:
        found = set()
        for process in [psutil.Process(), *processes_of(item.config._tmp_path_factory.getbasetemp())]:
            with suppress(psutil.NoSuchProcess):
                found |= {tuple(each) for each in listening(process.pid) if each.ip not in ("127.0.0.1", "::1")}
        assert not found, f"Others can reach {found}."
        NOT_OURS.update(new)
    return result


NOT_OURS: set[int] = set()


GETADDRINFO = socket.getaddrinfo


def here_alone(host, *more, **options):
    if host == "169.254.169.254":  # where a server of EC2's has its credentials: boto3 looks there last
        raise OSError("There is no such server here.")
    is_nobody = str(host).endswith(".invalid")  # RFC 6761: a name that is nobody's, and never will be
    if host not in (None, "", "localhost", "127.0.0.1", "::1") and not is_nobody:
        pytest.fail(f"This test asks for the address of {host}.")  # no Exception, which botocore would try again
    return GETADDRINFO(host, *more, **options)


@pytest.fixture
def lab(tmp_path):
    """A lab with an empty local cloud."""
    with lab_in(tmp_path / "home") as lab:
        yield lab


@pytest.fixture(scope="session")
def chat(tmp_path_factory):
    """A chat for all tests."""
    with chat_in(tmp_path_factory.mktemp("chat")) as lab:
        yield lab


@pytest.fixture(scope="session")
def fork_server():
    """A server that forks load tests, which start more quickly so."""
    server = ForkServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def page_url(chat):
    """The address of the page, deployed by notebook 05."""
    run_cells("05_frontend_on_s3", instead={})
    return chat.page_url


@pytest.fixture(scope="session")
def launch():
    """`launch(rule)`: a browser that resolves names by this rule. Playwright is started once: it allows no second."""
    from playwright.sync_api import expect, sync_playwright  # here, so that other tests need not wait for it

    from chatlab import browser
    from tests.support.pages import PATIENCE_MS

    expect.set_options(timeout=PATIENCE_MS)
    executable = browser.find_executable()
    assert executable, "There is no Chromium on this machine: `make test` installs one."
    with sync_playwright() as playwright:

        def launch_one(rule):
            arguments = [*browser.launch_arguments(), f"--host-resolver-rules={rule}"]
            return playwright.chromium.launch(executable_path=executable, args=arguments)

        yield launch_one


@pytest.fixture(scope="module")
def report(request):
    """`report({column: value, ...})` adds a row to a table, which is printed at the end although pytest captures."""
    rows = []
    yield rows.append
    lines = []
    for before, row in zip([{}, *rows], rows, strict=False):
        if before.keys() != row.keys():
            lines += [[], row, ["---"] * len(row)]
        lines.append(row.values())
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(*(f"| {' | '.join(map(str, line))} |" if line else "" for line in lines), sep="\n")
