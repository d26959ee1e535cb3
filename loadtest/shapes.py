"""How the number of connections grows. `constant` is Locust's own start; the others are Locust load shapes.

They end only when the coordinator stops the test: how long a phase takes depends on its broadcasts.
"""

from gevent.event import Event
from locust import LoadTestShape


class Ramp(LoadTestShape):
    """From 1 connection to --users, evenly over the time that the broadcasts take."""

    abstract = True  # --shape chooses it, not its presence in the locustfile
    use_common_options = True

    def __init__(self, users: int, seconds: float, max_rate: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Locust's, without types
        self.users, self.seconds, self.max_rate = users, seconds, max_rate

    def tick(self) -> tuple[int, float]:
        run_time_s = self.get_run_time()  # type: ignore[no-untyped-call]  # Locust's, without types
        share = run_time_s / self.seconds if self.seconds else 1
        return min(self.users, max(1, round(self.users * share))), min(self.max_rate, self.users)


class Steps(LoadTestShape):
    """The number of connections that the coordinator has reached."""

    abstract = True
    use_common_options = True

    def __init__(self, first: int, rate: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Locust's, without types
        self.first, self.rate = first, rate
        self._changed = Event()
        self.reset_time()

    def reset_time(self) -> None:
        """Begin again with the first step: Locust calls this when a test starts."""
        super().reset_time()  # type: ignore[no-untyped-call]  # Locust's, without types
        self.users = self.first
        self._changed.set()

    def grow_to(self, users: int) -> None:
        """Have so many connections from now on."""
        if users != self.users:
            self.users = users
            self._changed.set()

    def tick(self) -> tuple[int, float]:
        # Locust calls this once a second. Waiting here for the change saves that second at each step.
        self._changed.wait()
        self._changed.clear()
        return self.users, self.rate
