"""Clients that vanish without a word: the next broadcast reaches the others as soon as ever, and forgets these.

A process that is killed is no such case here: the kernel closes its sockets, and API Gateway runs `$disconnect`. A
laptop that falls asleep says nothing. API Gateway notices after ten minutes without traffic, if it is not written to
before, and `$disconnect` is best effort; what is left is an item whose connection answers 410. That is what stands in
the table here. https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html

`python -m pytest tests/lambdas/test_stale_connections.py` prints what it measures.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.open_connections import open_connections
from chatlab import poll
from tests.support.chat import ids, people, put_items, say
from tests.support.tables import reported

LIVING = 20


@pytest.fixture(scope="module")
def report(request):
    """Rows of the table that is printed at the end."""
    yield from reported(
        request,
        "vanished",
        "living",
        "reached within, ms",
        "with all of them alive, ms",
        "ratio",
        "the living alone, ms",
    )


def reached_ms(chat, sockets, text):
    """Milliseconds from the broadcast's invocation until the last of the sockets has heard it; its log line."""
    with ThreadPoolExecutor(1) as pool:
        began = time.perf_counter()
        invoked = pool.submit(say, chat, text)
        for socket in sockets:
            while socket.recv() != text:
                pass
        took_ms = (time.perf_counter() - began) * 1000
        return took_ms, invoked.result()


def usual_ms(chat, sockets, rounds):
    return [reached_ms(chat, sockets, f"as ever {number}")[0] for number in range(rounds)]


def vanish(chat, number, rounds, report):
    """So many of a room vanish. Returns what the two broadcasts after it have logged."""
    url = chat.websocket_url(chat.require_api())
    with people(chat, LIVING) as sockets:
        alone = usual_ms(chat, sockets, rounds + 1)[1:]
        with open_connections(url, number):
            usual = usual_ms(chat, sockets, rounds)
        poll(lambda: len(ids(chat)) == LIVING, "the others to have left", timeout_s=120, every_s=0.02)
        found, logs = [], []
        for again in range(rounds):
            put_items(chat, [f"vanished-{again}-{n}" for n in range(number)])
            took_ms, log = reached_ms(chat, sockets, f"is anybody left? {again}")
            found.append(took_ms)
            logs.append((log, reached_ms(chat, sockets, f"once more {again}")[1]))
            assert len(ids(chat)) == LIVING
        reached, normal = statistics.median(found), statistics.median(usual)
        row = [number, LIVING, f"{reached:.0f} ({min(found):.0f}, {max(found):.0f})", f"{normal:.0f}"]
        report.append([*row, f"{reached / normal:.2f}", f"{statistics.median(alone):.0f}"])
    return logs


def check(logs, number):
    for first, second in logs:
        assert (first["gone"], first["delivered"], first["failed"]) == (number, LIVING, 0)
        assert (second["gone"], second["delivered"], second["failed"]) == (0, LIVING, 0)


def test_of_those_who_vanished_the_next_broadcast_is_the_last_to_hear(chat, report):
    check(vanish(chat, 100, 1, report), 100)


@pytest.mark.long
def test_a_thousand_vanish_and_nobody_else_notices(chat, report):
    check(vanish(chat, 1_000, 5, report), 1_000)
