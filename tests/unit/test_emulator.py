"""What the emulator's process is made of."""

import subprocess
import sys

from chatlab.local_cloud import EMULATOR, SERVER

IMPORTED = (
    "import os, pathlib, runpy, sys; from importlib import import_module\n"
    f"runpy.run_path({str(EMULATOR)!r})['stand_in_for_chatlab']()\n"
    f"server = import_module({SERVER!r})\n"
)


def test_the_local_cloud_starts_without_what_only_notebooks_need():
    """Each of these would take longer to import than all that the local cloud needs."""
    code = IMPORTED + "print(*sorted({'boto3', 'pandas', 'numpy', 'chatlab.lab'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_whatever_is_printed_goes_into_the_log_and_at_most_as_much_as_fits(tmp_path):
    code = "server.log_into(pathlib.Path('log'), 1_000); print('ü' * 5_000); print('end'); os.system('echo of it')"
    done = subprocess.run([sys.executable, "-c", IMPORTED + code], cwd=tmp_path, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "log.1").stat().st_size == 1_000
    assert (tmp_path / "log").read_text().endswith("INFO [printed] end\nof it\n")


def test_what_is_measured_of_an_invocation_is_kept_until_it_can_be_read_and_no_longer(tmp_path):
    code = """
from types import SimpleNamespace
from ministack.core.lambda_runtime import Worker
from chatlab.emulator import metrics
Worker.invoke = lambda worker, event: {"status": "ok"}
metrics.with_metrics(None)
for _ in range(10):
    Worker.invoke(SimpleNamespace(config={"FunctionName": "f"}), {})
print(len(metrics._pending))
"""
    done = subprocess.run([sys.executable, "-c", IMPORTED + code], cwd=tmp_path, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"0\n", b"")


def test_a_buffer_holds_bytes_and_not_characters(tmp_path):
    code = """
import asyncio
from chatlab.emulator import send_buffers
for character in ("u", "ü"):
    waiting = asyncio.Queue()
    for _ in range(300):
        waiting.put_nowait(character * 1_000)
    print(send_buffers._is_full(waiting))
"""
    done = subprocess.run([sys.executable, "-c", IMPORTED + code], cwd=tmp_path, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"False\nTrue\n", b"")
