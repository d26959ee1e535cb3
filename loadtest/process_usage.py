"""How much of the machine one process of the load test uses."""

import psutil
from gevent.event import Event

from loadtest.outstanding import Outstanding

CPU_WINDOW_S = 1.0


class ProcessUsage:
    """CPU and memory of this process during one test."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        """Share of one core, second by second, while broadcasts were due."""
        self.bytes_per_connection = 0.0
        self._process = psutil.Process()
        self._memory_before_bytes = self._process.memory_info().rss

    def measure_memory(self, connections: int) -> None:
        """Divide what the memory has grown by since the beginning of the test by this number of connections."""
        if connections:
            grown_bytes = self._process.memory_info().rss - self._memory_before_bytes
            self.bytes_per_connection = grown_bytes / connections

    def watch_cpu(self, stopped: Event, outstanding: Outstanding) -> None:
        """Measure the CPU until the test stops."""
        while not stopped.is_set():
            self._process.cpu_percent()
            due = outstanding.due
            stopped.wait(CPU_WINDOW_S)
            if outstanding.due > due:
                self.cpu.append(self._process.cpu_percent() / 100)
