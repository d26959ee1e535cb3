"""What the local cloud's process loads, logs, keeps and sends by itself."""

import asyncio
import socket
import subprocess
import sys

import pytest
import uvicorn
import websockets

from chatlab.emulator.protocols import WebSocketProtocol, configuration
from chatlab.local_cloud import SERVER
from chatlab.paths import ROOT
from tests.support.asynchronous import run_async


def run(code, folder=ROOT):
    """Run this code in this folder, in a Python of its own; what it prints."""
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


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        pytest.param(MEASURED, "0\n", id="what is measured is kept until it can be read and no longer"),
        pytest.param(MEASURED.replace("(None)", "(None, 60)"), "10\n", id="and not before its time"),
    ],
)
def test_in_a_process_of_its_own(code, printed):
    assert run(code) == printed


def test_the_server_sends_no_pings_as_api_gateway_sends_none():
    """With pings, uvicorn would close with 1011 a client that is too busy reading to send its pong in time."""

    async def accept(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async def connect():
        server = uvicorn.Server(configuration(accept, lifespan="off"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            async with websockets.connect(f"ws://127.0.0.1:{listener.getsockname()[1]}"):
                (connection,) = server.server_state.connections
                next_ping = connection.ping_timer
            server.should_exit = True
            await serving
        return type(connection), next_ping

    assert run_async(connect()) == (WebSocketProtocol, None)
