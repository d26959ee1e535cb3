"""The exercises of notebook 04: a limit, the route of a message, and a client that measures."""

import time
import uuid
from collections.abc import Callable, Collection

import websocket

from chatlab import cost, room_key
from chatlab.exercises.answer import Answer, forgiving, not_yet, right
from chatlab.lab import Lab

CONNECTIONS, CONNECTS_PER_S, DOLLARS_AN_HOUR = 100, 200, 20
PATIENCE_S = 2.0


@forgiving
def check_limit(lab: Lab, messages_per_s: float) -> Answer:
    """The most messages a second with which a stranger stays below a bill, in whole numbers."""

    def dollars(limit: float) -> float:
        return cost.estimate_abuse(CONNECTIONS, limit, CONNECTS_PER_S).dollars

    if messages_per_s <= 0:
        return not_yet("nobody could say anything.")
    if dollars(messages_per_s) > DOLLARS_AN_HOUR:
        return not_yet(f"with {messages_per_s:g} a second an hour can cost {dollars(messages_per_s):.2f} dollars.")
    if dollars(messages_per_s + 1) <= DOLLARS_AN_HOUR:
        return not_yet(f"an hour costs {dollars(messages_per_s):.2f} dollars at most: more messages fit in.")
    return right(
        f"{dollars(messages_per_s):.2f} dollars. A message that comes in is paid {CONNECTIONS} times going out, and "
        "its function waits for slow clients: that is why this limit is worth more than any other."
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
    """A client that says something, in a room in which the check listens and talks."""
    url, text = room_key.websocket_url(lab, lab.require_api()), f"exercise {uuid.uuid4().hex}"
    listener = websocket.create_connection(url, timeout=10)
    try:
        connected = _ids(lab)
        started = time.perf_counter()
        latency_ms = say(url, text)
        took_ms = 1000 * (time.perf_counter() - started)
        if not _hears(listener, text):
            return not_yet("nobody heard the text: connect to the URL, and send it as it is.")
        if not isinstance(latency_ms, int | float):
            return not_yet(f"everyone heard it, but you returned {latency_ms!r}: return the milliseconds.")
        if not 0 < latency_ms <= took_ms:
            return not_yet(f"you returned {latency_ms:.3g}, and the whole call took {took_ms:.0f} ms.")
        if not _left(lab, connected):
            return not_yet("your client is still in the table: close its socket.")
        return right(f"your own message came back after {latency_ms:.1f} ms, by way of API Gateway and Lambda.")
    finally:
        listener.close()


def _hears(listener: websocket.WebSocket, text: str) -> bool:
    """Whether the text arrives; others may be talking, too."""
    listener.settimeout(PATIENCE_S)
    try:
        while listener.recv() != text:
            pass
    except websocket.WebSocketTimeoutException:
        return False
    return True


def _left(lab: Lab, connected: set[str]) -> bool:
    """Whether soon nobody but these is connected: `$disconnect` runs a moment after the socket is closed."""
    deadline = time.monotonic() + 5 * PATIENCE_S
    while not _ids(lab) <= connected:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _ids(lab: Lab) -> set[str]:
    pages = lab.client("dynamodb").get_paginator("scan").paginate(TableName=lab.table, ConsistentRead=True)
    return {item["connection_id"]["S"] for page in pages for item in page["Items"]}
