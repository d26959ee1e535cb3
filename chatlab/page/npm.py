"""npm, of the lab's own virtual environment, in the folder of the page's source."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from chatlab.errors import LabError
from chatlab.paths import FRONTEND

LAST_WORDS = 2_000  # characters of what npm says that an error repeats


def npm(*arguments: str, **variables: str) -> None:
    """Run npm with these arguments, and these environment variables beside its own.

    Raises LabError if there is no npm, and with what npm says if it fails.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    executable = shutil.which("npm", path=path)
    if executable is None:
        raise LabError(
            "Node.js is missing: `make setup` installs it into .venv, and so does environment.yml for conda."
        )
    # What npm says is to be read as text. A tool that finds FORCE_COLOR, whatever its value, may colour all the same.
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    # Node would run compiled code from the folder of temporary files, whichever user of the machine has put it there.
    with tempfile.TemporaryDirectory() as temporary:
        own = {"PATH": path, "NO_COLOR": "1", "TMPDIR": temporary, "NODE_DISABLE_COMPILE_CACHE": "1"}
        done = subprocess.run(
            [executable, *arguments], cwd=FRONTEND, env=environment | own | variables,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    if done.returncode != 0:
        raise LabError(f"The page could not be built; npm says: {done.stdout[-LAST_WORDS:].strip()}")
