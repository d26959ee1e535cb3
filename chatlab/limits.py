"""How far the chat goes: the account's quotas, and how long a broadcast takes in a room of any size.

    limits.forecast(limits.DEFAULT, connections=100_000, shards=10).last_s

**The forecast** is a closed form. A broadcast to n connections reads the first page of the table, and then does four
things at the same time. It takes as long as the longest of them:

- *Round trips.* While k posts are under way, and each takes L until its answer, k/L posts leave in a second (Little's
  law). So n posts take n L/k. Two things keep k low at first, and the longer one counts. Only `INITIAL_WINDOW` posts
  may be under way, and each answer allows one more: their number doubles in each round trip, as in TCP's slow start.
  That costs L (log2(k/window) - 1 + window/k). And the connections open one after another, each in a time o: in the
  time k o only half of them are at work on average, which costs k o/2.
- *The thread.* One thread does everything. A post takes c of its CPU, and opening a connection o. So it is busy for
  k o + n c, and the last answer comes L later.
- *Reading the table*: the scan's pages one after another, and the CPU for each item.
- *The account's quota*, a token bucket that holds half a second of its rate Q. A broadcast that knows its share s of Q
  (`POSTS_PER_SECOND`) keeps to that rate from its first post, so the bucket never runs dry: n/(s Q). One that knows
  nothing (s is infinite) first empties the bucket and then gets what flows in: (n - Q/2)/Q.

`ConnectionPool.missing` decides how many connections open. With k of them, one more saves n L/(k (k + 1)) and costs o,
so k is sqrt(n L/o), up to n and `MAX_CONNECTIONS`. The pool measures that L itself: while it opens the first window of
connections, an answer waits for the thread, so its L is a round trip and the window's openings.

Shards divide n, the window and the rate, and begin one after another; the last one to begin decides.
`python -m benchmarks.limit --only forecasts` compares all of this with the real broadcast.
"""

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pandas as pd
from botocore.exceptions import BotoCoreError, ClientError

from chatlab.errors import LabError
from chatlab.fanout import INITIAL_WINDOW, MAX_CONNECTIONS, MIN_WINDOW
from chatlab.lab import Lab

# --- the account's quotas --------------------------------------------------------------------------------------------

# https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html, "account-level quotas, per Region": Cape
# Town, Milan, Jakarta, UAE, Hyderabad, Melbourne, Spain, Zurich, Tel Aviv, Calgary, Malaysia, Thailand, Mexico.
LOW_REGIONS = frozenset(
    "af-south-1 eu-south-1 ap-southeast-3 me-central-1 ap-south-2 ap-southeast-4 eu-south-2 eu-central-2 il-central-1"
    " ca-west-1 ap-southeast-5 ap-southeast-7 mx-central-1".split()
)
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
DEFAULT_CONNECTS_PER_S = 500
# Lambda's default is 1,000, a new account's is less: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
# If it can't be read, the lower one works in both.
DEFAULT_CONCURRENCY = 10
DEFAULT_VCPUS = 6.0
"""Of Fargate, in a new account: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html"""
BUCKET_S = 0.5  # API Gateway's burst, as seconds of its rate: `default_requests_per_s`


def default_requests_per_s(region: str) -> int:
    """Requests a second that API Gateway takes in a Region by default, of all APIs of an account, posts included.

    The bucket holds half as many. https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
    """
    return 2_500 if region in LOW_REGIONS else 10_000


@dataclass(frozen=True)
class Quotas:
    """An account's quotas in one Region, and where they come from."""

    requests_per_s: float  # requests to API Gateway of all kinds, posts to connections included
    connects_per_s: float  # new WebSocket connections
    concurrency: int  # invocations of Lambda at the same time that no other function has reserved
    sources: dict[str, str]  # for each of these, by name: the call that was asked, or "AWS's default" and why

    def max_connects_per_s(self, connect_s: float) -> float:
        """New connections a second that the account takes, if one takes `connect_s` seconds.

        Each connection needs one invocation of `$connect` for that time, so there can be concurrency / duration
        of them a second (Little's law). Take half of that, since no crowd comes evenly and some functions have to
        start first; and 0.9 of API Gateway's own quota.
        """
        return min(0.5 * self.concurrency / connect_s, 0.9 * self.connects_per_s)

    def is_live(self, name: str) -> bool:
        """Whether that quota is the account's own, and not AWS's default."""
        return not self.sources[name].startswith("AWS's default")

    @property
    def rows(self) -> list[dict[str, str]]:
        """For `lab.show`."""
        words = {
            "requests_per_s": "requests to API Gateway a second",
            "connects_per_s": "new connections a second",
            "concurrency": "invocations of Lambda at the same time",
        }
        return [
            {"quota": text, "value": f"{getattr(self, name):,.0f}", "from": self.sources[name]}
            for name, text in words.items()
        ]


