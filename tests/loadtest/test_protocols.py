"""What connections speak: another package's protocol, which is docs/loadtest.md's example, and AppSync Events."""

import json
import re

import pytest

from chatlab.paths import ROOT
from loadtest.calibration import reference_server, sides
from loadtest.calibration.calibrate import Case
from loadtest.calibration.reference_server import Faults
from loadtest.calibration.sides import Heard
from loadtest.protocols import appsync_events

WORDS = "--users 20 --broadcasts 9 --broadcast-rate 10 --warm-up 0".split()
(EXAMPLE,) = re.findall(r"```python\n(.+?)```", (ROOT / "docs/loadtest.md").read_text(), re.DOTALL)
MORE = """

class Mute(Lines):
    def take(self, payload):
        return super().take(payload)._replace(replies=())


class Beating(Mute):
    ping_s, ping = 0.2, "PONG"


class Strict(Lines):
    def take(self, payload):
        if payload.startswith(b"SAID"):
            raise ValueError("SAID is not allowed")
        return super().take(payload)
"""


class LinesSide(sides.Side):
    """The server that the example imagines."""

    subprotocol, has_echo, is_subscribed = "lines", False, False
    ping_s, ping = 0.5, "PING"

    def hear(self, payload):
        word, _, rest = payload.partition(" ")
        if word == "JOIN":
            self.is_subscribed = rest == "lobby"
            return Heard(replies=("JOINED" if self.is_subscribed else f"NO {rest}",))
        return Heard((rest,) if word == "SAY" else ())

    @staticmethod
    def wrap(text):
        return f"SAID {text}"


class ByThree(LinesSide):
    """Forwards three messages at a time, in one frame."""

    waiting: list[str] = []  # noqa: RUF012  # of all connections

    def hear(self, payload):
        messages, replies = super().hear(payload)
        self.waiting.extend(messages)
        if len(self.waiting) < 3:
            return Heard(replies=replies)
        three = "\nSAID ".join(self.waiting)
        self.waiting.clear()
        return Heard((three,))


@pytest.fixture
def lines(run, tmp_path):
    """Run a load test with a protocol of the package `lines`, which is installed for it."""
    (tmp_path / "lines.py").write_text(EXAMPLE + MORE)
    (tmp_path / "lines-1.dist-info").mkdir()
    names = "".join(f"{name.lower()} = lines:{name}\n" for name in ("Beating", "Gone", "Lines", "Mute", "Strict"))
    (tmp_path / "lines-1.dist-info/entry_points.txt").write_text(f"[websocket_chat_lab.protocols]\n{names}")

    def run_one(name, side, *more):
        with reference_server.run(side=side) as server:
            code = f"import sys; sys.path.insert(0, {f'{tmp_path}'!r})"
            return run("--host", server.url, "--protocol", name, *WORDS, *more, code=code)

    return run_one


@pytest.mark.parametrize("name", ["lines", "beating"])
def test_another_packages_protocol_is_found_and_its_speaker_does_not_wait_for_itself(lines, name):
    test = lines(name, LinesSide, "--speakers", 3)
    summary, connections = test.summary, test.result.connections
    assert test.status == 0, test.output
    assert (summary["expected"], summary["delivered"]) == (9 * 19, 9 * 19)
    assert sorted(connections["expected"].unique()) == [6, 9]
    progress = json.loads((test.folder / "progress.json").read_text())
    assert (progress["delivered"], progress["in_flight"]) == (9 * 19, 0)
    assert connections["foreign"].eq(0).all()
    assert (summary["settings"]["protocol"], summary["verdict"]["protocol"]) == (name, name)


def test_an_unanswered_ping_costs_the_connection(lines):
    test = lines("mute", LinesSide, "--broadcasts", 20)
    assert test.status == 1
    closed = test.result.connections["error"].dropna()
    assert set(closed) == {"closed by the server with code 1008"}, test.output
    assert len(closed) >= 19  # a speaker's frames may be answer enough


