"""What the emulator's process is made of."""

import subprocess
import sys

from chatlab.local_cloud import EMULATOR, SERVER


def test_the_local_cloud_starts_without_what_only_notebooks_need():
    """Each of these would take longer to import than all that the local cloud needs."""
    code = (
        "import runpy, sys; from importlib import import_module\n"
        f"runpy.run_path({str(EMULATOR)!r})['stand_in_for_chatlab']()\n"
        f"import_module({SERVER!r})\n"
        "print(*sorted({'boto3', 'pandas', 'numpy', 'chatlab.lab'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
