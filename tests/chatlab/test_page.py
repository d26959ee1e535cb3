"""The page, built by npm and served from this machine: to this machine alone, and to no other site's page."""

import http.client
import io
import os
import socket
import subprocess
import sys
import threading

import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from chatlab import LabError, browser, page, poll
from chatlab.page import listen, npm
from chatlab.paths import ROOT, locked
from chatlab.settings import Settings
from tests.support.asynchronous import run_async
from tests.support.processes import listening, processes_of

LAB = Settings("aws", "chat", "eu-west-1")


@pytest.fixture
def built(tmp_path, monkeypatch):
    """The folder of a built page, in a home of its own."""
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path / "home"))
    folder = page.folder(LAB)
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("the page")
    (folder / "assets" / "index-1a2b.js").write_text("its code")
    (tmp_path / "home" / "key.json").write_text("a secret")
    return folder


@pytest.fixture
def ask(built):
    """`ask(path, **headers)`: the answer's status, body and headers."""
    with listen(built) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        here = f"127.0.0.1:{server.server_port}"

        def ask(path, method="GET", host=here, **headers):
            connection = http.client.HTTPConnection(here, timeout=5)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers={"Host": host} | named)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers

        yield ask
        server.shutdown()


def test_the_page_and_its_parts_are_there_as_they_are_on_s3(ask):
    status, body, headers = ask("/index.html")
    assert (status, body, headers["Content-Type"]) == (200, "the page", "text/html; charset=utf-8")
    assert headers["Cache-Control"] == "no-cache"
    status, body, headers = ask("/assets/index-1a2b.js")
    assert (status, body, headers["Content-Type"]) == (200, "its code", "text/javascript; charset=utf-8")
    assert "immutable" in headers["Cache-Control"]
    assert ask("/index.html", "HEAD")[:2] == (200, "")


def test_nothing_else_is_and_it_can_only_be_read(ask):
    for path in ("/assets/", "/../key.json", "/%2e%2e/key.json", "/other"):
        assert ask(path)[0] == 404
    assert ask("/index.html", "POST")[0] == 501


def test_a_name_that_is_made_to_resolve_to_this_machine_is_answered_nothing(ask):
    for host in ("evil.example:8000", "localhost", "127.0.0.1", ""):
        status, body, _ = ask("/index.html", host=host)
        assert status == 403 and "the page" not in body


def test_another_sites_page_gets_nothing_but_a_link_to_it_works(ask):
    another = {"Sec_Fetch_Site": "cross-site"}
    assert ask("/assets/index-1a2b.js", **another, Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="script")[0] == 403
    assert ask("/index.html", **another, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe")[0] == 403
    status, _, headers = ask("/index.html", **another, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document")
    assert (status, headers["X-Frame-Options"]) == (200, "DENY")
    assert ask("/index.html", Sec_Fetch_Site="same-origin")[0] == 200


def test_a_port_that_is_taken_is_replaced_by_a_free_one(built, monkeypatch):
    with socket.create_server((page.HOST, 0)) as free:
        monkeypatch.setattr(page, "PORT", free.getsockname()[1])
    with listen(built) as first, listen(built) as second:
        assert first.server_port == page.PORT != second.server_port


def test_in_the_background_it_listens_on_loopback_alone_and_ends_when_it_is_told(built, tmp_path):
    assert page.url(LAB) is None
    try:
        url = page.start(LAB)
        (process,) = processes_of(tmp_path)
        assert listening(process.pid) == {("127.0.0.1", int(url.split(":")[2].partition("/")[0]))}
        assert (page.start(LAB), page.url(LAB)) == (url, url)
        assert page.url(Settings("local", "chat")) is None
    finally:
        page.stop(LAB)
    assert page.url(LAB) is None and processes_of(tmp_path) == []
    page.stop(LAB)


def test_it_ends_with_the_run_that_has_started_it(built, tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLAB_UNTIL", str(tmp_path / "run.lock"))
    with locked(tmp_path / "run.lock"):
        assert page.start(LAB) == page.url(LAB)
    poll(lambda: processes_of(tmp_path) == [], "it to end", timeout_s=10, every_s=0.1)


# An npm that does as the real one's tools do.
COLOURED = """#!/bin/sh
if [ -n "$FORCE_COLOR" ] || [ -z "$NO_COLOR" ]; then printf '\\033[31m'; fi
echo "main.tsx: no such module, in $BUILD_PATH, asked to $*"
exit 1
"""


def test_what_npm_says_is_repeated_without_its_colours(tmp_path, monkeypatch):
    (tmp_path / "npm").write_text(COLOURED)
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(LabError) as error:
        npm("run", "build", BUILD_PATH="here")
    assert str(error.value) == (
        "The page could not be built; npm says: main.tsx: no such module, in here, asked to run build"
    )


def with_make(*arguments):
    """npm as the Makefile starts it."""
    command = f"vite: ; @cd frontend && npm {' '.join(arguments)}"
    subprocess.run(["make", "--eval", command, "vite"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("start", [npm, with_make])
def test_node_keeps_no_compiled_code_where_another_user_may_have_put_some(start, tmp_path, monkeypatch):
    """Node would take `node-compile-cache` in the folder for temporary files, whoever owns it."""
    if os.geteuid() != 0:
        pytest.skip("Only root can become another user.")
    shared = os.open(tmp_path, os.O_RDONLY)
    os.fchmod(shared, 0o1777)
    if not (child := os.fork()):
        os.setuid(65534)  # nobody, who may not walk down to this folder
        os.umask(0)
        os.mkdir("node-compile-cache", dir_fd=shared)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.close(shared)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    start("exec", "vite", "--", "--version")
    assert os.listdir(tmp_path / "node-compile-cache") == []


def test_without_a_browser_there_is_none_and_the_saved_pictures_are_shown(monkeypatch):
    monkeypatch.setattr(browser, "find_executable", lambda: None)
    assert run_async(browser.chat("http://127.0.0.1:9/", [("Ada", "Hello")])) is None
    shown = browser.saved_conversation()
    assert Image.open(io.BytesIO(shown.data)).width > 2 * 400
    data, metadata = DisplayFormatter().format(shown)
    assert data["image/png"] and metadata["image/png"]["alt"].startswith("A conversation")
