"""What one process with connections reports to the coordinator during one test, and to Locust's own statistics."""

import itertools
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
import numpy as np
from gevent.event import Event
from locust.env import Environment
from locust.runners import WorkerRunner
from numpy.typing import NDArray

from loadtest import clock, protocol, records
from loadtest.connections import Connections
from loadtest.outstanding import Outstanding
from loadtest.process_usage import ProcessUsage
from loadtest.receiver import FRAMES_PER_TURN, Receiver
from loadtest.sender import Sender
from loadtest.synchronisation import Synchronisation

TICK_S = 0.1
HAND_OVER_S = 3.0
"""Between two times at which a worker hands over its records: so much is lost if it dies."""
FIRE_S = 10.0
"""How long Locust's statistics may take at the end to see the last deliveries."""

Spawn = Callable[..., "gevent.Greenlet[..., None]"]


@dataclass(kw_only=True)
class WorkerReporter:
    """Sends `Progress`, `Deliveries` and `WorkerReport`."""

    environment: Environment
    options: Namespace
    """Locust's parsed options. A worker gets them from the master after the test's beginning: they are read late."""
    run: str
    """The id of the test."""
    client_id: str
    """Of this process."""
    send: Callable[[protocol.Message], None]
    """Sends a message to the coordinator."""
    spawn: Spawn
    """Runs a function in a greenlet whose errors end the test."""
    connections: Connections
    sender: Sender
    receiver: Receiver
    outstanding: Outstanding
    synchronisation: Synchronisation
    usage: ProcessUsage
    _finished: bool = field(default=False, init=False)
    _firing: list["gevent.Greenlet[..., None]"] = field(default_factory=list, init=False)

    def report(self, stopped: Event, is_worker: bool) -> None:
        """Report until the test stops. A worker sends its deliveries seldom, together with all other records."""
        due = 0.0
        while not stopped.is_set():
            self._send_progress()
            if self._finished:
                pass  # the test's end has begun
            elif not is_worker:
                self._send_deliveries()
            elif (now := time.monotonic()) >= due:
                self.hand_over()
                due = now + HAND_OVER_S
            stopped.wait(TICK_S)

    def hand_over(self, final: bool = False) -> None:
        """Send the new deliveries, and the state of all connections and broadcasts.

        Args:
            final: nothing comes after this; wait for Locust's statistics.
        """
        if self._finished:
            return
        self._finished = final
        self._send_deliveries()
        self._send_worker_report(final)
        self._send_progress()
        if final:
            gevent.joinall(self._firing, timeout=FIRE_S)
            if isinstance(runner := self.environment.runner, WorkerRunner):
                # Otherwise Locust sends the rest when it quits, where its master waits for half a second only.
                runner._send_stats()

    def _send_progress(self) -> None:
        connections, outstanding = self.connections, self.outstanding
        self.send(
            protocol.Progress(
                run=self.run,
                client_id=self.client_id,
                synchronised=self.synchronisation.done.is_set(),
                open=len(connections.open),
                opened=connections.opened,
                departed=connections.departed,
                failed=connections.failed,
                refused=connections.refused,
                errors=list(itertools.islice((record.error for record in connections.records if record.error), 3)),
                refusals=dict(connections.refusals),
                due=outstanding.due,
                sending=self.sender.sending,
                sent=self.sender.sent,
                expected=outstanding.expected,
                delivered=outstanding.delivered,
                outstanding=outstanding.count,
            )
        )

    def _send_deliveries(self) -> None:
        """Send the deliveries since the last time, and show them to Locust's statistics."""
        if not len(self.receiver.log):
            return
        rows = self.receiver.log.take()
        offset_ns = self.synchronisation.offset.at(clock.now_ns())
        intended_ns = np.array(self.sender.intended_ns, dtype=np.int64)[rows["broadcast"]]
        latency_ms = (rows["arrived_ns"].to_numpy() + offset_ns - intended_ns) / 1e6
        self._firing = [greenlet for greenlet in self._firing if not greenlet.dead]
        self._firing.append(self.spawn(self._fire, latency_ms))
        self.send(protocol.Deliveries(self.run, self.client_id, rows, offset_ns))

    def _send_worker_report(self, final: bool) -> None:
        self.send(
            protocol.WorkerReport(
                run=self.run,
                client_id=self.client_id,
                final=final,
                reported_ns=clock.now_ns(),
                connections=records.table("connections", self.connections.records),
                broadcasts=records.table("broadcasts", self.sender.records),
                exchanges=[list(exchange) for exchange in self.synchronisation.offset.exchanges],
                refusals=dict(self.connections.refusals),
                error_frames=dict(self.receiver.error_frames),
                cpu=self.usage.cpu,
                bytes_per_connection=self.usage.bytes_per_connection,
            )
        )

    def _fire(self, latencies_ms: NDArray[np.float64]) -> None:
        payload_bytes = self.options.payload_bytes
        for k, latency_ms in enumerate(latencies_ms):
            if k % FRAMES_PER_TURN == 0:
                gevent.idle()
            self.environment.events.request.fire(
                request_type="WS",
                name="delivery",
                response_time=float(latency_ms),
                response_length=payload_bytes,
                exception=None,
                context={},
            )
