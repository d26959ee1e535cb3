"""Pages of other sites in the learner's browser: of a name that resolves to this machine, and of another port.

What single requests get is in test_guard.py.
"""

import functools
import http.server
import os
import threading
from pathlib import Path

import pytest

from chatlab import local_cloud
from tests.support.chat import ids

EVIL = "evil.example"

# Each is tried by a page, with the keys that anybody knows. `tried` is what the page itself gets to see of it.
ATTEMPTS = """
const open = (url) => new Promise((done) => {
  const socket = new WebSocket(url);
  socket.onopen = () => { done("open"); socket.close(); };
  socket.onerror = () => done("refused");
});
const load = (tag, url) => new Promise((done) => {
  const element = document.createElement(tag);
  element.onload = () => done("loaded");
  element.onerror = () => done("refused");
  element.src = url;
  document.body.append(element);
});
const post = (url, fields) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.name = `frame${Math.random()}`;
  document.body.append(frame);
  const form = document.createElement("form");
  Object.assign(form, { method: "POST", action: url, target: frame.name });
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement("input"), { name, value }));
  }
  document.body.append(form);
  frame.onload = () => done("sent");
  form.submit();
});
const asked = (url, options) => fetch(url, options).then(
  (answer) => (answer.type === "opaque" ? "sent" : "read"), () => "refused");
const named = (key, service) => key === null ? {} : {
  Authorization: `AWS4-HMAC-SHA256 Credential=${key}/20260101/us-east-1/${service}/aws4_request, ` +
    `SignedHeaders=host, Signature=${"0".repeat(64)}` };
const presigned = (key) => key === null ? "" :
  "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0&X-Amz-SignedHeaders=host" +
  `&X-Amz-Credential=${encodeURIComponent(`${key}/20260101/us-east-1/iam/aws4_request`)}`;
const role = { Action: "CreateRole", RoleName: "mine", AssumeRolePolicyDocument: "{}", Version: "2010-05-08" };

async ({ url, socket, page, key }) => ({
  "create, after a preflight": await asked(url, {
    method: "POST", headers: { ...named(key, "iam"), "X-Mine": "1" }, body: new URLSearchParams(role) }),
  "read a table": await asked(url, { method: "POST", body: '{"TableName": "chat"}', headers: {
    ...named(key, "dynamodb"), "X-Amz-Target": "DynamoDB_20120810.Scan" } }),
  "create, without a preflight": await asked(`${url}/?x=${presigned(key)}`, {
    method: "POST", mode: "no-cors", body: new URLSearchParams(role) }),
  "read, without a preflight": await asked(`${url}/2015-03-31/functions?x=${presigned(key)}`, {}),
  "reset": await asked(`${url}/_ministack/reset`, { method: "POST", mode: "no-cors" }),
  "a form": await post(`${url}/?x=${presigned(key)}`, role),
  "a beacon": navigator.sendBeacon(`${url}/?x=${presigned(key)}`, new URLSearchParams(role)) ? "sent" : "refused",
  "a picture": await load("img", `${url}/?Action=CreateRole&RoleName=mine${presigned(key)}`),
  "a script of the page": await load("script", page),
  "the page, to read it": await asked(page, {}),
  "join the chat": await open(socket + (key === null ? "" : `?${presigned(key)}`)),
})
"""
KEYS = {"none": None, "one that anybody knows": "test"}


@pytest.fixture(scope="module")
def other_port(tmp_path_factory):
    """The port of a web server with an empty page, on loopback."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!doctype html><title>Another site</title><body>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def visitor(launch):
    """A browser for whom evil.example is this machine."""
    chromium = launch(f"MAP {EVIL} 127.0.0.1")
    yield chromium
    chromium.close()


def refusals():
    """The refusals in the local cloud's log."""
    log = Path(os.environ["CHATLAB_HOME"]) / "cloud.log"
    return [line for line in log.read_text().splitlines() if " Refused " in line]


@pytest.mark.parametrize("host", [EVIL, "127.0.0.1"])
def test_a_page_of_another_site_can_do_nothing(visitor, chat, page, other_port, host):
    """One exception: from another port of loopback, as the page in development, anybody may join the chat."""
    tab = visitor.new_page()
    tab.goto(f"http://{host}:{other_port}/")

    def roles():
        return [role["RoleName"] for role in chat.client("iam").list_roles()["Roles"]]

    roles_before = roles()
    for name, key in KEYS.items():
        before = len(refusals())
        addresses = {"url": local_cloud.url(), "page": f"{local_cloud.url()}{page}"}
        socket = chat.websocket_url(chat.require_api())
        seen = tab.evaluate(ATTEMPTS, addresses | {"socket": socket, "key": key})
        joined = "open" if host != EVIL and key is None else "refused"
        assert seen.pop("join the chat") == joined, name
        assert {name for name, got in seen.items() if got in ("read", "loaded", "open")} == set(), (name, seen)
        # What the page could send without seeing an answer was refused as well, and so was each preflight.
        tab.wait_for_timeout(200)  # beacons are sent when there is time
        assert len(refusals()) - before == len(seen) + (joined == "refused"), name
    tab.close()
    assert roles() == roles_before
    ids(chat)  # the table is there: nothing was reset
