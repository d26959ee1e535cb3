"""Latency: AWS answers over a network, the emulator from the same machine."""

import random

from chatlab.emulator.api_call import ApiCall
from chatlab.emulator.traits.trait import Trait


class Delay(Trait):
    """Responses take milliseconds: 8 for a post to a connection, as in the benchmarks; 30 for all else. Assumed."""

    def delay_s(self, call: ApiCall) -> float:
        """Drawn from a log-normal distribution around the mean."""
        mean_ms = 8 if call.is_post_to_connection else 30
        return mean_ms / 1000 * random.lognormvariate(-0.03, 0.25)


class Slow(Trait):
    """Each call of the control plane takes `seconds` longer."""

    def __init__(self, seconds: float = 2.0) -> None:
        self._seconds = seconds

    def delay_s(self, call: ApiCall) -> float:
        """The same for each."""
        return self._seconds if call.is_control_plane else 0.0
