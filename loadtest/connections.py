"""All connections of one process during one test: how they are opened, and how they leave."""

import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable

import gevent
import numpy as np
from gevent.event import Event
from locust.env import Environment

from loadtest import clock, throttling
from loadtest.connection import Connection, describe
from loadtest.outstanding import Outstanding
from loadtest.records import ConnectionRecord

NO_CONNECTION = -1
"""The number of the speaking connection if there is none."""
WORKER_STRIDE = 1_000_000
"""The connections of worker w have numbers from w times this, so that a number is unique without any agreement."""


class Connections:
    """Opens connections at a rate and keeps a record of each.

    Args:
        environment: Locust's.
        options: Locust's parsed options.
        worker_index: the number of this process among Locust's workers.
        rate: new connections a second.
        stopped: set when the test is.
        outstanding: is told of each connection that opens and closes.
    """

    def __init__(
        self,
        environment: Environment,
        options: Namespace,
        worker_index: int,
        rate: float,
        stopped: Event,
        outstanding: Outstanding,
    ) -> None:
        self._environment = environment
        self._options = options
        self._worker_index = max(worker_index, 0)
        self._first = self._worker_index * WORKER_STRIDE
        self.rate = rate
        self._stopped = stopped
        self._outstanding = outstanding
        self._next_turn = 0.0
        self.records: list[ConnectionRecord] = []
        self.open: dict[int, Connection] = {}
        self.opened = self.departed = self.failed = self.refused = 0
        self.refusals: Counter[str] = Counter()

    def connect(self, url: str) -> tuple[Connection, ConnectionRecord]:
        """Open one more connection when its turn has come; try again if the server has too much to do.

        Raises as `Connection` does, after recording the failure.
        """
        self._take_turn()
        record = ConnectionRecord(self._first + len(self.records), started_ns=clock.now_ns())
        self.records.append(record)
        try:
            connection = self._handshake(url, record)
        except Exception as error:
            record.error = describe(error)
            self.failed += 1
            raise
        except gevent.GreenletExit:
            record.error = "no longer wanted"
            raise
        record.local_port = connection.local_port
        record.opened_ns = clock.now_ns()
        self._outstanding.opened(record)
        self.opened += 1
        self.open[record.connection] = connection
        return connection, record

    def _take_turn(self) -> None:
        now = time.monotonic()
        self._next_turn = max(now, self._next_turn + 1 / self.rate)
        gevent.sleep(self._next_turn - now)

    def _handshake(self, url: str, record: ConnectionRecord) -> Connection:
        options = self._options
        deadline = time.monotonic() + options.retry_time
        while True:
            record.started_ns = clock.now_ns()
            try:
                return Connection(url, options.connect_timeout, options.ca_file or None, options.max_message_bytes)
            except Exception as error:
                if (status := throttling.busy_status(error)) is None:
                    raise
                self.refusals[f"status {status}"] += 1
                backoff_s = throttling.backoff_s(record.refused + 1)
                if time.monotonic() + backoff_s > deadline:
                    raise
                record.refused += 1
                self.refused += 1
                self._fire_refusal(record, error)
            gevent.sleep(backoff_s)
            self._take_turn()

    def _fire_refusal(self, record: ConnectionRecord, error: Exception) -> None:
        """Show a refused handshake that will be tried again in Locust's own statistics."""
        self._environment.events.request.fire(
            request_type="WS",
            name="connect",
            response_time=(clock.now_ns() - record.started_ns) / 1e6,
            response_length=0,
            exception=error,
            context={},
        )

    def dropped(self, connection: Connection, record: ConnectionRecord, reason: str) -> None:
        """The other side has closed a connection."""
        if record.connection in self.open and not self._stopped.is_set():
            record.error = reason
            self._forget(record)
        connection.close()

    def leave(self, connection: Connection, record: ConnectionRecord) -> None:
        """Close a connection from this side. It counts as departed, except after the end of the test."""
        if record.connection in self.open and not self._stopped.is_set():
            record.left = True
            self.departed += 1
            self._forget(record)
        connection.close()

    def _forget(self, record: ConnectionRecord) -> None:
        del self.open[record.connection]
        record.closed_ns = clock.now_ns()
        self._outstanding.closed(record)

    def open_with_records(self) -> list[tuple[Connection, ConnectionRecord]]:
        """The open connections, each with its record."""
        return [(connection, self.records[number - self._first]) for number, connection in self.open.items()]

    def churn(
        self, share: float, seed: int, staying: set[int], receive: Callable[[Connection, ConnectionRecord], None]
    ) -> None:
        """Close connections at random times, for ever: on average this share of them a second.

        Args:
            share: 0 for none.
            seed: of the times and the choice.
            staying: numbers of the connections that do not leave.
            receive: called with a connection and its record before it leaves, so that its last deliveries count.
        """
        random = np.random.default_rng((seed, self._worker_index))
        while share:
            gevent.sleep(random.exponential(1 / (share * max(1, len(self.open)))))
            if free := [pair for pair in self.open_with_records() if pair[1].connection not in staying]:
                connection, record = free[int(random.integers(len(free)))]
                receive(connection, record)
                self.leave(connection, record)

    def leave_in_turn(self) -> None:
        """Close all connections, as many a second as were opened: a function behind them has as much to do."""
        while self.open and not self._stopped.is_set():
            self._take_turn()
            if self.open:
                self.open.popitem()[1].close()