def test_a_frame_that_the_protocol_cannot_read_costs_the_connection(lines):
    test = lines("strict", LinesSide, "--users", 2)
    assert test.errors == ["The test is not complete: 1 connections dropped."], test.output
    (error,) = test.result.connections["error"].dropna()
    assert error == "closed with code 1002: SAID is not allowed"


def test_each_of_three_messages_in_a_frame_counts_at_the_frames_arrival(lines):
    test = lines("lines", ByThree)
    assert test.status == 0, test.output
    assert test.summary["delivered"] == 9 * 19
    assert test.result.deliveries.groupby("connection")["arrived_ns"].nunique().eq(3).all()


def test_what_cannot_be_subscribed_is_not_open(lines):
    test = lines("lines", LinesSide, "--channel", "attic")
    assert test.errors[0].startswith("None of the first 20 connections"), test.output
    assert "could be made: refused by the server: attic." in test.errors[0]
    assert test.result.connections["opened_ns"].isna().all()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone", "The protocol 'gone' can't be loaded: AttributeError in lines:Gone."),
        (
            "irc",
            "There is no protocol 'irc'. There are plain, appsync-events, socket.io, mqtt, graphql-ws, beating, gone, "
            "lines, mute, strict.",
        ),
    ],
)
def test_a_protocol_that_is_not_there(lines, name, says):
    test = lines(name, LinesSide)
    assert (test.status, test.errors) == (1, [says])
    assert "Traceback" not in test.output


def answering(kind, *answers):
    """The server's side of AppSync Events that answers a frame of this kind with these."""

    class Answering(sides.AppSyncEvents):
        def hear(self, payload):
            heard = super().hear(payload)
            return Heard(replies=answers) if f'"type": "{kind}"' in payload else heard

    return Answering


REFUSED = '{"type": "%s", "errors": [{"errorType": "UnauthorizedException", "message": "No such key"}]}'


@pytest.mark.parametrize(
    ("side", "says"),
    [
        (answering("subscribe"), "no subscription within 1 s"),
        (answering("subscribe", REFUSED % "subscribe_error"), "refused by the server: UnauthorizedException: No such"),
        (answering("publish", REFUSED % "publish_error"), "9 of 9 broadcasts were answered with an error."),
        (sides.Side, "the server does not speak this protocol: it chose no subprotocol."),
    ],
)
def test_what_appsync_refuses_is_said(run, side, says):
    with reference_server.run(side=side) as server:
        words = ["--protocol", "appsync-events", "--connect-timeout", 1]
        test = run("--host", server.url, *WORDS, *words, environment={"LOADTEST_KEY": "da2-secret"})
    assert test.status == 1
    assert says in test.errors[0], test.output
    shown = test.output + (test.folder / "summary.json").read_text()
    assert "secret" not in shown and "header-" not in shown


@pytest.mark.parametrize("protocol", [name for name in sides.SIDES if name != "plain"])
def test_one_in_a_thousand_that_a_server_drops_is_found(measure, monkeypatch, protocol):
    monkeypatch.setenv("LOADTEST_KEY", "da2-any")
    faults = Faults(drop=0.001, seed=2)
    reading = measure(Case("dropped", faults, 100, 10, broadcasts=30, protocol=protocol, processes=2))
    assert reading.detected_faults["dropped"]["truth"] == 2
    assert all(fault["wrong"] == 0 for fault in reading.detected_faults.values())


@pytest.mark.parametrize(
    ("frame", "messages", "error"),
    [
        ('{"type": "data", "id": "loadtest", "event": "one"}', ("one",), None),
        ('{"type": "data", "id": "loadtest", "event": ["one", 2, "three"]}', ("one", "three"), None),
        ('{"type": "ka"}', (), None),
        ('{"type": "publish_success", "failed": [{"index": 0, "code": 400, "message": "too large"}]}', (),
         "400: too large"),
        ('{"type": "broadcast_error", "errors": 1}', (), "broadcast_error"),
        ("unknown", (b"unknown",), None),
    ],
)  # fmt: skip
def test_what_is_in_a_frame_of_appsync(frame, messages, error):
    protocol = appsync_events.AppSyncEvents("", "da2-any")
    assert protocol.take(frame.encode()) == (messages, (), error)
