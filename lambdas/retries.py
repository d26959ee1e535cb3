"""What is tried again, how often and after how long: as botocore's "standard" retry mode has it, but for throttles, and
without its retry quota. That one allows a hundred retries: of a room in which every post fails for a moment, all others
would be lost. The retries of a broadcast are bounded without it, by their number, the rate and the deadline.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

import random

MAX_ATTEMPTS = 4
MAX_BACKOFF_S = 20
TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})
TRANSIENT_CODES = frozenset({"RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"})
THROTTLING_CODES = frozenset(
    "Throttling ThrottlingException ThrottledException RequestThrottledException TooManyRequestsException"
    " ProvisionedThroughputExceededException TransactionInProgressException RequestLimitExceeded"
    " BandwidthLimitExceeded LimitExceededException RequestThrottled SlowDown PriorRequestNotComplete"
    " EC2ThrottledException".split()
)


def is_throttle(status: int, code: str) -> bool:
    """Whether a response says: not now, you are too fast. It is no failure, and is tried again until there is no time.

    The rate is then the business of `rate_limiter.RateLimiter`.
    """
    return status == 429 or code in THROTTLING_CODES


def is_transient(status: int, code: str) -> bool:
    """Whether the same request may do better a little later."""
    return status in TRANSIENT_STATUSES or code in TRANSIENT_CODES


def backoff_s(attempt: int) -> float:
    """Seconds to wait after the failed attempt of this number, from 1: exponential, with jitter."""
    return random.random() * min(2.0 ** (attempt - 1), MAX_BACKOFF_S)
