"""`$connect` lets in everybody who has the room's key, if it has one, and no page of another site."""

import base64
import importlib
import json

import pytest
import websocket
from playwright.sync_api import expect

from chatlab import LabError, room_key
from chatlab.notebooks import BUILD
from loadtest import warm_up
from tests.support.cells import creating, run_cells
from tests.support.chat import ids
from tests.support.labs import chat_in, lab_in, run_notebook, variables

pytestmark = pytest.mark.slow  # it starts clouds

KEY = "a-key-that-nobody-guesses"
PAGES = "https://chat-page-1.s3.eu-west-1.amazonaws.com http://chat.example"
API = "a1b2c3.execute-api.eu-west-1.amazonaws.com"


@pytest.fixture
def refusal(monkeypatch):
    """The function's own `refusal(event)`: what a handshake lacks."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")  # it makes its client when it is loaded
    return importlib.import_module("lambda_connect").refusal


def asks(origin=None, key=None, header="Origin", **more):
    """What `$connect` reads of a handshake's event."""
    headers = {"Host": API, "Sec-WebSocket-Version": "13"} | ({} if origin is None else {header: origin})
    return {"headers": headers} | ({} if key is None else {"queryStringParameters": {"key": key}}) | more


@pytest.mark.parametrize(
    ("event", "lacks"),
    [
        (asks(), "key"),
        (asks(key=KEY[:-1]), "key"),
        (asks(key=f"{KEY}x"), "key"),
        (asks(key="ü" * 25), "key"),
        (asks(key="\ud800"), "key"),
        (asks(queryStringParameters=None), "key"),
        ({}, "key"),
        (asks(key=KEY, queryStringParameters={"key": KEY, "other": "1"}), None),
    ],
)
def test_a_room_with_a_key_lets_nobody_in_without_it(refusal, monkeypatch, event, lacks):
    monkeypatch.setenv("ROOM_KEY", KEY)
    assert refusal(event) == lacks
    monkeypatch.setenv("ROOM_KEY", "")
    assert refusal(event) is None


@pytest.mark.parametrize("origin", [
    None, *PAGES.split(), f"https://{API}", "http://localhost:5173", "http://127.0.0.1:8000", "http://[::1]:8000",
])  # fmt: skip
def test_the_page_a_program_and_a_page_of_ones_own_machine_are_let_in(refusal, monkeypatch, origin):
    monkeypatch.setenv("ORIGINS", PAGES)
    assert refusal(asks(origin)) is None


@pytest.mark.parametrize("origin", [
    "https://evil.example", "null", "", "https://chat-page-1.s3.eu-west-1.amazonaws.com.evil.example", "http://[",
    "http://chat-page-1.s3.eu-west-1.amazonaws.com", "https://chat-page-1.s3.eu-west-1.amazonaws.com:444",
    "https://localhost.evil.example", "https://evil.example/127.0.0.1", f"https://{API}.evil.example",
])  # fmt: skip
@pytest.mark.parametrize("header", ["Origin", "origin"])
def test_a_page_of_another_site_is_not(refusal, monkeypatch, origin, header):
    monkeypatch.setenv("ORIGINS", PAGES)
    assert refusal(asks(origin, header=header)) == "origin"
    monkeypatch.delenv("ORIGINS")  # as before notebook 05 has told them
    assert refusal(asks(origin, header=header)) is None


