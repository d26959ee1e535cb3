"""What the local cloud's process loads, logs and keeps."""

import subprocess
import sys

import pytest

from chatlab.local_cloud import SERVER
from chatlab.paths import ROOT


def run(code, folder=ROOT):
    """What Python prints that runs this code in this folder."""
    code = f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_local_cloud_starts_without_what_only_notebooks_need():
    """Each of these would take longer to import than all that the local cloud needs."""
    code = f"import {SERVER}; print(sorted({{'boto3', 'pandas', 'numpy', 'chatlab.lab'}} & sys.modules.keys()))"
    assert run(code) == "[]\n"


def test_whatever_is_printed_goes_into_the_log_and_at_most_as_much_as_fits(tmp_path):
    code = """
from pathlib import Path
from chatlab.emulator.process import log_into
log_into(Path("log"), 1_000)
print("ü" * 5_000)
print("end")
os.system("echo of it")
"""
    assert run(code, tmp_path) == ""
    assert (tmp_path / "log.1").stat().st_size == 1_000
    assert (tmp_path / "log").read_text().endswith("INFO [printed] end\nof it\n")


MEASURED = """
from types import SimpleNamespace
from ministack.core.lambda_runtime import Worker
from chatlab.emulator import cloudwatch
Worker.invoke = lambda worker, event: {"status": "ok"}
cloudwatch.with_metrics(None)
for _ in range(10):
    Worker.invoke(SimpleNamespace(config={"FunctionName": "f"}), {})
print(len(cloudwatch._pending))
"""
BUFFERED = """
import asyncio
from chatlab.emulator.api_gateway import is_full
for text in ("u" * 300_000, "ü" * 300_000):
    waiting = asyncio.Queue()
    waiting.put_nowait("")
    waiting.put_nowait(text)
    print(is_full(waiting))
"""
CLOSED = """
import asyncio
from ministack.services import apigateway
from chatlab.emulator import api_gateway
api_gateway.correct()
connection = {"close_event": asyncio.Event(), "outbox": asyncio.Queue()}
apigateway._ws_connections["id"] = connection
print(connection["outbox"].empty())
connection["close_event"].set()
print(connection["close_event"].is_set(), connection["outbox"].get_nowait())
"""


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        pytest.param(MEASURED, "0\n", id="what is measured is kept until it can be read and no longer"),
        pytest.param(BUFFERED, "False\nTrue\n", id="a buffer holds bytes and not characters"),
        pytest.param(CLOSED, "True\nTrue None\n", id="who waits for a closed connection's messages is woken"),
    ],
)
def test_in_a_process_of_its_own(code, printed):
    assert run(code) == printed
