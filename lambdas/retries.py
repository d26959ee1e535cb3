"""What is tried again, how often and after how long: as botocore's "standard" retry mode has it, but for throttles.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

import random

MAX_ATTEMPTS = 4
MAX_BACKOFF_S = 20
RETRY_COST = 5
TIMEOUT_RETRY_COST = 10
TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})
TRANSIENT_CODES = frozenset({"RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"})
THROTTLING_CODES = frozenset(
    "Throttling ThrottlingException ThrottledException RequestThrottledException TooManyRequestsException"
    " ProvisionedThroughputExceededException TransactionInProgressException RequestLimitExceeded"
    " BandwidthLimitExceeded LimitExceededException RequestThrottled SlowDown PriorRequestNotComplete"
    " EC2ThrottledException".split()
)


def is_throttle(status, code):
    """Whether an answer says: not now, you are too fast. It is no failure, and is tried again until there is no time.

    The rate is then the business of `rate_limiter.RateLimiter`. A quota of retries would make each throttle final as
    soon as it is used up, which at 10,000 posts a second takes an instant.
    """
    return status == 429 or code in THROTTLING_CODES


def is_transient(status, code):
    """Whether the same request may do better a little later. `status` is None if there was no answer."""
    return status is None or status in TRANSIENT_STATUSES or code in TRANSIENT_CODES


def backoff_s(attempt):
    """Seconds to wait after the failed attempt of this number, from 1: exponential, with jitter."""
    return random.random() * min(2 ** (attempt - 1), MAX_BACKOFF_S)


class RetryQuota:
    """Bounds the retries where everything fails, so that they do not make it worse: botocore's `RetryQuota`."""

    INITIAL_CAPACITY = 500

    def __init__(self):
        self._available = self.INITIAL_CAPACITY

    def acquire(self, cost):
        """Whether a retry of this cost may be made; if so, it is paid."""
        if cost > self._available:
            return False
        self._available -= cost
        return True

    def release(self, amount):
        """After a success: what its last retry cost, or 1 if there was none."""
        self._available = min(self.INITIAL_CAPACITY, self._available + amount)