def read_quotas(lab: Lab) -> Quotas:
    """The quotas of the lab's account in its Region; AWS's default for each that you may not read.

    The requests a second are API Gateway's own word: Service Quotas has 10,000 for L-8A5B8E43 also in Regions with
    2,500 (https://repost.aws/questions/QU47u_cBTCQcy2qTmoR6q91w/api-gateway-throttling-discrepancy).
    """
    connects = {"ServiceCode": "apigateway", "QuotaCode": "L-9ED1E49A"}
    calls: dict[str, tuple[str, Callable[[], float], float]] = {
        "requests_per_s": (
            "apigateway get_account",
            lambda: lab.client("apigateway").get_account()["throttleSettings"]["rateLimit"],
            default_requests_per_s(lab.region),
        ),
        "connects_per_s": (
            "Service Quotas L-9ED1E49A",
            lambda: lab.client("service-quotas").get_service_quota(**connects)["Quota"]["Value"],
            DEFAULT_CONNECTS_PER_S,
        ),
        "concurrency": (
            "lambda get_account_settings",
            lambda: lab.client("lambda").get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"],
            DEFAULT_CONCURRENCY,
        ),
    }
    values: dict[str, float] = {}
    sources: dict[str, str] = {}
    for name, (source, read, default) in calls.items():
        try:
            values[name], sources[name] = read(), source
        except (LabError, BotoCoreError, ClientError, KeyError) as error:  # KeyError: what a service does not say
            values[name], sources[name] = default, f"AWS's default ({source}: {_reason(error)})"
    return Quotas(values["requests_per_s"], values["connects_per_s"], int(values["concurrency"]), sources)


def read_vcpus(lab: Lab) -> float:
    """How many vCPUs the account's tasks on Fargate may have at a time; `DEFAULT_VCPUS` if you may not read it."""
    vcpus = {"ServiceCode": "fargate", "QuotaCode": "L-3032A538"}
    with suppress(LabError, BotoCoreError, ClientError, KeyError):
        return float(lab.client("service-quotas").get_service_quota(**vcpus)["Quota"]["Value"])
    return DEFAULT_VCPUS


