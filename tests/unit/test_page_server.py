"""The page, served from this machine: its files, to this machine alone, and to no other site's page."""

import http.client
import subprocess
import sys
import threading

import pytest

from chatlab import page
from chatlab.page.server import listen
from chatlab.paths import ROOT
from chatlab.settings import Settings
from tests.support.processes import environment_of_a_run, listening, processes_of

LAB = Settings("aws", "chat", "eu-west-1")


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A home with a built page in it; the page's folder."""
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


@pytest.mark.parametrize(
    ("path", "status"), [("/assets/", 404), ("/../key.json", 404), ("/%2e%2e/key.json", 404), ("/other", 404)]
)
def test_nothing_else_is(ask, path, status):
    assert ask(path)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_can_only_be_read(ask, method):
    assert ask("/index.html", method)[0] == 501


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost", "127.0.0.1", ""])
def test_a_name_that_is_made_to_resolve_to_this_machine_is_answered_nothing(ask, host):
    status, body, _ = ask("/index.html", host=host)
    assert status == 403 and "the page" not in body


def test_another_sites_page_gets_nothing_but_a_link_to_it_works(ask):
    another = {"Sec_Fetch_Site": "cross-site"}
    assert ask("/assets/index-1a2b.js", **another, Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="script")[0] == 403
    assert ask("/index.html", **another, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe")[0] == 403
    status, _, headers = ask("/index.html", **another, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document")
    assert (status, headers["X-Frame-Options"]) == (200, "DENY")
    assert ask("/index.html", Sec_Fetch_Site="same-origin")[0] == 200


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


def test_without_a_lab_it_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "chatlab", "page"],
        cwd=ROOT, env=environment_of_a_run(tmp_path), capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "No lab is chosen yet: run notebook 00_start first.\n")
