"""The exercises of the notebooks that measure: 06 the load test, 07 faster, 08 how many, 10 from inside the Region, and
11 AppSync Events.
"""

import asyncio
import inspect
import json
import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pandas as pd

from chatlab import limits
from chatlab.cost import MIN_SERVERS, PRICES, SERVER_HOUR_DOLLARS
from chatlab.exercises import Answer, forgiving, not_yet, right
from chatlab.lab import Lab
from loadtest.intervals import sufficient_groups

# --- 06: how much is enough, what counts, and what a client that waits doesn't see ------------------------------------


def check_broadcasts(lab: Lab, number: object) -> Answer:
    """The fewest broadcasts for a 95 % interval of p99, if each counts as one value and one of them is used up."""
    needed = sufficient_groups(0.99)
    if not isinstance(number, int):
        return not_yet("give a whole number.")
    if number == needed - 1:
        return not_yet(f"{number} values are enough, but {number} broadcasts are worth one value less.")
    if number < needed:
        share = 0.99 ** max(0, number - 1)
        return not_yet(f"of {number:,} broadcasts, all lie below the true p99 in {share:.0%} of all cases.")
    if number > needed:
        return not_yet(f"{number:,} are enough, and so are fewer: solve 0.99**(n - 1) <= 0.025.")
    return right(
        f"with {number} broadcasts the slowest lies above the true p99 in 97.5 % of all cases, so it is an upper end."
    )


@forgiving
def check_share_within(lab: Lab, share_within: Callable[[pd.DataFrame, float], float]) -> Answer:
    """`share_within(deliveries, ms)`: of the first copies, without the warm-up's, the share that took no longer."""
    rows = pd.DataFrame(
        {
            "latency_ms": [5.0, 10.0, 20.0, 40.0, 1.0, 1.0],
            "copy": [0, 0, 0, 0, 1, 0],
            "warm_up": [False, False, False, False, False, True],
        }
    )
    for ms, share in ((20, 0.75), (10, 0.5), (4, 0.0), (100, 1.0)):
        found: object = share_within(rows.copy(), ms)
        if not isinstance(found, int | float) or not 0 <= found <= 1:
            return not_yet(f"it returned {found!r}: return a number between 0 and 1.")
        if abs(found - share) > 1e-9:
            return not_yet(
                f"of four deliveries of 5, 10, 20 and 40 ms, {share:.0%} took at most {ms} ms, and it says "
                f"{found:.0%}; second copies and the warm-up's deliveries don't count."
            )
    return right("a promise such as “99 % within 200 ms” is this number, and a quantile is its inverse.")


@forgiving
def check_latencies(lab: Lab, latencies_s: Callable[[Sequence[float], Sequence[float]], Sequence[float]]) -> Answer:
    """`latencies_s(due_s, service_s)`: of messages that one server handles in turn, each from when it was due."""
    cases = [
        ([0.0, 1.0, 2.0], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]),
        ([0.0, 1.0, 2.0, 3.0], [2.5, 0.1, 0.1, 0.1], [2.5, 1.6, 0.7, 0.1]),
        ([0.5, 0.5, 0.5], [0.1, 0.1, 0.1], [0.1, 0.2, 0.3]),
    ]
    for due_s, service_s, expected in cases:
        found = [float(each) for each in latencies_s(list(due_s), list(service_s))]
        if len(found) != len(expected) or any(abs(a - b) > 1e-9 for a, b in zip(found, expected, strict=True)):
            times = f"messages due at {due_s} s that take {service_s} s"
            if found == service_s:
                return not_yet(f"of {times} it leaves out how long each waits for the one before.")
            return not_yet(f"of {times} the latencies are {expected} s, and it says {[round(s, 3) for s in found]}.")
    return right(
        "one slow message makes the next ones late. A client that waits for each answer would have sent them later, "
        "and would never know: that is coordinated omission."
    )


# --- 07: posts side by side, how many, and over a connection that may have closed -------------------------------------

TOGETHER = 4  # posts that have to be under way at a time