def _reason(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return "no answer" if isinstance(error, LabError | KeyError) else type(error).__name__


# --- the forecast ----------------------------------------------------------------------------------------------------


def _is(value: Any, meaning: str) -> Any:  # as `dataclasses.field`, whose types are those of the fields
    return field(default=value, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Parameters:
    """What the forecast knows of AWS and the function. Change one with `dataclasses.replace`; `table` explains each.

    AWS's quotas are the defaults of November 2026. What is assumed stands for figures that differ by Region and hour.
    """

    arrive_ms: float = _is(15.0, "from the speaker's frame to a warm function's first line; assumed, 5 to 30")
    post_ms: float = _is(10.0, "one post, from request to answer; assumed, 5 to 25: measure it on aws")
    cpu_ms: float = _is(0.04, "CPU of one post with a whole vCPU; about what benchmarks.limit measures over TLS")
    opening_ms: float = _is(1.0, "CPU of opening one connection; about what benchmarks.limit measures")
    opening_wait_ms: float = _is(5.0, "waiting while one opens: three round trips and the server's work; assumed")
    check_ms: float = _is(
        0.01, "CPU of seeing whether a kept connection is still there; what benchmarks.limit measures"
    )
    kept: int = _is(0, "connections that the last broadcast has left open; none, in the worst case")
    in_flight: int = _is(
        MAX_CONNECTIONS,
        "posts under way in one invocation, at most; lambdas/fanout/http_connections.py",
    )
    memory_mb: int = _is(1769, "of the function, and CPU goes with it, up to one; notebook 03")
    first_page: int = _is(100, "items on the scan's first page; lambdas/lambda_broadcast.py")
    page_growth: int = _is(4, "how much larger each page is than the one before; the same")
    largest_page: int = _is(2_500, "items on the largest page; the same")
    page_ms: float = _is(10.0, "one scan request of up to 2,500 items; assumed, 3 to 20")
    item_ms: float = _is(0.01, "CPU of each item on a page; twice the local measurement of boto3's parsing")
    invoke_ms: float = _is(20.0, "one asynchronous call of Lambda, to its answer; assumed")
    invokes_at_a_time: int = _is(16, "such calls under way at a time; lambdas/lambda_broadcast.py")
    begin_ms: float = _is(50.0, "from that answer to the invocation's beginning; assumed")
    cold_ms: float = _is(600.0, "a cold start, of all a broadcast's invocations but the first; assumed")
    concurrency: int = _is(1_000, "Lambda's concurrency at the beginning, and what it grows by; AWS's quota")
    concurrency_every_s: float = _is(10.0, "how often it grows; AWS's quota")
    requests_per_s: float = _is(
        float(default_requests_per_s("us-east-1")), "the account's requests, callbacks included; AWS's quota L-8A5B8E43"
    )
    share: float = _is(0.8, "of these requests, what a broadcast may use; POSTS_PER_SECOND of notebook 07")
    timeout_s: float = _is(30.0, "of the function; notebook 07, at most 900")
    hand_over_s: float = _is(18.0, "until the rest is handed to another invocation; lambdas/lambda_broadcast.py")
    reserve_s: float = _is(2.0, "of the time-out, kept for what comes after the posts; the same")
    connects_per_s: float = _is(float(DEFAULT_CONNECTS_PER_S), "new connections; AWS's quota L-9ED1E49A")

    @property
    def cpu(self) -> float:
        """Of a vCPU: Lambda gives it by memory, and one thread can't use more than one."""
        return min(1.0, self.memory_mb / 1769)

    @property
    def posts_per_s(self) -> float:
        """Of one invocation with no quota in its way: as many as are under way, or as its CPU gives."""
        return min(self.in_flight / self.post_ms, self.cpu / (self.cpu_ms + self.item_ms)) * 1000

    @property
    def shared_per_s(self) -> float:
        """Posts a second of all invocations of a broadcast, which share a rate that they know."""
        return self.requests_per_s * self.share

    def table(self) -> pd.DataFrame:
        """Each parameter's `value`, and its `meaning` with where it comes from."""
        rows = {known.name: (getattr(self, known.name), known.metadata["meaning"]) for known in fields(self)}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "meaning"])


DEFAULT = Parameters()


LIMITS = STARTING, OPENING, READING, POSTING, QUOTA = (
    "starting the invocations", "opening connections", "reading the table", "posting", "the account's request quota",
)  # fmt: skip


@dataclass(frozen=True)
class Forecast:
    """What becomes of one broadcast into a room that is otherwise quiet."""

    last_s: float  # time to last delivery, in seconds, of the connections that are reached
    unreached: int  # connections that the function's time-out leaves without a post
    parts_s: dict[str, float]  # the seconds that each of `LIMITS` takes by itself

    @property
    def binds(self) -> str:
        """The limit that takes longest."""
        return max(self.parts_s, key=lambda name: self.parts_s[name])


