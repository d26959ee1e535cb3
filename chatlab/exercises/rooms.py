"""The exercises of notebook 08: rooms. Each check connects real clients to the chat as it runs now."""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import websocket

from chatlab import room_key
from chatlab.exercises.answer import Answer, forgiving, not_yet, right
from chatlab.lab import Lab

PATIENCE_S = 5.0
"""How long a delivery may take, and an index may lag behind its table."""
SILENCE_S = 1.0
"""How long somebody in another room has to hear nothing."""
CONNECT, DEFAULT = "$connect", "$default"


@forgiving
def check_connect(lab: Lab) -> Answer:
    """Whether `$connect` writes the room beside the id; "lobby" for whoever names none."""
    for name, expected in ((_new_room(), None), (None, "lobby")):
        wanted = name or expected
        try:
            with _clients(lab, [name]) as ((_, item),):
                found = item.get("room", {}).get("S")
        except websocket.WebSocketBadStatusException as refused:
            return not_yet(f"a handshake is refused with {refused.status_code}. {_why(lab, 'connect', CONNECT)}")
        if found != wanted:
            asked = f"?room={name}" if name else "no room in the URL"
            return not_yet(f"with {asked} the item has to have the room {wanted}, and it has {found}.")
    return right("the index has an entry for each item with this attribute, at once on your machine, and soon on AWS.")


@forgiving
def check_people_in(lab: Lab, people_in: Callable[[str], int | None]) -> Answer:
    """How many people are in a room, by the index."""
    full, other, empty = (_new_room() for _ in range(3))
    with _clients(lab, [full, full, other]) as clients:
        if any("room" not in item for _, item in clients):
            return not_yet("`$connect` does not write the room yet: the exercise before this one.")
        for name, expected in ((full, 2), (other, 1), (empty, 0)):
            found = people_in(name)
            deadline = time.monotonic() + PATIENCE_S
            while found is not None and found != expected and time.monotonic() < deadline:  # the index may lag behind
                time.sleep(0.5)
                found = people_in(name)
            if found != expected:
                return not_yet(f"in the room {name} there are {expected}, and you say {found}.")
    return right("a Query reads the items of one room, and is paid for these; a Scan reads, and pays for, all of them.")


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
    return right("only the room heard it. What a message costs grows with its room now, and not with the whole chat.")


def _new_room() -> str:
    return f"exercise-{uuid.uuid4().hex[:8]}"


@contextmanager
def _clients(lab: Lab, rooms: Sequence[str | None]) -> Iterator[list[tuple[websocket.WebSocket, dict[str, Any]]]]:
    """An open socket in each of these rooms, and its item in the table."""
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
    """By connection id, the items of the table."""
    pages = lab.client("dynamodb").get_paginator("scan").paginate(TableName=lab.table, ConsistentRead=True)
    return {item["connection_id"]["S"]: item for page in pages for item in page["Items"]}


def _is_heard(speaker: websocket.WebSocket, listeners: Sequence[websocket.WebSocket], text: str) -> bool:
    """Whether all of them hear the speaker, who says it again while the index may not know everybody yet."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        speaker.send(text)
        if all(_hears(listener, text, 2 * SILENCE_S) for listener in listeners):
            return True
        if time.monotonic() > deadline:
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


def _why(lab: Lab, part: str, route_key: str, connection_id: str = "exercise") -> str:
    """What the function says if it is called by hand, where that is an error; else ""."""
    event = {
        "requestContext": {"connectionId": connection_id, "routeKey": route_key, "eventType": "MESSAGE"},
        "queryStringParameters": {"key": room_key.read(lab)}, "body": "exercise", "isBase64Encoded": False,
    }  # fmt: skip
    answer = lab.client("lambda").invoke(FunctionName=lab.functions[part], Payload=json.dumps(event), LogType="Tail")
    returned = json.loads(answer["Payload"].read()) or {}
    lab.client("dynamodb").delete_item(TableName=lab.table, Key={"connection_id": {"S": "exercise"}})
    if message := returned.get("errorMessage"):
        return f"The function says {returned.get('errorType')}: {message}"
    lines = base64.b64decode(answer.get("LogResult", "")).decode().splitlines()
    logged: dict[str, str] = next((json.loads(line) for line in lines if line.startswith("{")), {})
    return f"Its log says {logged['error']}" if "error" in logged else ""