class _Room:
    """Connections to which one can post. One of them has gone."""

    def __init__(self, people: int) -> None:
        self.connection_ids = [f"connection-{number}" for number in range(people)]
        self.gone = self.connection_ids[people // 2]
        self.posted: Counter[str] = Counter()
        self.most_under_way = self._under_way = 0
        self._lock, self._together, self._is_alone = threading.Lock(), threading.Event(), False

    def post(self, connection_id: str) -> None:
        """Takes until enough others are under way, or until it is clear that none come."""
        with self._lock:
            self._under_way += 1
            self.most_under_way = max(self.most_under_way, self._under_way)
            if self._under_way >= TOGETHER:
                self._together.set()
        if not self._is_alone and not self._together.wait(0.5):
            self._is_alone = True
        with self._lock:
            self._under_way -= 1
            self.posted[connection_id] += 1
        if connection_id == self.gone:
            raise ConnectionError("410 GoneException")


PostAll = Callable[[Callable[[str], None], list[str]], object]


@forgiving
def check_post_all(lab: Lab, post_all: PostAll) -> Answer:
    """`post_all(post, connection_ids)`, maybe `async`: posts to each once, several at a time, though one is gone."""
    room = _Room(40)

    def run() -> None:
        made = post_all(room.post, list(room.connection_ids))
        if inspect.iscoroutine(made):
            asyncio.run(made)

    try:
        with ThreadPoolExecutor(1) as pool:  # in a thread without an event loop: a notebook's own has one
            pool.submit(run).result()
    except ConnectionError as error:
        return not_yet(f"one client who is gone (“{error}”) ended it: catch that where the post is made.")
    missed = [connection_id for connection_id in room.connection_ids if not room.posted[connection_id]]
    if missed:
        return not_yet(f"{len(missed)} of {len(room.connection_ids)} people have heard nothing.")
    if max(room.posted.values()) > 1:
        return not_yet("somebody has heard it twice.")
    if room.most_under_way < TOGETHER:
        return not_yet(f"no more than {room.most_under_way} posts were under way at a time: try a pool of threads.")
    return right(
        f"up to {room.most_under_way} posts were under way at a time. While one waits for its answer, others leave."
    )


@forgiving
def check_worth(lab: Lab, worth: Callable[[float, float], int]) -> Answer:
    """`worth(answer_ms, cpu_ms)`: the fewest posts under way with which the CPU never waits for an answer."""
    for answer_ms, cpu_ms, fewest in ((8, 1, 9), (8, 0.125, 65), (0, 1, 1), (8, 3, 4), (20, 2, 11)):
        found: object = worth(answer_ms, cpu_ms)
        if not isinstance(found, int):
            return not_yet(f"it returned {found!r}: return a whole number, rounded up.")
        if found < fewest:
            idle = (answer_ms + cpu_ms) / max(found, 1) - cpu_ms
            return not_yet(
                f"with {found} under way, {answer_ms} ms for an answer and {cpu_ms} ms of CPU for a post, the CPU "
                f"waits {idle:.2g} ms for each."
            )
        if found > fewest:
            return not_yet(
                f"with an answer of {answer_ms} ms and {cpu_ms} ms of CPU for a post, {fewest} under way keep the CPU "
                f"busy; it says {found}, and the others would only wait for the CPU."
            )
    return right("the less CPU a post takes, the more are worth having under way; of boto3's posts, only a few are.")


class _Server:
    """Connections to a server that closes the first ones; what was sent over which of them."""

    def __init__(self, closes: int) -> None:
        self.opened, self.sent, self._closes = 0, list[str](), closes

    def connect(self) -> Callable[[str], int]:
        self.opened += 1
        is_closed = self.opened <= self._closes

        def send(request: str) -> int:
            self.sent.append(request)
            if len(self.sent) > 10:
                raise RecursionError("it sends without end")
            if is_closed:
                raise ConnectionError("the server has closed this connection")
            return 200

        return send


@forgiving
def check_send(lab: Lab, send_over: Callable[..., object]) -> Answer:
    """`send_over(kept, connect, request)`: sends over the kept connection; if that is closed, once over a new one."""
    open_one, closed, gone = (_Server(closes) for closes in (0, 1, 9))
    found = send_over(open_one.connect(), open_one.connect, "POST")
    if open_one.opened > 1:
        return not_yet("it opened a new connection although the kept one was open: opening takes longer than a post.")
    if found != 200 or open_one.sent != ["POST"]:
        return not_yet(f"over an open connection it sent {open_one.sent} and returned {found!r}: return the status.")
    try:
        found = send_over(closed.connect(), closed.connect, "POST")
    except ConnectionError:
        return not_yet("the server had closed the kept connection, and this client missed the message: open a new one.")
    if found != 200 or closed.sent != ["POST", "POST"]:
        return not_yet(f"after the kept connection failed it sent {closed.sent[1:]} and returned {found!r}, not 200.")
    try:
        send_over(gone.connect(), gone.connect, "POST")
    except ConnectionError:
        if len(gone.sent) == 2:
            return right("a server may close an idle connection just as you use it; a second failure has other causes.")
    except RecursionError:
        pass
    return not_yet("if the new connection fails as well, it isn't the idle time: let the second error out.")


# --- 08: how large a room, at what price, and when servers pay off ---------------------------------------------------


def check_room(lab: Lab, people: object) -> Answer:
    """The largest room, to a tenth, that a broadcast reaches within a second at AWS's default quotas."""
    if not isinstance(people, int) or people < 1:
        return not_yet("give a whole number of people.")
    if people > 100_000:
        return not_yet(f"the quota alone takes {people / limits.DEFAULT.shared_per_s:.0f} s for that.")
    last_s, more_s = (limits.forecast(limits.DEFAULT, number).last_s for number in (people, people * 11 // 10))
    if last_s > 1:
        return not_yet(f"the model says {last_s:.2f} s for {people:,} people: try fewer.")
    if more_s <= 1:
        return not_yet(f"the model says {last_s:.2f} s for {people:,} people: there is time for more.")
    rate = f"{limits.DEFAULT.shared_per_s:,.0f} posts a second"
    return right(f"{people:,} people take {last_s:.2f} s: {rate}, less what it takes to begin.")


@forgiving
def check_dollars(lab: Lab, dollars_a_month: Callable[[int, int], float]) -> Answer:
    """`dollars_a_month(people, messages_a_day)`: what 30 days of it cost in metered messages, in and out."""
    for people, messages in ((50, 2_000), (1_000, 86_400), (1, 1)):
        price = PRICES["WebSocket messages"]
        expected = 30 * messages * (people + 1) * price
        found = float(dollars_a_month(people, messages))
        if _same(found, expected):
            continue
        if _same(found, 30 * messages * people * price):
            return not_yet("each message is metered on its way in, too.")
        if _same(found, 30 * messages * price):
            return not_yet("each delivery is metered: count the people.")
        if _same(found, expected / 30):
            return not_yet("that is one day: a month has 30 of them here.")
        return not_yet(
            f"{messages:,} messages a day to {people:,} people are {30 * messages * (people + 1):,} metered messages "
            f"in 30 days, {expected:.3g} dollars, and it says {found:.3g}."
        )
    return right("each message is metered once on its way in, and once for each person who gets it.")


@forgiving
def check_busy_from(lab: Lab, busy_from: Callable[[int], float]) -> Answer:
    """`busy_from(people)`: messages an hour from which two servers cost less than the messages, to a whole one."""
    for people in (1_000, 50, 1):
        expected = MIN_SERVERS * SERVER_HOUR_DOLLARS / ((people + 1) * PRICES["WebSocket messages"])
        found = float(busy_from(people))
        if abs(found - expected) <= 1:
            continue
        if _same(found, expected / MIN_SERVERS, 0.01):
            return not_yet(f"that pays for one server: {MIN_SERVERS} are needed, since one may fail.")
        if _same(found, expected * (people + 1) / people, 1e-3):
            return not_yet("each message is metered on its way in, too.")
        if _same(found, expected * (people + 1), 0.01):
            return not_yet("that is deliveries an hour: one message is a delivery to each person.")
        if _same(found, expected / 3600, 0.01):
            return not_yet("that is messages a second, and the servers' price is for an hour.")
        return not_yet(
            f"an hour of the servers is {MIN_SERVERS * SERVER_HOUR_DOLLARS:.2f} dollars, which pays for "
            f"{expected:,.0f} messages to {people:,} people, and it says {found:,.0f}."
        )
    return right("the larger the room, the fewer messages it takes until servers of your own are cheaper.")


# --- 10: what a task costs, how many are needed, and what may be added up ---------------------------------------------


@forgiving
def check_task_dollars(lab: Lab, task_dollars: Callable[[int, int, float], float]) -> Answer:
    """`task_dollars(vcpus, gb, seconds)`: of one task on Fargate, with a public address."""
    for vcpus, gb, seconds in ((2, 4, 600), (1, 8, 3600), (4, 8, 20)):
        an_hour = 0.04048 * vcpus + 0.004445 * gb + 0.005
        found = float(task_dollars(vcpus, gb, seconds))
        if _same(found, expected := an_hour * max(60, seconds) / 3600):
            continue
        if _same(found, an_hour * seconds / 3600):
            return not_yet(f"{seconds} s are billed as a minute.")
        if _same(found, (an_hour - 0.005) * max(60, seconds) / 3600):
            return not_yet("the public address costs, too.")
        if _same(found, an_hour * max(60, seconds)):
            return not_yet("the prices are for an hour, and the time is in seconds.")
        return not_yet(
            f"{vcpus} vCPUs and {gb} GB for {seconds} s cost {expected:.4f} dollars, and it says {found:.4g}."
        )
    return right("ten minutes of a task cost less than two cents: in most tests the messages are the bill.")


@forgiving
def check_tasks_for(lab: Lab, tasks_for: Callable[[float], int]) -> Answer:
    """`tasks_for(deliveries_per_s)`: one, or a master and a worker for each 20,000."""
    for per_s, needed in ((10_000, 1), (20_000, 1), (20_001, 3), (100_000, 6)):
        found: object = tasks_for(per_s)
        if not isinstance(found, int):
            return not_yet("return a whole number.")
        if found == needed:
            continue
        if needed == 1:
            return not_yet(f"{per_s:,} deliveries a second are one task's work, without a master.")
        if found == needed - 1:
            return not_yet(f"of {found} tasks one is the master, which has no connections: a worker is missing.")
        return not_yet(f"{per_s:,} deliveries a second need {needed} tasks, and it says {found}.")
    return right("AWS's default quota lets 10,000 posts a second through, which one task measures.")


@forgiving
def check_p99_of_all(lab: Lab, p99_of_all: Callable[[list[list[float]]], float]) -> Answer:
    """`p99_of_all(workers)`: each worker's latencies in, the 99th percentile of all of them out, to one value."""
    draw = random.Random(1)
    quick, slow = ([round(draw.uniform(low, low + 10), 3) for _ in range(n)] for low, n in ((10, 950), (90, 50)))
    for workers in ([quick, slow], [slow, quick, quick], [quick]):
        everything = sorted(ms for own in workers for ms in own)
        place = math.ceil(0.99 * len(everything)) - 1
        found = float(p99_of_all([list(own) for own in workers]))
        if everything[place - 1] <= found <= everything[place + 1]:
            continue
        own = [sorted(each)[math.ceil(0.99 * len(each)) - 1] for each in workers]
        if abs(found - sum(own) / len(own)) < 2:
            return not_yet("a mean of the workers' percentiles counts a worker with few deliveries as one with many.")
        if found == max(own) or found == everything[-1]:
            return not_yet("that is the slowest, or the slowest worker's: most of the deliveries are the others'.")
        return not_yet(f"of {len(everything):,} deliveries it is {everything[place]:.1f} ms, and it says {found:.1f}.")
    return right("a percentile needs all values: the master here gets each delivery's record.")


# --- 11: what AppSync Events meters, its frames, and which service takes a room --------------------------------------


@forgiving
def check_operations(lab: Lab, operations: Callable[[int, int, int], int]) -> Answer:
    """`operations(people, messages, payload_bytes)`: what AppSync Events meters, in steps of 5 KB."""
    for people, messages, payload_bytes in ((100, 1_000, 200), (100, 1_000, 5_120), (50, 10, 5_121), (1, 0, 200)):
        steps = 1 if payload_bytes <= 5_120 else 2
        expected = messages * (people + 1) * steps + 2 * people
        found = float(operations(people, messages, payload_bytes))
        if found == expected:
            continue
        if found == expected - 2 * people:
            return not_yet("a connect and a subscribe are an operation each, for each person.")
        if found == expected - messages * steps:
            return not_yet("the event itself is metered on its way in, too.")
        if steps == 2 and found == messages * (people + 1) + 2 * people:
            return not_yet(f"{payload_bytes:,} bytes are two steps of 5 KB.")
        return not_yet(
            f"{messages:,} messages of {payload_bytes:,} bytes to {people} people are {expected:,} operations, and it "
            f"says {found:,.0f}."
        )
    return right("a message of 30 KB costs six times as much as in API Gateway, which meters in steps of 32 KB.")


MAX_EVENT_BYTES = 240 * 1024


@forgiving
def check_batches(lab: Lab, batches: Callable[[list[str]], list[list[str]]]) -> Answer:
    """`batches(texts)`: lists of at most five events in order, each a text as JSON; ValueError for too large a text."""
    for count in (12, 5, 1):
        texts = [f"text {number}" for number in range(count)]
        found = [list(each) for each in batches(list(texts))]
        events = [event for each in found for event in each]
        if events == texts:
            return not_yet('an event is JSON as text: `json.dumps("hi")` is \'"hi"\', with its quotes.')
        if events != [json.dumps(text) for text in texts]:
            return not_yet(f"of {count} texts not all are in a list, once and in order.")
        if (full := [min(5, count - first) for first in range(0, count, 5)]) != (sizes := [*map(len, found)]):
            return not_yet(
                f"{count} events make lists of {full}, since AppSync takes five at once, and not of {sizes}."
            )
    just, too_much = "x" * (MAX_EVENT_BYTES - 2), "an event that is too large as JSON raises no ValueError"
    for text, is_small, told in (
        (just, True, "an event of exactly 240 KB, its two quotes included, is small enough."),
        (f"{just}x", False, f"{too_much}: a text has two quotes more there."),
        ('"' * (MAX_EVENT_BYTES // 2), False, f"{too_much}: a quote within a text takes two bytes there."),
    ):
        is_taken = False
        with suppress(ValueError):
            is_taken = batches(["hi", text]) is not None
        if is_taken != is_small:
            return not_yet(told)
    return right("what is checked before it is sent can't be dropped without an error.")


@forgiving
def check_fits(lab: Lab, fits: Callable[[int, float, float], Sequence[str]]) -> Answer:
    """`fits(people, messages_per_s, payload_kb)`: the services that take such a room by default."""
    gateway, iot, events = "API Gateway", "IoT Core", "AppSync Events"
    for people, messages_per_s, payload_kb, expected in (
        (1_000, 10, 1, {gateway, iot, events}), (1_000, 20, 1, {iot, events}), (100_000, 1, 1, {events}),
        (10, 1, 32, {gateway, iot, events}), (10, 1, 33, {iot, events}), (10, 1, 200, {events}),
        (10, 1, 241, set()), (1_000_001, 1, 1, set()),
    ):  # fmt: skip
        found = set(fits(people, messages_per_s, payload_kb))
        room = f"{people:,} people, {messages_per_s} messages a second of {payload_kb} KB"
        if wrong := sorted(found - expected):
            return not_yet(f"{' and '.join(wrong)} can't take {room}.")
        if missing := sorted(expected - found):
            return not_yet(f"{' and '.join(missing)} can take {room}.")
    return right("a delivery counts once for each person, so the room's size and its rate multiply.")


def _same(found: float, expected: float, relative: float = 1e-6) -> bool:
    return abs(found - expected) <= relative * abs(expected)