def forecast(parameters: Parameters, connections: int, shards: int = 1) -> Forecast:
    """How long one broadcast takes in `shards` invocations; this module's head derives it."""
    p, n, window = parameters, connections / shards, max(MIN_WINDOW, INITIAL_WINDOW // shards)
    L, c, o = p.post_ms, (p.cpu_ms + p.item_ms) / p.cpu, p.opening_ms / p.cpu  # ms, as in this module's head
    if p.kept:
        k = float(min(p.kept, p.in_flight))
        wait_ms, opening_ms, climb_ms = 0.0, k * p.check_ms / p.cpu, 0.0
    else:
        k = max(1.0, min(n, p.in_flight, math.sqrt(n * (L + window * o) / o)))
        wait_ms, opening_ms = p.opening_wait_ms, k * o
        windows = max(1.0, k / window)  # fewer posts than a window need no climb
        climb_ms = max(opening_ms / 2, L * (math.log2(windows) - 1 + 1 / windows))
    if p.share < math.inf:
        quota_ms = 1000 * connections / p.shared_per_s
    else:
        quota_ms = 1000 * max(0.0, connections / p.requests_per_s - BUCKET_S)
    pages, page, left = 0, p.first_page, n
    while left > 0:
        pages, left, page = pages + 1, left - page, min(page * p.page_growth, p.largest_page)
    reading_ms = pages * p.page_ms + n * p.item_ms / p.cpu

    first_page_ms = p.page_ms + min(n, p.first_page) * p.item_ms / p.cpu
    posting_ms = max(climb_ms + n * L / k, max(opening_ms + n * c, quota_ms) + L)
    took_s = max(first_page_ms + wait_ms + posting_ms, reading_ms + L) / 1000
    last_s = unreached = 0.0
    # The first invocation begins at once and can hand over its rest; of all others, the last one to begin decides.
    for shard, alike in ((0, 1), (shards - 1, shards - 1)):
        left_s = p.timeout_s - p.reserve_s + (0.0 if shard else p.hand_over_s)
        last_s = max(last_s, started_s(p, shard) + min(took_s, left_s))
        unreached += alike * n * max(0.0, 1 - left_s / took_s)
    parts_ms = (wait_ms + opening_ms, reading_ms, n * max(L / k, c), quota_ms)
    parts_s = [started_s(p, shards - 1), *(milliseconds / 1000 for milliseconds in parts_ms)]
    return Forecast(last_s, round(unreached), dict(zip(LIMITS, parts_s, strict=True)))


def started_s(parameters: Parameters, shard: int) -> float:
    """When an invocation of a broadcast begins, in seconds after the speaker's frame; the first one is number 0."""
    p = parameters
    if shard == 0:
        return p.arrive_ms / 1000
    turn = math.ceil(shard / p.invokes_at_a_time)
    asked_s = (p.arrive_ms + p.page_ms + p.first_page * p.item_ms + turn * p.invoke_ms) / 1000
    allowed_s = (shard // p.concurrency) * p.concurrency_every_s
    return max(asked_s + p.begin_ms / 1000, allowed_s) + p.cold_ms / 1000


def largest_room(parameters: Parameters, within_s: float, rate: float) -> tuple[int, str]:
    """The largest room, up to a million, in which everybody has a message within `within_s` seconds, at `rate` messages
    a second: by the forecast, the quotas of requests, and of invocations (Little's law). And what ends it."""

    def uses(connections: int) -> dict[str, float]:
        found = forecast(parameters, connections)
        used = {found.binds: math.inf if found.unreached else found.last_s / within_s}
        used["Lambda's concurrency"] = rate * found.last_s / parameters.concurrency
        return used | {QUOTA: max(used.get(QUOTA, 0.0), connections * rate / parameters.shared_per_s)}

    room = bisect(range(1, 1_000_001), 1.0, key=lambda connections: max(uses(connections).values()))
    too_much = uses(room + 1)
    return room, max(too_much, key=lambda name: too_much[name])


def sweep(parameters: Parameters, connections: Sequence[int], shards: Sequence[int]) -> pd.DataFrame:
    """The forecast for each pair, and again with the shortest and the longest time for a post that is assumed.

    Returns:
        A row for each pair, with `connections` and `shards`; `last_s`, `unreached` and what `binds` with the
        parameters' own time for a post; `low_s` and `high_s`, the shortest and the longest time to last delivery.
    """
    rows = []
    for room in connections:
        for number in shards:
            own = forecast(parameters, room, number)
            others = (forecast(replace(parameters, post_ms=post_ms), room, number) for post_ms in (5.0, 25.0))
            times = [own.last_s, *(other.last_s for other in others)]
            row = {"connections": room, "shards": number, "last_s": own.last_s, "unreached": own.unreached}
            rows.append(row | {"low_s": min(times), "high_s": max(times), "binds": own.binds})
    return pd.DataFrame(rows)
