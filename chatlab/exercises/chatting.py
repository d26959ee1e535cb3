"""The exercises of notebooks 04 and 09, whose checks connect real clients to the chat as it runs now."""

import base64
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any
from urllib.parse import urlencode

import websocket
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from chatlab import LabError, cost, poll, room_key
from chatlab.exercises import Answer, forgiving, not_yet, right
from chatlab.exercises.building import before_each_call
from chatlab.lab import Lab

CONNECTIONS, CONNECTS_PER_S, DOLLARS_AN_HOUR = 100, 200, 20
PATIENCE_S = 5.0  # how long a delivery may take, and how long an index may lag behind its table
HANDSHAKE_S, ECHO_S = 0.3, (0.12, 0.06)  # how long a stand-in server takes to open a connection, and to answer
SILENCE_S = 1.0  # how long a person in another room has to hear nothing
CONNECT, DEFAULT = "$connect", "$default"

# --- 04: a limit, the route of a message, and a client that measures --------------------------------------------------


@forgiving
def check_limit(lab: Lab, messages_per_s: float) -> Answer:
    """The most messages a second, a whole number, with which strangers stay below a bill."""

    def dollars(limit: float) -> float:
        return cost.estimate_abuse(CONNECTIONS, limit, CONNECTS_PER_S).dollars

    if not isinstance(messages_per_s, int | float) or messages_per_s != int(messages_per_s):
        return not_yet(f"give a whole number of messages a second; this is {messages_per_s!r}.")
    if messages_per_s <= 0:
        return not_yet("nobody could say anything.")
    if dollars(messages_per_s) > DOLLARS_AN_HOUR:
        return not_yet(f"with {messages_per_s:g} a second an hour can cost {dollars(messages_per_s):.2f} dollars.")
    if dollars(messages_per_s + 1) <= DOLLARS_AN_HOUR:
        return not_yet(f"an hour costs {dollars(messages_per_s):.2f} dollars at most: more messages fit in.")
    return right(
        f"{dollars(messages_per_s):.2f} dollars. You pay for each message {CONNECTIONS} times on its way out, and for "
        "the function that waits for slow clients: that is why this limit is worth more than any other."
    )


@forgiving
def check_route(lab: Lab, route: Callable[[str, Collection[str]], str | None]) -> Answer:
    """Which route takes a message, by `$request.body.action`."""
    route_keys = ["$connect", "$disconnect", "$default", "join", "leave"]
    cases = [
        ('{"action": "join", "room": "tea"}', "join"),
        ('{"action": "leave"}', "leave"),
        ('{"action": "dance"}', "$default"),
        ('{"type": "chat", "text": "join"}', "$default"),
        ("join", "$default"),
        ("", "$default"),
        ("[1, 2]", "$default"),
        ('{"action": ["join"]}', "$default"),
        ('{"action": "$connect"}', "$default"),
    ]
    for message, expected in cases:
        found = route(message, route_keys)
        if found != expected:
            return not_yet(f"the message {message!r} goes to {expected}, and you say {found}.")
    return right("an API with such routes needs no `if` in its functions: API Gateway chooses.")


@forgiving
def check_say(lab: Lab, say: Callable[[str, str], float | None]) -> Answer:
    """A client that measures: first against servers whose times are known, then in the chat itself."""
    for echo_s in ECHO_S:
        if mistake := check_stopwatch(say, echo_s):
            return not_yet(mistake)
    url, text = room_key.websocket_url(lab, lab.require_api()), f"exercise {uuid.uuid4().hex}"
    listener = websocket.create_connection(url, timeout=10)
    try:
        latency_ms = say(url, text)
        if not _hears(listener, text, PATIENCE_S):
            return not_yet("nobody in the chat heard the text: connect to the URL as it is given.")
    finally:
        listener.close()
    return right(f"your own message came back after {latency_ms:.1f} ms, by way of API Gateway and Lambda.")


