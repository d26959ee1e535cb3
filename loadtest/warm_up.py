"""A few connections before the many: they start what has to be started, and tell how long a handshake takes."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import websocket

from loadtest import throttling
from loadtest.connection import describe, with_query
from loadtest.errors import LoadTestError

PEOPLE = 5
"""A new account's Lambda runs 10 invocations at a time: with as many who leave as who come, that is all it is asked."""
ROUNDS = 3
"""In the first, functions start; the later ones count."""


def handshake_s(url: str, people: int = PEOPLE, timeout_s: float = 30.0, patience_s: float = 60.0) -> float:
    """How long a handshake takes where nothing has to be started first: the median, in seconds.

    So many people connect at the same time, and leave, again and again. What the network needs is in it, so a function
    behind the handshake takes less than this. Who is refused because of too much load tries again.

    Raises:
        LoadTestError: in a sentence, if the handshakes fail.
    """

    def one(_) -> float:
        give_up, refusals = time.monotonic() + patience_s, 0
        while True:
            began = time.perf_counter()
            try:
                websocket.create_connection(with_query(url), timeout=timeout_s, redirect_limit=0).close(timeout=0)
                return time.perf_counter() - began
            except (OSError, websocket.WebSocketException) as error:
                refusals += 1
                wait_s = throttling.backoff_s(refusals)
                if not throttling.is_busy(error) or time.monotonic() + wait_s > give_up:
                    status = getattr(error, "status_code", None)
                    why = throttling.explain({f"status {status}": refusals}, {}) if throttling.is_busy(error) else ""
                    raise LoadTestError(f"Nobody can connect to {url}: {describe(error)}. {why}".rstrip()) from None
                time.sleep(wait_s)

    with ThreadPoolExecutor(people) as pool:
        rounds = [list(pool.map(one, range(people))) for _ in range(ROUNDS)]
    return statistics.median(seconds for later in rounds[1:] for seconds in later)
