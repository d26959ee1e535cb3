"""Throttling: AWS refuses what exceeds a quota, the emulator takes all that it can."""

import os

from chatlab.emulator.api_call import ApiCall
from chatlab.emulator.responses import Response, json_error
from chatlab.emulator.token_bucket import TokenBucket
from chatlab.emulator.traits.trait import Trait

REQUESTS_PER_S = float(os.environ.get("CHATLAB_REQUESTS_PER_S", "10000"))
"""The account's quota of requests to API Gateway, in the Region that is played."""


class ControlPlaneRate(Trait):
    """API Gateway's control plane takes 10 calls a second and 40 at once, and one deployment in 5 s.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
    """

    def __init__(self) -> None:
        self._calls, self._deployments = TokenBucket(10, 40), TokenBucket(1 / 5, 1)

    def before(self, call: ApiCall) -> Response | None:
        """Status 429 for a call too many."""
        if call.service != "apigateway":
            return None
        is_deployment = call.operation.startswith("POST ") and call.operation.endswith("/deployments")
        if self._calls.take() and (not is_deployment or self._deployments.take()):
            return None
        return json_error(429, "TooManyRequestsException", "Too Many Requests")


class ConnectionsRate(Trait):
    """API Gateway takes 10,000 posts to connections a second, in some Regions 2,500, and half as many at once.

    That is the account's quota of requests.
    """

    def __init__(self, rate_per_s: float = REQUESTS_PER_S) -> None:
        self._bucket = TokenBucket(rate_per_s, rate_per_s / 2)

    def before(self, call: ApiCall) -> Response | None:
        """Status 429 for a post too many."""
        if call.is_post_to_connection and not self._bucket.take():
            return json_error(429, "LimitExceededException", "Rate exceeded")
        return None


class ConnectRate(Trait):
    """API Gateway takes 500 new WebSocket connections a second, and as many at once, which is assumed."""

    def __init__(self) -> None:
        self._bucket = TokenBucket(500, 500)

    def admits_handshake(self) -> bool:
        """Whether the quota has room for it."""
        return self._bucket.take()


class Concurrency(Trait):
    """Lambda runs 10 invocations at a time, all of the account's together, as in many new accounts.

    `concurrency.py` does that, within the emulator. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """

    MAX_INVOCATIONS = 10

    def __init__(self, max_invocations: float = MAX_INVOCATIONS) -> None:
        """`max_invocations`: so many at a time."""


class StageLimits(Trait):
    """A stage keeps to the limits that are set for its routes: `stage_limits.py` does that, within the emulator."""
