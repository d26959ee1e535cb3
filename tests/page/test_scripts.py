"""No script runs from a message; and if one did run, the page's policy would let it reach nobody.

The first is tested with the policy switched off, so that it hides nothing, the second with scripts that are in the page
already. All other tests show that the policy allows what the page itself needs: they fail on any error of the browser.
"""

import http.server
import json
import threading
from contextlib import suppress

import pytest
from playwright.sync_api import expect

from chatlab import poll
from tests.support.pages import join, messages, say

PAYLOADS = [
    "<script>pwned=1</script>",
    "</p></article><script>pwned=1</script>",
    "<img src=x onerror=pwned=1>",
    "<img src=x onerror='pwned=1'",
    "<iframe srcdoc='<script>top.pwned=1</script>'></iframe>",
    "<style>@import 'javascript:pwned=1'</style>",
    "<b>bold</b> &amp; <a href='javascript:pwned=1'>click</a>",
    "&lt;script&gt;pwned=1&lt;/script&gt;",
    "<scr\u0000ipt>pwned=1</scr\u0000ipt>",
    "javascript:pwned=1",
    "JaVaScRiPt:pwned=1//example.com",
    "javascript://example.com/%0apwned=1",
    "java\tscript:pwned=1//example.com",
    "\u0001javascript:pwned=1//example.com",
    "javascript&colon;pwned=1//example.com",
    "data:text/html,<script>pwned=1</script>",
    'https://example.com/"onmouseover="pwned=1',
    "https://javascript:pwned=1@example.com/",
    '{"__proto__": {"dangerouslySetInnerHTML": {"__html": "<img src=x onerror=pwned=1>"}}}',
    "{{constructor.constructor('pwned=1')()}}${pwned=1}",
]


def test_what_others_send_stays_text(joined, terminal):
    """Each payload as a person's name, a message, a line from a terminal, and the name of a load test's run."""
    ada = joined("Ada", bypass_csp=True, height=9000)  # only what is in view is there
    for number, payload in enumerate(PAYLOADS):
        person = {"client": f"c{number}", "name": payload[:40]}
        chat = {"type": "chat", "id": f"m{number}", "text": payload, "sent_at": 1_764_000_000_000}
        for frame in (person | chat, {"type": "load", "run": payload, "id": 1}):
            terminal.send(json.dumps(frame))
        terminal.send(payload)
    expect(messages(ada)).to_have_count(2 * len(PAYLOADS))
    assert messages(ada).locator(".text").all_text_contents() == [each for each in PAYLOADS for _ in (1, 2)]
    names = [payload[:40] for payload in PAYLOADS]
    assert ada.locator("[data-kind=chat] bdi").all_text_contents() == names
    ada.get_by_test_id("people").click()
    assert set(ada.locator("#people bdi").all_text_contents()) == {"Ada", *names}
    ada.keyboard.press("Escape")
    ada.get_by_test_id("load-toggle").click()
    expect(ada.get_by_test_id("load-details")).to_contain_text(PAYLOADS[-1])
    # The browser's own reading of each link, which sees through capitals, spaces and control characters.
    protocols = ada.locator("a").evaluate_all("links => links.map(link => link.protocol)")
    assert set(protocols) <= {"http:", "https:"}
    assert ada.evaluate("window.pwned") is None


# A script that is in the page already makes each attempt. If the attempt runs, it puts its name into `ran`; if it gets
# out, it asks the address `to` for its name.
ATTEMPTS = """
async (to) => {
  window.ran = [];
  const put = (tag, fields) => document.body.appendChild(Object.assign(document.createElement(tag), fields));
  const attempts = {
    "an inline script": () => put("script", { textContent: "ran.push('an inline script')" }),
    "a handler": () => put("div", { innerHTML: `<img src="data:," onerror="ran.push('a handler')">` }),
    "eval": () => eval("ran.push('eval')"),
    "a worker": () => new Worker(URL.createObjectURL(new Blob([`fetch("${to}a-worker")`]))),
    "a script": () => put("script", { src: to + "a-script" }),
    "a style sheet": () => put("link", { rel: "stylesheet", href: to + "a-style-sheet" }),
    "an inline style": () => put("style", { textContent: `body { background: url(${to}an-inline-style) }` }),
    "a picture": () => put("img", { src: to + "a-picture" }),
    "a film": () => put("video", { src: to + "a-film" }),
    "a frame": () => put("iframe", { src: to + "a-frame" }),
    "an object": () => put("object", { data: to + "an-object" }),
    "fetch": () => fetch(to + "fetch", { mode: "no-cors" }),
    "a WebSocket": () => new WebSocket(to.replace("http", "ws") + "a-WebSocket"),
    "a base": () => { const base = put("base", { href: to });
      if (document.baseURI === to) ran.push("a base");
      base.remove(); },
  };
  for (const attempt of Object.values(attempts)) {
    // Later, so that the page itself does it and not the debugger, which the policy does not bind.
    await new Promise((done) => setTimeout(async () => {
      try { await attempt(); } catch {}
      done();
    }));
  }
  return Object.keys(attempts);
}
"""

FORM = """
(to) => {
  const form = Object.assign(document.createElement("form"), { action: to + "a-form" });
  document.body.append(form);
  setTimeout(() => form.submit());
}
"""


@pytest.fixture
def elsewhere():
    """Another server on loopback: its URL, and the set of paths that it is asked for."""
    asked = set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.add(self.path[1:].partition("?")[0].replace("-", " "))
            with suppress(OSError):  # the page may be gone
                self.send_error(404)

        do_POST = do_GET

        def log_message(self, *message):
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://localhost:{server.server_port}/", asked
        server.shutdown()


@pytest.mark.parametrize("policy", ["with its policy", "without it"])
def test_a_script_that_got_into_the_page_reaches_nobody(chromium, page_url, elsewhere, policy):
    """Without the policy each attempt succeeds, so the policy is what stops them."""
    url, asked = elsewhere
    context = chromium.new_context(bypass_csp=policy == "without it")
    page = context.new_page()
    page.goto(page_url)
    join(page, "Ada")
    attempts = set(page.evaluate(ATTEMPTS, url))

    def got_through():
        return set(page.evaluate("ran")) | asked & attempts

    if policy == "without it":
        poll(lambda: got_through() == attempts, "all attempts to succeed", timeout_s=20, every_s=0.1)
        page.evaluate(FORM, url)
        poll(lambda: "a form" in asked, "the form to be sent", timeout_s=20, every_s=0.1)
    else:
        say(page, "I can still speak")
        expect(messages(page)).to_contain_text("I can still speak")
        page.wait_for_timeout(500)  # what gets through does so sooner
        assert got_through() == set()
        page.evaluate(FORM, url)
        page.wait_for_timeout(200)
        assert "a form" not in asked
    context.close()
