"""How the number of connections grows. `constant` is Locust's own start; the others are Locust load shapes.

They end only when the coordinator stops the test: how long a phase takes depends on its broadcasts.
"""

from gevent.event import Event
from locust import LoadTestShape


class Ramp(LoadTestShape):
    """From 1 connection to --users, evenly over the time that the broadcasts take."""

    abstract = True  # chosen with --shape, not by being in the locustfile
    use_common_options = True

    def __init__(self, users: int, seconds: float, max_rate: float):
        super().__init__()
        self.users, self.seconds, self.max_rate = users, seconds, max_rate

    def tick(self) -> tuple[int, float]:
        share = self.get_run_time() / self.seconds if self.seconds else 1
        return min(self.users, max(1, round(self.users * share))), min(self.max_rate, self.users)


class Steps(LoadTestShape):
    """The number of connections that the coordinator has got to."""

    abstract = True
    use_common_options = True

    def __init__(self, first: int, rate: float):
        super().__init__()
        self.first, self.rate = first, rate
        self._changed = Event()
        self.reset_time()

    def reset_time(self) -> None:
        """Begin anew: Locust calls this when a test starts."""
        super().reset_time()
        self.users = self.first
        self._changed.set()

    def grow_to(self, users: int) -> None:
        """Have so many connections from now on."""
        if users != self.users:
            self.users = users
            self._changed.set()

    def tick(self) -> tuple[int, float]:
        # Locust asks once a second. An answer that waits for news saves that second at each step.
        self._changed.wait()
        self._changed.clear()
        return self.users, self.rate
