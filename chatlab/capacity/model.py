"""A model of one broadcast on AWS: its parameters, and closed forms of each limit.

`chatlab.capacity.simulation` simulates it. `python -m benchmarks.limit` compares it with the real broadcast.
"""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pandas as pd

from chatlab.capacity.quotas import DEFAULT_CONNECTS_PER_S, default_requests_per_s


def _is(value: Any, meaning: str) -> Any:  # as `dataclasses.field`, whose types are those of the fields
    return field(default=value, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Parameters:
    """What the model knows of AWS and the function. Change one with `dataclasses.replace`; `table` explains each.

    AWS's quotas are the defaults of November 2026. What is assumed stands for figures that differ by Region and hour.
    """

    arrive_ms: float = _is(15.0, "from the speaker's frame to a warm function's first line; assumed, 5 to 30")
    post_ms: float = _is(10.0, "one post, from request to answer; assumed, 5 to 25: measure it on aws")
    post_variation: float = _is(0.5, "standard deviation of a post's time over its mean, log-normal; assumed")
    cpu_ms: float = _is(0.04, "CPU of one post with a whole vCPU; twice what benchmarks.limit measures over TLS")
    opening_ms: float = _is(1.0, "CPU of opening one connection; twice what benchmarks.limit measures")
    opening_wait_ms: float = _is(5.0, "waiting while it opens: three round trips and the server's work; assumed")
    accept_ms: float = _is(0.0, "CPU of a server that opens them all by itself; AWS's are many")
    serve_ms: float = _is(0.0, "CPU of such a server for one post; the same")
    check_ms: float = _is(0.01, "CPU of seeing whether a kept connection is still there; twice what is measured")
    kept: int = _is(0, "connections that the last broadcast has left open; none, in the worst case")
    first_under_way: int = _is(
        32, "posts under way at a time at first, of all shards; lambdas/fanout/http_connections.py"
    )
    in_flight: int = _is(400, "the same in one invocation at most; lambdas/fanout/http_connections.py")
    errors: float = _is(0.0, "share of the connections whose posts always fail with 500")
    memory_mb: int = _is(1769, "of the function, and CPU goes with it, up to one; notebook 03")
    first_page: int = _is(100, "items on the scan's first page; lambdas/lambda_broadcast.py")
    page_growth: int = _is(4, "how much larger each page is than the one before; the same")
    largest_page: int = _is(2_500, "items on the largest page; the same")
    ahead: int = _is(5_000, "posts that wait for their turn before no more is read; lambdas/fanout/posting.py")
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
    share: float = _is(0.8, "of these requests, what a broadcast may use; POSTS_PER_SECOND of notebook 03")
    timeout_s: float = _is(30.0, "of the function; notebook 03, at most 900")
    hand_over_s: float = _is(18.0, "until the rest is handed to another invocation; lambdas/lambda_broadcast.py")
    reserve_s: float = _is(2.0, "of the time-out, kept for what comes after the posts; the same")
    connects_per_s: float = _is(float(DEFAULT_CONNECTS_PER_S), "new connections; AWS's quota L-9ED1E49A")

    @property
    def cpu(self) -> float:
        """Of a vCPU: Lambda gives it by memory, and one thread can't use more than one."""
        return min(1.0, self.memory_mb / 1769)

    @property
    def posts_per_s(self) -> float:
        """Of one invocation with no quota in its way: as many as are in flight, or as its CPU gives."""
        return min(self.in_flight / self.post_ms, self.cpu / (self.cpu_ms + self.item_ms)) * 1000

    @property
    def shared_per_s(self) -> float:
        """Posts of all invocations of a broadcast, which pace themselves: `benchmarks.limit` finds 0.99 of it."""
        return self.requests_per_s * self.share

    def table(self) -> pd.DataFrame:
        """Each parameter's `value`, and its `meaning` with where it comes from."""
        rows = {known.name: (getattr(self, known.name), known.metadata["meaning"]) for known in fields(self)}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "meaning"])


DEFAULT = Parameters()
RAISED = replace(DEFAULT, requests_per_s=100_000.0, connects_per_s=5_000.0)
"""Quotas ten times the default, for which you would have to ask AWS."""


@dataclass(frozen=True)
class Outcome:
    """What became of a broadcast."""

    last_s: float
    """Time to last delivery, in seconds, of the connections that were reached."""
    delivered: int
    failed: int
    """Connections whose posts failed in all attempts."""
    unreached: int
    """Connections that the function's time-out left without a post."""
    done_s: float
    """Until the last invocation had done its posts, those that failed included, in seconds."""


def started_s(parameters: Parameters, shard: int) -> float:
    """When an invocation of a broadcast begins, in seconds after the speaker's frame; the first one is number 0."""
    p = parameters
    if shard == 0:
        return p.arrive_ms / 1000
    turn = math.ceil(shard / p.invokes_at_a_time)
    asked_s = (p.arrive_ms + p.page_ms + p.first_page * p.item_ms + turn * p.invoke_ms) / 1000
    allowed_s = (shard // p.concurrency) * p.concurrency_every_s
    return max(asked_s + p.begin_ms / 1000, allowed_s) + p.cold_ms / 1000


def limits(parameters: Parameters, connections: int, shards: int = 1) -> pd.Series:
    """The seconds that each limit by itself would make the broadcast last, in closed form. The largest one binds."""
    p, share = parameters, connections / shards
    pages, page, remaining = 0, p.first_page, share
    while remaining > 0:
        pages, remaining, page = pages + 1, remaining - page, min(page * p.page_growth, p.largest_page)
    opened = 0 if p.kept else min(p.in_flight, share, math.sqrt(share * p.post_ms / p.opening_ms * p.cpu))
    turns = 0 if p.kept else math.log2(max(1.0, share * shards / p.first_under_way))  # each allows twice as many
    return pd.Series(
        {
            "starting the invocations": started_s(p, shards - 1),
            "opening connections": (opened * p.opening_ms / p.cpu + min(turns, 5) * p.post_ms) / 1000,
            "reading the table": (pages * p.page_ms + share * p.item_ms) / 1000,
            "posting": share / p.posts_per_s,
            "the account's request quota": connections / p.shared_per_s,
        }
    )


def connect_s(parameters: Parameters, connections: int) -> float:
    """How long so many connections take to open, in seconds."""
    return connections / parameters.connects_per_s
