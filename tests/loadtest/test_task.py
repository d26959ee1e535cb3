"""A load test as a task, where it ends badly. That it does what it should is in tests/notebooks/test_inside.py."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chatlab import fargate, poll
from loadtest import live, results
from loadtest.task import FOLDER, LOG, NOT_HANDED_OVER, NUMBER_VARIABLE, PROGRESS, RESULTS
from tests.support.load_tests import LIMIT_S, free_port

pytestmark = pytest.mark.slow


class Shelf:
    """Where the tasks put things, as S3 is; `answer` is what it says to each of them."""

    def __init__(self):
        self.things, self.answer = {}, 200

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(handler):
                content = handler.rfile.read(int(handler.headers["Content-Length"]))
                if self.answer == 200:
                    self.things[handler.path[1:]] = content
                handler.send_response(self.answer)
                handler.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def address(self, name):
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def said(self, number):
        return json.loads(self.things.get(f"{number}/{PROGRESS}", b"{}"))

    def results(self, folder):
        zipfile.ZipFile(io.BytesIO(self.things[f"0/{RESULTS}"])).extractall(folder)
        return results.load(folder)


@pytest.fixture
def shelf():
    shelf = Shelf()
    yield shelf
    shelf.server.shutdown()
    shelf.server.server_close()


@pytest.fixture
def begin(tmp_path, shelf, server):
    """`begin(tasks, *words, come)`: the processes of the first `come` tasks of a load test of so many."""
    begun = []

    def begin_tasks(tasks, *words, come=None):
        port = free_port()
        own = "--users 40 --spawn-rate 100 --broadcasts 12 --broadcast-rate 6 --drain-time 3 --run-time 40".split()
        own += ["--master-bind-port", port, "--master-port", port, *words]
        put = [{name: shelf.address(f"{k}/{name}") for name in (PROGRESS, LOG, RESULTS)} for k in range(tasks)]
        order = {
            "words": [*live.words(server.url, FOLDER), *map(str, own)], "tasks": tasks, "address": "127.0.0.1",
            "environment": {"LOADTEST_SECRET": "known to master and workers"}, "put": put,
        }  # fmt: skip
        for number in range(tasks if come is None else come):
            folder = tmp_path / f"task-{number}"
            zipfile.ZipFile(io.BytesIO(fargate.build_code(order))).extractall(folder)
            environment = os.environ | {NUMBER_VARIABLE: f"{number}"}
            words = [sys.executable, "-m", "loadtest.task"]
            begun.append(subprocess.Popen(words, cwd=folder, env=environment))
        return begun

    yield begin_tasks
    for process in begun:
        process.terminate()
        process.wait(LIMIT_S)


def test_a_worker_that_never_comes_is_a_sentence_in_its_time(begin, shelf):
    assert begin(3, "--expect-workers-max-wait", 4, come=2)[0].wait(LIMIT_S) == 1
    assert shelf.said(0)["message"] == "Not all of the 2 workers came to the master in time, so no test began."


def test_a_task_whose_time_is_over_hands_over_what_it_has(begin, shelf, tmp_path):
    (process,) = begin(1, "--broadcasts", 100)
    told = lambda: shelf.said(0).get("test", {}).get("delivered", 0) > 300  # noqa: E731  # the warm-up's 80 among them
    poll(told, "some deliveries", LIMIT_S, 0.1)
    process.send_signal(signal.SIGALRM)
    assert process.wait(LIMIT_S) == 1
    assert shelf.said(0)["message"] == "The test was stopped before its end."
    assert shelf.results(tmp_path / "found").summary["delivered"] > 200


def test_addresses_that_have_expired_are_said_by_the_exit_status(begin, shelf):
    shelf.answer = 403
    assert begin(1)[0].wait(LIMIT_S) == NOT_HANDED_OVER
    assert shelf.things == {}
