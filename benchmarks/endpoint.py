"""What an `@connections` endpoint as AWS's answers to each post, and what it counts. `api_gateway` serves it."""

import json
import math
import random
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TypedDict

PHRASES = {200: "OK", 410: "Gone", 429: "Too Many Requests", 500: "Internal Server Error"}
SLOT_S = 0.05
ERRORS = {410: "GoneException", 429: "LimitExceededException", 500: "InternalServerErrorException"}


@dataclass(frozen=True)
class Settings:
    """What the endpoint does. Shares are of the connection ids: an id is gone, full, or silent, each time."""

    tls: bool = True
    delay_ms: float = 8.0
    """Mean time until a response; 0 responds at once."""
    spread_ms: float = 2.0
    """Its standard deviation; with `long_tail`, the shape of a log-normal distribution of the same mean."""
    long_tail: bool = False
    quotas: tuple[tuple[float, float], ...] = ()
    """Token buckets, each as (posts a second, burst): a post needs a token of every one, or is answered 429."""
    drained: tuple[float, float] | None = None
    """From when to when, in seconds after the first post, others take all tokens; (0, 0): the first post finds none."""
    refused: tuple[float, float] = (0.0, 0.0)
    """The share of all posts that is answered 429 whatever is in the buckets, and for how many seconds."""
    close_after: int = 0
    """Requests until a connection is closed, with `Connection: close`; 0: never."""
    idle_s: float = 0.0
    """Seconds until an idle connection is closed; 0: never."""
    gone: float = 0.0
    full: float = 0.0
    """Of connections whose client does not read: answered as a quota is, 429, each time."""
    error: float = 0.0
    reset: float = 0.0
    silent: float = 0.0
    body: str = ""
    """What a response of 200 holds: with a service's own, in JSON, the endpoint stands for that service."""
    seed: int = 1


class Report(TypedDict):
    """What the endpoint has counted."""

    posts: int
    refused: int
    """Those answered 429."""
    statuses: dict[str, int]
    """How often it has answered with each status, "reset" and "silent" among them."""
    delivered: int
    """Ids that got the message."""
    doubled: int
    """Those of them that got it more than once."""
    posts_by_sender: dict[str, int]
    """By what an id has before its first hyphen."""
    refused_by_sender: dict[str, int]
    opened: int
    """Connections."""
    accepted_by_slot: list[int]
    """Posts that were not answered 429, in each `SLOT_S` since the first post."""
    seconds: float
    """From the first post to the last one."""


class TokenBucket:
    """A token bucket, as API Gateway's quota is one."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate, self.burst, self.tokens, self.updated_at = rate, burst, burst, now

    def has_token(self, now: float) -> bool:
        """Whether a token is there; `acquire` takes it."""
        self.tokens = min(self.burst, self.tokens + (now - self.updated_at) * self.rate)
        self.updated_at = now
        return self.tokens >= 1

    def acquire(self) -> None:
        """Take a token."""
        self.tokens -= 1

    def drain(self, now: float) -> None:
        """Take all tokens."""
        self.tokens, self.updated_at = 0.0, now


class Endpoint:
    """What all connections share."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.random = settings, random.Random(settings.seed)
        self.responses: dict[tuple[int | str, bool], bytes] = {
            (status, closes): response(status, closes, settings.body) for status in PHRASES for closes in (False, True)
        }
        self.clear()

    def clear(self) -> None:
        """Full buckets, and nothing counted."""
        now = time.monotonic()
        self.buckets = [TokenBucket(rate, burst, now) for rate, burst in self.settings.quotas]
        self.statuses: Counter[int | str] = Counter()
        self.delivered: Counter[bytes] = Counter()
        self.posts: Counter[bytes] = Counter()
        self.refused: Counter[bytes] = Counter()
        self.accepted: Counter[int] = Counter()
        self.opened, self.first_s, self.last_s = 0, 0.0, 0.0

    def kind(self, connection_id: bytes) -> str:
        """What becomes of posts to this id: drawn once, by the id itself."""
        drawn = zlib.crc32(connection_id + b"%d" % self.settings.seed) / 2**32
        for kind in ("gone", "error", "reset", "silent", "full"):
            if (drawn := drawn - getattr(self.settings, kind)) < 0:
                return kind
        return "here"

    def status(self, connection_id: bytes, now: float) -> int | str:
        """Decide on a post, and count it: a status, "reset" or "silent"."""
        self.first_s, self.last_s = self.first_s or now, now
        sender = connection_id.partition(b"-")[0]
        self.posts[sender] += 1
        since_s, drained, (refused, refused_s) = now - self.first_s, self.settings.drained, self.settings.refused
        if drained and drained[0] <= since_s <= drained[1]:
            for bucket in self.buckets:
                bucket.drain(now)
        is_refused = since_s < refused_s and self.random.random() < refused
        if is_refused or not all([bucket.has_token(now) for bucket in self.buckets]):
            self.refused[sender] += 1
            answer: int | str = 429
        else:
            self.accepted[int(since_s / SLOT_S)] += 1
            for bucket in self.buckets:
                bucket.acquire()
            kind = self.kind(connection_id)
            answer = {"here": 200, "gone": 410, "full": 429, "error": 500}.get(kind, kind)
            if answer == 200:
                self.delivered[connection_id] += 1
        self.statuses[answer] += 1
        return answer

    def delay_s(self) -> float:
        """Seconds until a response."""
        mean, spread = self.settings.delay_ms, self.settings.spread_ms
        if not mean:
            return 0.0
        if self.settings.long_tail:
            variance = math.log(1 + (spread / mean) ** 2)
            return mean * self.random.lognormvariate(-variance / 2, math.sqrt(variance)) / 1000
        return max(0.0, self.random.gauss(mean, spread)) / 1000

    def report(self) -> Report:
        """What was counted since the beginning, or since `clear`."""
        return {
            "posts": sum(self.posts.values()),
            "refused": self.statuses[429],
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "delivered": len(self.delivered),
            "doubled": sum(count > 1 for count in self.delivered.values()),
            "posts_by_sender": {name.decode(): count for name, count in self.posts.items()},
            "refused_by_sender": {name.decode(): count for name, count in self.refused.items()},
            "opened": self.opened,
            "accepted_by_slot": [self.accepted[slot] for slot in range(max(self.accepted, default=-1) + 1)],
            "seconds": self.last_s - self.first_s,
        }


def response(status: int, closes: bool, content: str) -> bytes:
    """An HTTP response as API Gateway writes it."""
    body = content.encode() if status == 200 else json.dumps({"message": PHRASES[status], "connectionId": "x"}).encode()
    kind = f"x-amzn-ErrorType: {ERRORS[status]}\r\n" if status in ERRORS else ""
    keep = "close" if closes else "keep-alive"
    return (
        f"HTTP/1.1 {status} {PHRASES[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"{kind}x-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\nConnection: {keep}\r\n\r\n"
    ).encode() + body
