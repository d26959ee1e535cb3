"""How many deliveries are still outstanding, for the live metrics and for the receiver, which bounds its copies.

The results are counted from the records instead.
"""

from loadtest.records import ConnectionRecord


class Outstanding:
    """The counts of one generator."""

    def __init__(self) -> None:
        self.due = 0
        """Broadcasts whose time has come."""
        self.expected = 0
        self.delivered = 0
        self.count = 0

    def broadcast_due(self, open_connections: int) -> None:
        """A broadcast is sent, here or in another process, and so many connections expect it."""
        self.due += 1
        self.expected += open_connections
        self.count += open_connections

    def opened(self, record: ConnectionRecord) -> None:
        """A connection expects the broadcasts that are due from now on."""
        record.due_before = self.due

    def arrived(self, record: ConnectionRecord, broadcast: int) -> bool:
        """A connection has received a broadcast; only the first copy counts, and makes this True."""
        bit = 1 << broadcast
        if record.seen & bit or broadcast < record.due_before:
            return False
        record.seen |= bit
        self.delivered += 1
        self.count -= 1
        return True

    def closed(self, record: ConnectionRecord) -> None:
        """A connection expects nothing more."""
        self.count -= self.due - record.due_before - record.seen.bit_count()
