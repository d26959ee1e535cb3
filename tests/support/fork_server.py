"""Processes of Locust that begin at once: forked from one that has imported what every load test needs.

That import takes 1.5 s of CPU, a small load test itself a tenth of it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

from chatlab.paths import ROOT

POLL_S = 0.02


class ForkServer:
    """The process that forks."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forking"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

        self._one_by_one = threading.Lock()

    def ask(self, **request):
        """Its answer to one request."""
        with self._one_by_one:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def locust(self, words, environment, output):
        """`locust` with these arguments and this environment, begun; what it says goes to the file `output`."""
        return Forked(
            self, self.ask(words=["locust", *words], environment=dict(environment), output=f"{output}"), output
        )

    def stop(self):
        self._process.stdin.close()
        self._process.wait(10)


class Forked:
    """A forked process, with as much of `subprocess.Popen` as tests need."""

    stdout = stderr = None

    def __init__(self, server, pid, output):
        self._server, self._output = server, output
        self.pid, self.returncode = pid, None

    def poll(self):
        if self.returncode is None:
            self.returncode = self._server.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout=None):
        deadline = timeout and time.monotonic() + timeout
        while self.poll() is None:
            if deadline and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("locust", timeout)
            time.sleep(POLL_S)
        return self.returncode

    def communicate(self, timeout=None):
        self.wait(timeout)
        return self._output.read_text(), None

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)