def check_stopwatch(say: Callable[[str, str], float | None], echo_s: float) -> str | None:
    """What is wrong with what `say` does and returns, or None.

    It talks to a server of this process, which is slow to open a connection, and in which somebody else talks before
    the echo comes, `echo_s` after the message.
    """
    text, heard, closed = f"exercise {uuid.uuid4().hex}", list[str | bytes](), Event()

    def converse(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):  # without a close frame
            for message in connection:
                heard.append(message)
                time.sleep(echo_s / 2)
                connection.send("Somebody else is talking.")
                time.sleep(echo_s / 2)
                connection.send(message)
            closed.set()

    def open_slowly(connection: ServerConnection, request: Request) -> Response | None:
        own = f"http://127.0.0.1:{connection.local_address[1]}"
        if request.headers.get("Origin", own) != own:  # a page of some site, in the browser of this machine
            return connection.respond(403, "")
        time.sleep(HANDSHAKE_S)
        return None

    options: dict[str, Any] = {"process_request": open_slowly, "compression": None, "origins": None}
    with serve(converse, "127.0.0.1", 0, **options) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        started = time.perf_counter()
        latency_ms = say(f"ws://127.0.0.1:{server.socket.getsockname()[1]}", text)
        took_ms = 1000 * (time.perf_counter() - started)
        is_closed = closed.wait(SILENCE_S)
    if heard != [text]:
        return "nobody heard the text: connect to the URL, and send the text once, as it is."
    if isinstance(latency_ms, bool) or not isinstance(latency_ms, int | float):
        return f"everyone heard it, but you returned {latency_ms!r}: return the milliseconds."
    if latency_ms > 0 and 1000 * latency_ms <= took_ms:
        return f"you returned {latency_ms:.3g}: that is in seconds, so multiply it by 1,000."
    if latency_ms < 1000 * echo_s:
        return (
            f"your own text came back after {1000 * echo_s:.0f} ms, and you returned {latency_ms:.0f}: wait until you "
            "hear it, since others are talking, too."
        )
    if latency_ms > took_ms - 1000 * HANDSHAKE_S:
        return "your figure includes the opening of the connection: start the clock right before you send."
    return None if is_closed else "your client is still connected: close its socket."


# --- 09: rooms --------------------------------------------------------------------------------------------------------


@forgiving
def check_connect(lab: Lab) -> Answer:
    """Whether `$connect` writes the room beside the rest, "lobby" if the URL names none, and refuses as before."""
    for name in (_new_room(), None):
        wanted = name or "lobby"
        asked = f"?room={name}" if name else "no room in the URL"
        try:
            with _clients(lab, [name]) as ((_, item),):
                found = item.get("room", {}).get("S")
        except websocket.WebSocketBadStatusException as refused:
            why = _why(lab, "connect", CONNECT, room=name)
            return not_yet(f"with {asked} a handshake is refused with {refused.status_code}. {why}")
        if found != wanted:
            return not_yet(f"with {asked} the item has to have the room {wanted}, and it has {found}.")
        if lost := {"connected_at", "expires_at"} - item.keys():
            return not_yet(f"the item has no {min(lost)} any more, which the broadcast or time to live needs.")
    configuration = lab.client("lambda").get_function_configuration(FunctionName=lab.functions["connect"])
    stranger = json.loads(_call(lab, "connect", CONNECT, headers={"origin": "https://another-site.example"})["Payload"])
    if "ORIGINS" in configuration["Environment"]["Variables"] and stranger.get("statusCode") == 200:
        return not_yet("a page of another site gets in: answer 403 to what `refusal` refuses.")
    return right("the index has an entry for each item with this attribute, at once on your machine, and soon on AWS.")


@forgiving
def check_people_in(lab: Lab, people_in: Callable[[str], int | None]) -> Answer:
    """How many people are in a room, by the index."""
    full, other, empty = (_new_room() for _ in range(3))
    called: list[str] = []
    with _clients(lab, [full, full, other]) as clients:
        if any("room" not in item for _, item in clients):
            return not_yet("`$connect` does not write the room yet: the exercise before this one.")
        for name, expected in ((full, 2), (other, 1), (empty, 0)):
            with before_each_call(lab.client("dynamodb"), "before-call", lambda model, **_: called.append(model.name)):
                found = people_in(name)
                deadline = time.monotonic() + PATIENCE_S
                while found is not None and found != expected and time.monotonic() < deadline:  # the index may lag
                    time.sleep(0.5)
                    found = people_in(name)
            if found != expected:
                return not_yet(f"in the room {name} there are {expected}, and you say {found}.")
    if "Scan" in called:
        return not_yet("the number is right, but you pay for a Scan of everybody: ask the index with a Query.")
    return right("a Query reads the items of one room, and you pay for these; a Scan reads all, and you pay for all.")


