"""The load generator, in every process that has connections. It sends what is planned and records what comes."""

import gevent
import pandas as pd
from gevent.event import Event
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtest import clock, messages, records
from loadtest.connection import Connection
from loadtest.records import ConnectionRecord, DeliveryLog

TICK_S = 0.25
WORKER_STRIDE = 1_000_000
"""Connection numbers of worker w start at w times this, so they are unique without asking anybody."""


class Generator:
    """Connections, broadcasts and deliveries of one process.

    Talks to the coordinator in Locust's custom messages, which a local runner hands over within the process:
    it is told a `loadtest.plan` and asked to `loadtest.collect`; it tells `loadtest.progress` and `loadtest.records`.
    """

    def __init__(self, environment: Environment):
        self.environment = environment
        self.runner = environment.runner
        self.over = Event()
        self.runner.register_message("loadtest.plan", self._on_plan)
        self.runner.register_message("loadtest.collect", self._on_collect)
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stopping.add_listener(self._on_test_stopping)

    def _on_test_start(self, **_) -> None:
        self.run = ""
        self.log = DeliveryLog()
        self.connections: list[ConnectionRecord] = []
        self.open: dict[int, Connection] = {}
        self.broadcasts: list[dict] = []
        self.intended_ns: dict[int, int] = {}
        self.due = self.sending = self.delivered = self.expected = self.outstanding = 0
        self.unreported = 0
        self.over.clear()
        self._ticker = gevent.spawn(self._tick)

    def _on_test_stopping(self, **_) -> None:
        self.over.set()

    # Connections

    def connect(self, url: str) -> tuple[Connection, ConnectionRecord]:
        """Open one more connection. Raises as `Connection.open` does, after noting the failure."""
        options = self.environment.parsed_options
        number = max(self.runner.worker_index, 0) * WORKER_STRIDE + len(self.connections)
        record = ConnectionRecord(number, started_ns=clock.now_ns())
        self.connections.append(record)
        connection = Connection(url, options.connect_timeout, options.ca_file or None)
        try:
            connection.open()
        except Exception as error:
            record.error = describe(error)
            raise
        record.local_port = connection.local_port
        record.due_before = self.due
        record.opened_ns = clock.now_ns()
        self.open[number] = connection
        return connection, record

    def listen(self, connection: Connection, record: ConnectionRecord) -> None:
        """Record every frame until the connection closes, and then how it closed."""
        reason = None
        try:
            while frame := connection.receive():
                self._handle(record, frame)
            reason = f"closed by the server with code {connection.close_code}"
        except Exception as error:
            reason = describe(error)
        finally:
            self.open.pop(record.connection, None)
            if reason and not self.over.is_set():
                record.closed_ns, record.error = clock.now_ns(), reason
                self.outstanding -= self.due - record.due_before - record.seen.bit_count()

    def _handle(self, record: ConnectionRecord, frame) -> None:
        message = messages.decode(frame.payload)
        if message is None or message.run != self.run or message.id not in self.intended_ns:
            record.foreign += 1
            return
        handled_ns = clock.now_ns()
        stamp = records.USER if not frame.arrived_ns else records.KERNEL if frame.exact else records.BOUND
        self.log.append(record.connection, message.id, frame.arrived_ns or handled_ns, handled_ns, stamp)
        bit = 1 << message.id
        if not record.seen & bit and message.id >= record.due_before:
            record.seen |= bit
            self.delivered += 1
            self.outstanding -= 1

    # Broadcasts

    def _on_plan(self, msg, **_) -> None:
        """Start to follow a plan: its keys are those of `Coordinator._broadcast`."""
        plan = msg.data
        self.run = plan["run"]
        self.intended_ns.update(
            (plan["first"] + k, plan["start_ns"] + offset_ns) for k, offset_ns in enumerate(plan["offsets_ns"])
        )
        gevent.spawn(self._follow, plan)

    def _follow(self, plan: dict) -> None:
        mine = plan["speakers"].get(self.runner.client_id, [])
        voices = dict(zip(mine, self.open.items(), strict=False))
        for k in range(len(plan["offsets_ns"])):
            broadcast, speaker = plan["first"] + k, k % plan["speaker_count"]
            intended_ns = self.intended_ns[broadcast]
            sleep_until(intended_ns)
            if self.over.is_set():
                return
            self.due += 1
            self.expected += len(self.open)
            self.outstanding += len(self.open)
            if speaker in mine:
                # In a greenlet of its own: a connection that is slow to take it must not hold up the next broadcast.
                self.sending += 1
                gevent.spawn(self._send, broadcast, plan, intended_ns, *voices.get(speaker, (-1, None)))

    def _send(self, broadcast: int, plan: dict, intended_ns: int, number: int, connection: Connection | None) -> None:
        row = {
            "broadcast": broadcast,
            "phase": plan["phase"],
            "warm_up": broadcast - plan["first"] < plan["warm_up"],
            "speaker": number,
            "intended_ns": intended_ns,
        }
        self.broadcasts.append(row)
        with self.environment.events.request.measure("WS", "send", plan["payload_bytes"]) as request:
            try:
                if connection is None:
                    raise ConnectionError("no connection to send on")
                sent_ns = clock.now_ns()
                connection.send(messages.encode(self.run, broadcast, number, sent_ns, plan["payload_bytes"]))
                row["sent_ns"] = sent_ns
            except Exception as error:
                row["error"] = describe(error)
                request["exception"] = error
            finally:
                self.sending -= 1

    # Reports

    def _tick(self) -> None:
        while not self.over.is_set():
            self.over.wait(TICK_S)
            self.report_progress()
            if not isinstance(self.runner, WorkerRunner):
                self.send_deliveries()

    def report_progress(self) -> None:
        opened = sum(record.opened_ns is not None for record in self.connections)
        self.runner.send_message(
            "loadtest.progress",
            {
                "client": self.runner.client_id,
                "open": len(self.open),
                "opened": opened,
                "failed": sum(record.opened_ns is None and record.error is not None for record in self.connections),
                "errors": [record.error for record in self.connections if record.error][:3],
                "due": self.due,
                "sending": self.sending,
                "sent": sum("sent_ns" in row and not row["warm_up"] for row in self.broadcasts),
                "expected": self.expected,
                "delivered": self.delivered,
                "outstanding": self.outstanding,
            },
        )

    def take_deliveries(self) -> pd.DataFrame:
        """The deliveries since the last call; shows them to Locust's statistics on the way."""
        rows = self.log.take()
        intended = rows["broadcast"].map(self.intended_ns)
        gevent.spawn(self._fire, ((rows["arrived_ns"] - intended) / 1e6).to_numpy())
        return rows

    def _fire(self, latencies_ms) -> None:
        for k, latency_ms in enumerate(latencies_ms):
            if k % 100 == 0:
                gevent.sleep(0)  # arrivals first
            self.environment.events.request.fire(
                request_type="WS",
                name="delivery",
                response_time=float(latency_ms),
                response_length=self.environment.parsed_options.payload_bytes,
                exception=None,
                context={},
            )

    def send_deliveries(self) -> None:
        if len(self.log):
            self.runner.send_message(
                "loadtest.records",
                {"client": self.runner.client_id, "deliveries": records.pack(self.take_deliveries())},
            )

    def _on_collect(self, **_) -> None:
        """Hand over everything that has not been handed over, and what the connections and broadcasts came to."""
        self.report_progress()
        self.runner.send_message(
            "loadtest.records",
            {
                "client": self.runner.client_id,
                "deliveries": records.pack(self.take_deliveries()),
                "connections": records.pack(pd.DataFrame(self.connections, columns=list(ConnectionRecord.__slots__))),
                "broadcasts": records.pack(pd.DataFrame(self.broadcasts)),
            },
        )


def sleep_until(due_ns: int) -> None:
    """Sleep to within a few microseconds: the event loop's timers have a resolution of 1 ms, the rest is polled."""
    while (remaining_s := (due_ns - clock.now_ns()) / 1e9) > 0:
        gevent.sleep(max(0, remaining_s - 0.002))


def describe(error: BaseException) -> str:
    """An error in a few words, without the headers that websocket-client puts into its own."""
    status = getattr(error, "status_code", None)
    if status:
        return f"handshake refused with status {status}"
    return getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
