"""People chat in a real browser: what they see and hear, and what happens when the connection breaks, or when somebody
wants to run a script in the page.

One file, since each file may start a browser and a chat of its own.
"""

import http.server
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from chatlab import poll
from tests.support.chat import ids
from tests.support.labs import without_policy
from tests.support.pages import CUT, fits, join, messages, say, state, texts

LONGEST_NAME = "Bartholomäus Kunigunde von Hohenlohe-Lan"  # 40 characters


def test_people_hear_each_other_in_the_same_order_and_see_who_leaves(joined):
    names = ["Ada", "Grace", LONGEST_NAME]
    pages = ada, grace, _ = [joined(name, width=320, height=1000) for name in names]  # only what is in view is there
    for page in pages:
        expect(page.get_by_test_id("people")).to_have_text("3 people")
    said = []
    for round_number in (1, 2):
        for name, page in zip(names, pages, strict=True):
            said.append(f"{name} {round_number}")
            say(page, said[-1])
            poll(lambda page=page: texts(page)[-1:] == said[-1:], "a message to come back", timeout_s=10, every_s=0.05)
    for page in pages:
        poll(lambda page=page: texts(page) == said, "everyone to have heard everything", timeout_s=15)
        expect(page.locator("[data-own=true]")).to_have_count(2)
        expect(page.get_by_test_id("delivery").first).to_have_text(re.compile(r"\d+ ms"))
        expect(page.get_by_test_id("median")).to_have_text(re.compile(r"\d+ ms"))
        assert fits(page)
    expect(messages(ada).last).to_contain_text(LONGEST_NAME)
    grace.close(run_before_unload=True)
    expect(ada.get_by_test_id("people")).to_have_text("2 people")
    ada.reload()
    expect(ada.get_by_label("Your name")).to_have_value("Ada")
    join(ada, "Ada")
    say(ada, "I am back")
    expect(messages(ada)).to_have_count(1)


def test_every_text_is_shown_as_it_was_written(joined):
    """Emoji, Arabic, Hebrew, one long word, lines, what a program may take for nothing, and thirty kilobytes."""
    said = [
        "🎉👩‍👩‍👧‍👦🇺🇳",
        "مرحبا بالعالم",
        "שלום",
        "W" * 300,
        "one\ntwo\n\nthree",
        "0",
        "null",
        "{}",
        "0123456789 " * 2790,
    ]
    ada, grace = joined("Ada", width=320, height=1600), joined("Grace", height=1600)  # only what is in view is there
    for number, text in enumerate(said, 1):
        say(ada, text)
        for page in (ada, grace):
            expect(messages(page)).to_have_count(number)
            assert texts(page)[-1].strip() == text.strip()
            assert fits(page)


def flood(lab, connection_id, count, rate):
    """Post messages to a connection, at most `rate` a second: the futures of four threads."""
    api = lab.client("apigatewaymanagementapi", endpoint_url=lab.connections_url(lab.require_api()))
    started = time.monotonic()

    def post(first, step):
        for number in range(first, count, step):
            time.sleep(max(0, started + number / rate - time.monotonic()))
            message = {"type": "chat", "id": f"f{number}", "client": "flood", "name": "Flood", "sent_at": number}
            body = json.dumps(message | {"text": f"flood {number}"})
            api.post_to_connection(ConnectionId=connection_id, Data=body.encode())

    pool = ThreadPoolExecutor(4)
    return [pool.submit(post, first, 4) for first in range(4)]