@forgiving
def check_broadcast(lab: Lab) -> Answer:
    """Whether a message reaches all who are in the speaker's room, and nobody else."""
    tea, coffee, text = _new_room(), _new_room(), f"exercise {uuid.uuid4().hex}"
    with _clients(lab, [tea, tea, coffee]) as clients:
        (ada, ada_item), (grace, _), (edsger, _) = clients
        if "room" not in ada_item:
            return not_yet("`$connect` does not write the room yet: the first exercise.")
        if not _is_heard(ada, [ada, grace], text):
            why = _why(lab, "default", DEFAULT, ada_item["connection_id"]["S"])
            return not_yet(f"two are in a room, one speaks, and not both hear it. {why}")
        if _hears(edsger, text, SILENCE_S):
            return not_yet("somebody in another room heard it, too: query the index for the speaker's room.")
    return right("only the room heard it. By a Query of the index, a message's cost grows with its room, not the chat.")


def _new_room() -> str:
    return f"exercise-{uuid.uuid4().hex[:8]}"


@contextmanager
def _clients(lab: Lab, rooms: Sequence[str | None]) -> Iterator[list[tuple[websocket.WebSocket, dict[str, Any]]]]:
    """For each of these rooms an open socket and its item in the table."""
    url = lab.websocket_url(lab.require_api())
    key = {"key": secret} if (secret := room_key.read(lab)) else {}
    opened: list[tuple[websocket.WebSocket, dict[str, Any]]] = []
    known = set(_items(lab))
    try:
        for name in rooms:
            query = urlencode(key | ({"room": name} if name else {}))
            socket = websocket.create_connection(f"{url}?{query}" if query else url, timeout=PATIENCE_S)
            items = _items(lab)
            new = [item for connection_id, item in items.items() if connection_id not in known]
            opened.append((socket, new[0] if new else {}))
            known |= items.keys()
        yield opened
    finally:
        for socket, _ in opened:
            socket.close()


def _items(lab: Lab) -> dict[str, dict[str, Any]]:
    """The items of the table, by connection id."""
    pages = lab.client("dynamodb").get_paginator("scan").paginate(TableName=lab.table, ConsistentRead=True)
    return {item["connection_id"]["S"]: item for page in pages for item in page["Items"]}


def _is_heard(speaker: websocket.WebSocket, listeners: Sequence[websocket.WebSocket], text: str) -> bool:
    """Whether all listeners hear the speaker, who repeats it while the index may not yet know everybody."""

    def say() -> bool:
        speaker.send(text)
        return all(_hears(listener, text, 2 * SILENCE_S) for listener in listeners)

    with suppress(LabError):
        return poll(say, "everybody to hear it", PATIENCE_S, every_s=0.2)
    return False


def _hears(socket: websocket.WebSocket, text: str, patience_s: float) -> bool:
    """Whether the text arrives; others may be talking, too."""
    deadline = time.monotonic() + patience_s
    while (left_s := deadline - time.monotonic()) > 0:
        socket.settimeout(left_s)
        try:
            if socket.recv() == text:
                return True
        except websocket.WebSocketTimeoutException:
            break
    return False


def _why(lab: Lab, part: str, route_key: str, connection_id: str = "exercise", room: str | None = None) -> str:
    """The error that the function returns or logs if it is called by hand; "" if there is none."""
    answer = _call(lab, part, route_key, connection_id, room)
    returned = json.loads(answer["Payload"]) or {}
    if message := returned.get("errorMessage"):
        return f"The function says {returned.get('errorType')}: {' '.join(message.split())}"
    lines = base64.b64decode(answer.get("LogResult", "")).decode().splitlines()
    logged: dict[str, str] = next((json.loads(line) for line in lines if line.startswith("{")), {})
    return f"Its log says {logged['error']}" if "error" in logged else ""


def _call(
    lab: Lab, part: str, route_key: str, connection_id: str = "exercise", room: str | None = None, **event: Any
) -> dict[str, Any]:
    """What Lambda answers to a call by hand, its payload read; `event` is what the event has beside what is needed."""
    query = ({"key": secret} if (secret := room_key.read(lab)) else {}) | ({"room": room} if room else {})
    event |= {
        "requestContext": {"connectionId": connection_id, "routeKey": route_key, "eventType": "MESSAGE"},
        "queryStringParameters": query or None, "body": "exercise", "isBase64Encoded": False,
    }  # fmt: skip
    answer = lab.client("lambda").invoke(FunctionName=lab.functions[part], Payload=json.dumps(event), LogType="Tail")
    lab.client("dynamodb").delete_item(TableName=lab.table, Key={"connection_id": {"S": "exercise"}})
    return dict(answer, Payload=answer["Payload"].read())