@pytest.mark.parametrize("key", ["short", "a key with spaces in it", "a-key-with-&-in-it-too", "ü" * 20, "x" * 129])
def test_a_key_that_can_not_be_one_is_one_sentence_without_it(key):
    with pytest.raises(LabError, match="ROOM_KEY has to be 16 to 128 letters") as error:
        room_key.validate(key)
    assert key not in str(error.value)


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A chat whose room has a key, without a page."""
    with chat_in(tmp_path_factory.mktemp("locked"), ROOM_KEY=KEY) as lab:
        yield lab


def status(url):
    """The status that a handshake is answered with; 101 is an open socket."""
    try:
        websocket.create_connection(url, timeout=10).close()
        return 101
    except websocket.WebSocketBadStatusException as refused:
        return refused.status_code


def test_who_is_refused_is_not_remembered_and_the_key_not_logged(locked):
    with variables(locked, "connect", ORIGINS=PAGES):
        for event, lacks in ((asks(key="wrong-key-of-somebody"), "key"), (asks("https://evil.example", KEY), "origin")):
            event["requestContext"] = {"connectionId": "refused", "routeKey": "$connect"}
            answer = locked.client("lambda").invoke(
                FunctionName=locked.functions["connect"], Payload=json.dumps(event), LogType="Tail"
            )
            assert json.loads(answer["Payload"].read()) == {"statusCode": 403}
            tail = base64.b64decode(answer["LogResult"]).decode().splitlines()
            (line,) = (json.loads(line) for line in tail if line.startswith("{"))
            assert line["refused"] == lacks and KEY not in str(line) and "wrong-key" not in str(line)
        assert "refused" not in ids(locked)


def test_whoever_has_the_key_gets_in_and_nobody_else(locked):
    api = locked.require_api()
    assert status(locked.websocket_url(api)) == 403
    assert status(f"{locked.websocket_url(api)}?key={KEY}-") == 403
    assert status(room_key.websocket_url(locked, api)) == 101
    assert room_key.page_url(locked) == f"{locked.page_url}#key={KEY}"


def test_a_load_test_takes_the_key_and_shows_it_nowhere(locked, run, monkeypatch, tmp_path):
    monkeypatch.setenv("LOADTEST_QUERY", "")
    url = locked.websocket_url(locked.require_api())
    room_key.give_to_load_test(locked)
    assert warm_up.handshake_s(url, people=1) < 30
    report = tmp_path / "locust.html"
    load = ["--host", url, "--users", 5, "--broadcasts", 3, "--broadcast-rate", 10]
    test = run(*load, "--html", report)
    assert (test.status, test.summary["missing"]) == (0, 0), test.output
    assert KEY not in test.output and KEY not in report.read_text()
    assert not [file for file in test.folder.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


def test_the_key_and_the_origins_outlive_a_second_run_and_an_empty_key_opens_the_room(locked):
    functions, connect = locked.client("lambda"), locked.functions["connect"]

    def now():
        return functions.get_function_configuration(FunctionName=connect)["Environment"]["Variables"]

    with variables(locked, "connect", ORIGINS=PAGES):
        before = now()
        assert (before["ROOM_KEY"], before["ORIGINS"]) == (KEY, PAGES)
        run_cells("03_lambda_functions", creating("03_lambda_functions"))
        assert now() == before
        run_cells("03_lambda_functions", creating("03_lambda_functions", ROOM_KEY=""), ROOM_KEY="")
        assert now() == before | {"ROOM_KEY": ""}
        assert status(locked.websocket_url(locked.require_api())) == 101


@pytest.mark.long
def test_a_whole_chat_with_a_key_and_its_page_take_it_along_and_nothing_that_is_saved_shows_it(launch, tmp_path):
    with lab_in(tmp_path / "home") as lab:
        for name in BUILD:
            run_notebook(name, tmp_path, ROOM_KEY=KEY)
        chromium = launch("")
        for address, reached in ((room_key.page_url(lab), "connected"), (lab.page_url, "refused")):
            page, asked = chromium.new_page(), []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(address)
            page.get_by_label("Your name").fill("Ada")
            page.get_by_role("button", name="Join").click()
            expect(page.locator(f"[role=status][data-state={reached}]")).to_be_visible(timeout=30_000)
            assert not [url for url in asked if url.startswith("http") and KEY in url.partition("#")[0]]
        chromium.close()
        run_notebook("99_teardown", tmp_path)
    saved = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {f"{name}.ipynb" for name in BUILD} <= {file.name for file in saved}
    assert not [file for file in saved if KEY.encode() in file.read_bytes()]