@pytest.mark.slow
def test_five_hundred_messages_a_second_leave_the_page_usable(chat, joined, terminal):
    """Typing is timed from the key to the next frame. Then the reader scrolls up, and is not moved."""
    before = ids(chat)
    ada = joined("Ada")
    (own,) = ids(chat) - before
    ada.evaluate("""() => {
        window.typing = [];
        document.addEventListener('keydown', event => requestAnimationFrame(() => {
            const channel = new MessageChannel();  // the task after the frame: it has been painted
            channel.port1.onmessage = () => window.typing.push(performance.now() - event.timeStamp);
            channel.port2.postMessage(0);
        }), true);
    }""")
    posts = flood(chat, own, 1500, 500)
    composer = ada.get_by_label("Message")
    composer.focus()
    while not all(post.done() for post in posts):
        ada.keyboard.press("a")
        ada.wait_for_timeout(10)
    assert [post.exception() for post in posts] == [None] * 4
    terminal.send("the end")
    end = ada.get_by_text("the end", exact=True)
    expect(end).to_be_in_viewport()
    typing = sorted(ada.evaluate("window.typing"))
    assert len(typing) > 50
    assert typing[len(typing) // 2] < 100
    assert messages(ada).count() < 200
    assert ada.evaluate("performance.memory.usedJSHeapSize") < 100e6
    assert composer.input_value() == "a" * len(typing)

    ada.get_by_role("log").hover()
    ada.mouse.wheel(0, -1500)
    expect(end).not_to_be_in_viewport()
    terminal.send("the newest")
    button = ada.get_by_test_id("new-messages")
    expect(button).to_have_text("1 new message")
    button.click()
    expect(ada.get_by_text("the newest", exact=True)).to_be_in_viewport()
    expect(state(ada)).to_have_attribute("data-state", "connected")


def brightness(page, element):
    """The sum of red, green and blue of an element's background, 0 to 765."""
    colour = page.evaluate(f"getComputedStyle(document.{element}).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


@pytest.mark.parametrize(("scheme", "width", "height"), [("light", 320, 568), ("dark", 1440, 900)])
def test_everybody_can_read_and_use_it(window, terminal, wire, scheme, width, height):
    """At the start, with messages, and without a connection; on a small telephone and on a desk."""

    def check(page):
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert fits(page)
        small = [
            element.evaluate("e => [e.textContent || e.getAttribute('aria-label'), e.getBoundingClientRect().height]")
            for element in page.locator("button, textarea, input").all()
            if element.is_visible()
        ]
        assert all(height >= 44 for _, height in small), small

    ada = window(width, height, CUT, color_scheme=scheme, reduced_motion="reduce")
    check(ada)
    join(ada, "Ada")
    say(ada, "A message that needs more than one line on a small telephone: see https://example.org")
    terminal.send("a plain line")
    expect(messages(ada)).to_have_count(2)
    check(ada)
    assert brightness(ada, "body") > 600 if scheme == "light" else brightness(ada, "body") < 200
    moving = "document.getAnimations().filter(each => each.effect.getTiming().duration > 10).length"
    assert ada.evaluate(moving) == 0
    wire.cut()
    expect(state(ada)).to_have_attribute("data-state", "reconnecting")
    assert ada.evaluate(moving) == 0
    say(ada, "waiting")
    expect(ada.get_by_test_id("queued")).to_have_count(1)
    check(ada)


def test_the_right_theme_is_there_from_the_first_paint(window):
    """Before any script or style sheet of the page's has come."""
    page = window(color_scheme="dark", block="/assets/", expected="ERR_FAILED")
    assert brightness(page, "documentElement") < 200


def test_with_the_keyboard_alone(window):
    page = window()
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    expect(state(page)).to_have_attribute("data-state", "connected")
    expect(page.get_by_label("Message")).to_be_focused()
    page.keyboard.type("first line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    expect(messages(page)).to_have_count(1)
    assert texts(page)[0].strip() == "first line\nsecond line"
    seen = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
        )
        seen.add(name)
        assert outline != "none" or name == "BODY", name
    assert {"BUTTON", "TEXTAREA"} <= seen


def test_the_server_cut_off_and_back(joined, wire):
    """What is written meanwhile waits in view, and arrives once and in order."""
    ada, grace = joined("Ada", expected=CUT), joined("Grace", expected=CUT)
    say(ada, "before")
    expect(messages(grace)).to_have_count(1)
    wire.cut()
    expect(state(ada)).to_have_attribute("data-state", "reconnecting")
    for number in (1, 2, 3):
        say(ada, f"meanwhile {number}")
    expect(ada.get_by_test_id("queued")).to_have_count(3)
    wire.restore()
    for page in (ada, grace):
        expect(state(page)).to_have_attribute("data-state", "connected", timeout=40_000)
    expect(ada.get_by_test_id("queued")).to_have_count(0)
    say(ada, "after")
    wanted = ["before", "meanwhile 1", "meanwhile 2", "meanwhile 3", "after"]
    poll(lambda: texts(ada) == wanted, "Ada to see each message once", timeout_s=20)
    # Grace may have come back later than Ada spoke: nobody keeps messages for those who are away.
    heard = texts(grace)
    assert heard == [text for text in wanted if text in heard]
    assert heard[0] == "before"


def test_coming_back_online_reconnects_at_once(joined, wire):
    ada = joined("Ada", expected=CUT)
    wire.cut()
    ada.context.set_offline(True)
    expect(state(ada)).to_have_attribute("data-state", "offline")
    wire.restore()
    ada.context.set_offline(False)
    expect(state(ada)).to_have_attribute("data-state", "connected", timeout=5000)


def test_a_refused_handshake_is_said(chat, window):
    with without_policy(chat, "connections-table"):
        page = window(expected="403|405|500")  # the page asks whether anything is there, and no HEAD is taken
        page.get_by_label("Your name").fill("Ada")
        page.get_by_role("button", name="Join").click()
        expect(state(page)).to_have_attribute("data-state", "refused")
    expect(state(page)).to_have_attribute("data-state", "connected", timeout=60_000)


# --- scripts ---------------------------------------------------------------------------------------------------------
# No script runs from a message; and if one did run, the page's policy would let it reach nobody.
#
# The first is tested with the policy switched off, so that it hides nothing, the second with scripts that are in the
# page already. All other tests show that the policy allows what the page itself needs: they fail on any error of the
# browser.

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
