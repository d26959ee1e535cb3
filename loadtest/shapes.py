"""How the number of connections grows. `constant` is Locust's own start; the others are Locust load shapes.

They end only when the coordinator stops the test: how long a phase takes depends on its broadcasts.
"""

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
        self.users, self.rate = first, rate

    def tick(self) -> tuple[int, float]:
        return self.users, self.rate
