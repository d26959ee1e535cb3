"""What became of one broadcast's posts."""

from collections import Counter


class Outcomes:
    """Counts, and whom the caller has to do something about."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(
            connections=0, delivered=0, gone=0, failed=0, throttled=0, retried=0, unreached=0
        )
        """Connections; those of them that were delivered to, gone (410), failed (anything else) and not reached by the
        deadline; responses that were a throttle (429), and posts that were tried again."""
        self.gone: list[str] = []
        """The ids that were answered 410."""
        self.slow_consumers: list[str] = []
        """The ids of clients that do not read, which have failed for that reason."""
        self.error: str | None = None
        """The last failure's text."""

    def fail(self, error: str) -> None:
        """Count a post that is given up."""
        self.counts["failed"] += 1
        self.error = error
