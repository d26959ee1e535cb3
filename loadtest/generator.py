"""The load generator, in every process that has connections. It sends what is planned and records what comes."""

import gc
import time
from collections import Counter, deque

import gevent
import numpy as np
import pandas as pd
import psutil
from gevent.event import Event
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtest import clock, messages, records, throttling
from loadtest.connection import Closed, Connection, describe
from loadtest.records import ConnectionRecord, DeliveryLog

TICK_S = 0.25
CPU_WINDOW_S = 1.0
FRAMES_AT_ONCE = 16
"""Handling a frame takes some 20 µs, so this much handling delays a broadcast that is due by less than half a ms."""
FIRST_PINGS, PING_S = 10, 0.5
FIRE_S = 10.0
"""How long Locust's statistics may take at the end to see the last deliveries."""
NOBODY = -1
"""Stands for the number of the connection that speaks if there is none."""
WORKER_STRIDE = 1_000_000
"""Connection numbers of worker w start at w times this, so they are unique without asking anybody."""


class Generator:
    """Connections, broadcasts and deliveries of one process.

    Talks to the coordinator in Locust's custom messages, which a local runner hands over within the process. It is told
    `loadtest.start`, `loadtest.plan`, `loadtest.halt`, `loadtest.collect` and `loadtest.leave`, and tells
    `loadtest.progress` and `loadtest.records`. A worker's deliveries travel in Locust's own reports to the master.
    """

    def __init__(self, environment: Environment):
        self.environment = environment
        self.runner = environment.runner
        self.distributed = isinstance(self.runner, WorkerRunner)
        self.over = Event()
        self.connection_rate = 1.0
        for message, listener in {
            "loadtest.start": self._on_start,
            "loadtest.plan": self._on_plan,
            "loadtest.halt": self._on_halt,
            "loadtest.collect": self._on_collect,
            "loadtest.leave": self._on_leave,
            "loadtest.pong": self._on_pong,
        }.items():
            self.runner.register_message(message, listener)
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stopping.add_listener(self._on_test_stopping)
        if self.distributed:
            environment.events.report_to_master.add_listener(self._on_report)
            environment.events.quitting.add_listener(self._on_quitting)
        self._reset()

    def _reset(self) -> None:
        self.run = ""
        self.halted = self.collected = False
        self.log = DeliveryLog()
        self.connections: list[ConnectionRecord] = []
        self.open: dict[int, Connection] = {}
        self.broadcasts: list[dict] = []
        self.intended_ns: list[int] = []  # of each broadcast, by the master's clock
        self.opened = self.left = self.failed = self.refused = self.sent = 0
        self.refusals: Counter[str] = Counter()
        self.error_frames: Counter[str] = Counter()
        self.due = self.sending = self.delivered = self.expected = self.outstanding = 0
        self.offset = clock.Offset()
        self.cpu: list[float] = []
        self.bytes_per_connection = 0.0
        self._firing: list[gevent.Greenlet] = []
        self._inbox: deque[tuple[Connection, ConnectionRecord]] = deque()
        self._arrival = Event()
        self._next_connection = 0.0

    def _on_test_start(self, **_) -> None:
        self._reset()
        self.memory_bytes = psutil.Process().memory_info().rss
        self.over.clear()
        for activity in (self._tick, self._read, self._watch_cpu, *([self._ping] if self.distributed else [])):
            gevent.spawn(activity)

    def _on_test_stopping(self, **_) -> None:
        self.over.set()
        self._arrival.set()

    def _on_start(self, msg, **_) -> None:
        self.connection_rate = msg.data["connection_rate"]

    # Connections

    def connect(self, url: str) -> tuple[Connection, ConnectionRecord]:
        """Open one more connection when its turn has come; again, if it is refused because of too much load.

        Raises as `Connection` does, after noting the failure.
        """
        self._take_turn()
        number = max(self.runner.worker_index, 0) * WORKER_STRIDE + len(self.connections)
        record = ConnectionRecord(number, started_ns=clock.now_ns())
        self.connections.append(record)
        try:
            connection = self._handshake(url, record)
        except Exception as error:
            record.error = describe(error)
            self.failed += 1
            raise
        record.local_port = connection.local_port
        record.due_before = self.due
        record.opened_ns = clock.now_ns()
        self.opened += 1
        self.open[number] = connection
        return connection, record

    def _take_turn(self) -> None:
        now = time.monotonic()
        self._next_connection = max(now, self._next_connection + 1 / self.connection_rate)
        gevent.sleep(self._next_connection - now)

    def _handshake(self, url: str, record: ConnectionRecord) -> Connection:
        options = self.environment.parsed_options
        give_up = time.monotonic() + options.retry_time
        while True:
            record.started_ns = clock.now_ns()
            try:
                return Connection(url, options.connect_timeout, options.ca_file or None)
            except Exception as error:
                if not throttling.is_busy(error):
                    raise
                self.refusals[f"status {error.status_code}"] += 1
                wait_s = throttling.backoff_s(record.refused + 1)
                if time.monotonic() + wait_s > give_up:
                    raise
                record.refused += 1
                self.refused += 1
                self._fire_refusal(record, error)
            gevent.sleep(wait_s)
            self._take_turn()

    def _fire_refusal(self, record: ConnectionRecord, error: Exception) -> None:
        """Let Locust's own report show an attempt after which there is another."""
        self.environment.events.request.fire(
            request_type="WS",
            name="connect",
            response_time=(clock.now_ns() - record.started_ns) / 1e6,
            response_length=0,
            exception=error,
            context={},
        )

    def listen(self, connection: Connection, record: ConnectionRecord) -> None:
        """Record every frame until the connection closes, and then how it closed."""

        def on_arrival() -> None:
            self._inbox.append((connection, record))
            self._arrival.set()

        connection.watch(on_arrival)
        connection.closed.wait()

    def _read(self) -> None:
        """Handle what has arrived, in one greenlet for all connections and only when nothing else is to be done."""
        while not self.over.is_set():
            self._arrival.wait()
            self._arrival.clear()
            while self._inbox:
                gevent.idle()  # arrivals are taken out of the kernel, and broadcasts leave, before this goes on
                for _ in range(min(FRAMES_AT_ONCE, len(self._inbox))):
                    self._handle(*self._inbox.popleft())

    def _handle(self, connection: Connection, record: ConnectionRecord) -> None:
        try:
            for frame in connection.frames():
                self._count(record, frame)
        except Closed as end:
            if record.connection in self.open and not self.over.is_set():
                record.error = str(end)
                self._forget(record)
            connection.close()

    def _forget(self, record: ConnectionRecord) -> None:
        """Expect nothing more of a connection that has closed, or is about to."""
        del self.open[record.connection]
        record.closed_ns = clock.now_ns()
        self.outstanding -= self.due - record.due_before - record.seen.bit_count()

    def _count(self, record: ConnectionRecord, frame) -> None:
        message = messages.decode(frame.payload)
        if message is None or message.run != self.run or not 0 <= message.id < len(self.intended_ns):
            if message is None and (text := messages.error_frame(frame.payload)) is not None:
                self._note_error(record, text)
            else:
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

    def _note_error(self, record: ConnectionRecord, text: str) -> None:
        """The server could not handle a message: the oldest of this connection's, of those that it has not heard."""
        self.error_frames[text] += 1
        for row in self.broadcasts:
            is_open = row["speaker"] == record.connection and "sent_ns" in row and "error" not in row
            if is_open and not record.seen >> row["broadcast"] & 1:
                row["error"] = f'answered with "{text}"'
                return

    # Broadcasts

    def _on_plan(self, msg, **_) -> None:
        """Start to follow a plan: its keys are those of `Coordinator._broadcast`, its times by the master's clock."""
        plan = msg.data
        self.run = plan["run"]
        self.intended_ns += [plan["start_ns"] + offset_ns for offset_ns in plan["offsets_ns"]]
        # A pass over all objects takes a tenth of a second with 1,000 connections. Now is the time; from here on what
        # there is needs no looking at.
        gc.collect()
        gc.freeze()
        if self.opened:
            self.bytes_per_connection = (psutil.Process().memory_info().rss - self.memory_bytes) / self.opened
        gevent.spawn(self._follow, plan)

    def _follow(self, plan: dict) -> None:
        mine = plan["speakers"].get(self.runner.client_id, [])
        voices = dict(zip(mine, self.open, strict=False))
        leaving = gevent.spawn(self._leave, plan, set(voices.values()))
        try:
            self._send_all(plan, mine, voices)
        finally:
            leaving.kill()

    def _leave(self, plan: dict, staying: set[int]) -> None:
        """Close connections at random times, any but those that stay. Each one's user then makes another."""
        random = np.random.default_rng((plan["seed"], max(self.runner.worker_index, 0)))
        while plan["churn"]:
            gevent.sleep(random.exponential(1 / (plan["churn"] * max(1, len(self.open)))))
            if not (free := [number for number in self.open if number not in staying]):
                continue
            number = int(random.choice(free))
            connection, record = self.open[number], self.connections[number % WORKER_STRIDE]
            self._handle(connection, record)  # what it has received counts
            if number in self.open:
                record.left = True
                self.left += 1
                self._forget(record)
                connection.close()

    def _send_all(self, plan: dict, mine: list[int], voices: dict[int, int]) -> None:
        for k in range(len(plan["offsets_ns"])):
            broadcast, speaker = plan["first"] + k, k % plan["speaker_count"]
            self._sleep_until(self.intended_ns[broadcast])
            if self.halted or self.over.is_set():
                return
            self.due += 1
            self.expected += len(self.open)
            self.outstanding += len(self.open)
            if speaker in mine:
                # In a greenlet of its own: a connection that is slow to take it must not hold up the next broadcast.
                self.sending += 1
                gevent.spawn(self._send, broadcast, plan, voices.get(speaker, NOBODY))

    def _sleep_until(self, due_ns: int) -> None:
        """Sleep until a time of the master's clock, to some microseconds: the last 2 ms, a timer's error, it polls."""
        due_ns -= self.offset.at(clock.now_ns())
        while (remaining_s := (due_ns - clock.now_ns()) / 1e9) > 0:
            gevent.sleep(max(0, remaining_s - 0.002))

    def _send(self, broadcast: int, plan: dict, number: int) -> None:
        if number not in self.open:  # it dropped, so another one speaks
            number = next(iter(self.open), NOBODY)
        row = {
            "broadcast": broadcast,
            "phase": plan["phase"],
            "warm_up": broadcast - plan["first"] < plan["warm_up"],
            "speaker": number,
            "intended_ns": self.intended_ns[broadcast],
        }
        self.broadcasts.append(row)
        with self.environment.events.request.measure("WS", "send", plan["payload_bytes"]) as request:
            try:
                if number == NOBODY:
                    raise ConnectionError("no connection to send on")
                sent_ns = clock.now_ns()
                self.open[number].send(messages.encode(self.run, broadcast, number, sent_ns, plan["payload_bytes"]))
                row["sent_ns"] = sent_ns
                self.sent += not row["warm_up"]
            except Exception as error:
                row["error"] = describe(error)
                request["exception"] = error
            finally:
                self.sending -= 1

    def _on_halt(self, **_) -> None:
        """No further broadcast is to leave."""
        self.halted = True

    # The clock, of a worker only: a local process has the coordinator's

    def _ping(self) -> None:
        count = 0
        while not self.over.is_set():
            self.runner.send_message("loadtest.ping", {"asked_ns": clock.now_ns()})
            count += 1
            self.over.wait(PING_S if count >= FIRST_PINGS else 0.02)

    def _on_pong(self, msg, **_) -> None:
        self.offset.add(msg.data["asked_ns"], msg.data["answered_ns"], clock.now_ns())

    # Reports

    def _tick(self) -> None:
        while not self.over.is_set():
            self.report_progress()
            if not self.distributed and len(self.log):
                self.runner.send_message("loadtest.records", self.take_deliveries())
            self.over.wait(TICK_S)

    def _watch_cpu(self) -> None:
        """Note this process's share of one core, second by second, while broadcasts are under way."""
        process = psutil.Process()
        while not self.over.is_set():
            process.cpu_percent()
            due = self.due
            self.over.wait(CPU_WINDOW_S)
            if self.due > due:
                self.cpu.append(process.cpu_percent() / 100)

    def report_progress(self) -> None:
        self.runner.send_message(
            "loadtest.progress",
            {
                "client": self.runner.client_id,
                "synchronised": not self.distributed or self.offset.count >= FIRST_PINGS,
                "open": len(self.open),
                "opened": self.opened,
                "left": self.left,
                "failed": self.failed,
                "refused": self.refused,
                "errors": [record.error for record in self.connections if record.error][:3],
                "refusals": dict(self.refusals),
                "due": self.due,
                "sending": self.sending,
                "sent": self.sent,
                "expected": self.expected,
                "delivered": self.delivered,
                "outstanding": self.outstanding,
            },
        )

    def take_deliveries(self) -> dict:
        """The deliveries since the last call. Shows them to Locust's statistics on the way."""
        rows = self.log.take()
        offset_ns = self.offset.at(clock.now_ns())
        intended_ns = np.array(self.intended_ns, dtype=np.int64)[rows["broadcast"]]
        latency_ms = (rows["arrived_ns"].to_numpy() + offset_ns - intended_ns) / 1e6
        self._firing.append(gevent.spawn(self._fire, latency_ms))
        return {
            "client": self.runner.client_id,
            "deliveries": self._pack(rows),
            "offset_ns": offset_ns,
            "final": self.collected,
        }

    def account(self) -> dict:
        """What the connections and broadcasts have come to."""
        return {
            "reported_ns": clock.now_ns(),
            "connections": self._pack(records.table("connections", self.connections)),
            "broadcasts": self._pack(records.table("broadcasts", self.broadcasts)),
            "exchanges": self.offset.exchanges,
            "refusals": dict(self.refusals),
            "error_frames": dict(self.error_frames),
            "cpu": self.cpu,
            "bytes_per_connection": self.bytes_per_connection,
        }

    def _fire(self, latencies_ms: np.ndarray) -> None:
        payload_bytes = self.environment.parsed_options.payload_bytes
        for k, latency_ms in enumerate(latencies_ms):
            if k % FRAMES_AT_ONCE == 0:
                gevent.idle()
            self.environment.events.request.fire(
                request_type="WS",
                name="delivery",
                response_time=float(latency_ms),
                response_length=payload_bytes,
                exception=None,
                context={},
            )

    def _on_report(self, data: dict, **_) -> None:
        if self.connections and not self.collected:
            data["loadtest"] = self.take_deliveries() | self.account()

    def _on_quitting(self, **_) -> None:
        # A worker that is interrupted by itself will not be asked any more.
        if self.connections and not self.collected:
            self._on_collect()

    def _on_collect(self, **_) -> None:
        """Hand over everything that has not been handed over."""
        self.collected = True
        self.report_progress()
        self.runner.send_message("loadtest.records", self.take_deliveries() | self.account())
        gevent.joinall(self._firing, timeout=FIRE_S)

    def _on_leave(self, **_) -> None:
        gevent.spawn(self._leave_in_turn)

    def _leave_in_turn(self) -> None:
        """Close all connections, as many a second as were opened: a function behind that has as much to do."""
        while self.open and not self.over.is_set():
            self._take_turn()
            if self.open:
                self.open.popitem()[1].close()

    def _pack(self, rows: pd.DataFrame) -> bytes | pd.DataFrame:
        return records.pack(rows) if self.distributed else rows
