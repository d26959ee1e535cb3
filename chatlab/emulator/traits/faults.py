"""Faults: on a bad day a share of all calls fails, as a service fails.

What an SDK then tries again: https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

import random

from chatlab.emulator.api_call import ApiCall
from chatlab.emulator.responses import Response, internal_error, throttling_error
from chatlab.emulator.traits.trait import Trait


class Faults(Trait):
    """A share of all calls of the control plane fails: half of them are throttled, half meet an internal error."""

    def __init__(self, share: float = 0.2) -> None:
        self._share = share

    def before(self, call: ApiCall) -> Response | None:
        """The error, in the form in which the service writes it."""
        if not call.is_control_plane or random.random() >= self._share:
            return None
        return throttling_error(call.service) if random.random() < 0.5 else internal_error(call.service)


class LostAnswers(Trait):
    """A share of all calls of the control plane is done, and answered with an internal error: so boto3 repeats it."""

    def __init__(self, share: float = 0.1) -> None:
        self._share = share

    def after(self, call: ApiCall, response: Response) -> Response:
        """The error in place of the response."""
        if not call.is_control_plane or response.status >= 300 or random.random() >= self._share:
            return response
        return internal_error(call.service)


class MessageFaults(Trait):
    """A share of all posts to connections meets an internal error: the message is not delivered."""

    def __init__(self, share: float = 0.02) -> None:
        self._share = share

    def before(self, call: ApiCall) -> Response | None:
        """The error."""
        if call.is_post_to_connection and random.random() < self._share:
            return internal_error(call.service)
        return None
