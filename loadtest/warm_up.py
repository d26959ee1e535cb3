"""A few connections before the many: they start what has to be started, and show how long things take."""

import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import gevent
import websocket

from loadtest.connection import RETRY, Connection, busy_status, with_query
from loadtest.errors import LoadTestError, describe
from loadtest.results import explain_refusals

PEOPLE = 5
"""A new account's Lambda runs 10 invocations at a time: one for each of five people who leave and five who come."""
ROUNDS = 3
"""Functions start in the first; the later ones count."""


def handshake_s(url: str, people: int = PEOPLE, timeout_s: float = 30.0, patience_s: float = 60.0) -> float:
    """Measure how long a handshake takes when nothing has to be started first: the median, in seconds.

    This many people connect at the same time and leave, again and again. The network's time is included, so a function
    behind the handshake takes less than this. A handshake that a busy server refuses is tried again.

    Raises:
        LoadTestError: in a sentence, if the handshakes fail.
    """

    def one(_: int) -> float:
        deadline, refusals = time.monotonic() + patience_s, 0
        while True:
            started_s = time.perf_counter()
            try:
                Connection(url, timeout_s).close()
                return time.perf_counter() - started_s
            except (OSError, websocket.WebSocketException) as error:
                refusals += 1
                status, pause_s = busy_status(error), RETRY.pause_s(refusals)
                if status is None or time.monotonic() + pause_s > deadline:
                    why = explain_refusals({f"status {status}": refusals}, {}) if status else ""
                    raise LoadTestError(f"Nobody can connect to {url}: {describe(error)}. {why}".rstrip()) from None
                time.sleep(pause_s)
            finally:
                gevent.get_hub().destroy()  # each thread has one of its own

    with ThreadPoolExecutor(people) as pool:
        rounds = [list(pool.map(one, range(people))) for _ in range(ROUNDS)]
    return statistics.median(seconds for later in rounds[1:] for seconds in later)


def broadcast_s(url: str, people: int = 40, timeout_s: float = 30.0) -> float:
    """Measure how long one message takes to reach this many people when nothing has to be started first, in seconds.

    They connect, and one of them speaks a few times: the median, without the first time.

    Raises:
        LoadTestError: in a sentence, if somebody can't connect, or does not hear it within `timeout_s`.
    """
    clients: list[websocket.WebSocket] = []

    def connect(_: int) -> None:
        clients.append(websocket.create_connection(with_query(url), timeout_s))

    def say(text: str) -> float:
        started_s = time.perf_counter()
        clients[0].send(text)
        for client in clients:
            while client.recv() != text:  # somebody else may speak, too
                pass
        return time.perf_counter() - started_s

    try:
        with ThreadPoolExecutor(PEOPLE) as pool:
            list(pool.map(connect, range(people)))
        return statistics.median([say(uuid.uuid4().hex) for _ in range(1 + ROUNDS)][1:])
    except (OSError, websocket.WebSocketException) as error:
        raise LoadTestError(
            f"A message to {people} people at {url} could not be measured: {describe(error)}."
        ) from None
    finally:
        for client in clients:
            client.close(timeout=0)
