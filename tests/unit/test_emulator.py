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
