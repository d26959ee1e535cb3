"""npm: what notebook 05 says where it fails, and that no other user of this machine has a hand in it."""

import os
import subprocess
import sys

import pytest

from chatlab import LabError
from chatlab.page.npm import npm
from chatlab.paths import ROOT

# An npm that does as the real one's tools do.
COLOURED = """#!/bin/sh
if [ -n "$FORCE_COLOR" ] || [ -z "$NO_COLOR" ]; then printf '\\033[31m'; fi
echo "main.tsx: no such module, in $BUILD_PATH, asked to $*"
exit 1
"""


def test_what_npm_says_is_repeated_without_its_colours(tmp_path, monkeypatch):
    (tmp_path / "npm").write_text(COLOURED)
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(LabError) as error:
        npm("run", "build", BUILD_PATH="here")
    assert str(error.value) == (
        "The page could not be built; npm says: main.tsx: no such module, in here, asked to run build"
    )


def with_make(*arguments):
    """npm as the Makefile starts it."""
    command = f"vite: ; @cd frontend && npm {' '.join(arguments)}"
    subprocess.run(["make", "--eval", command, "vite"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("start", [npm, with_make])
def test_node_keeps_no_compiled_code_where_another_user_may_have_put_some(start, tmp_path, monkeypatch):
    """In the folder for temporary files it would be `node-compile-cache`, and Node does not look whose that is."""
    if os.geteuid() != 0:
        pytest.skip("Only root can become another user.")
    shared = os.open(tmp_path, os.O_RDONLY)
    os.fchmod(shared, 0o1777)
    if not (child := os.fork()):
        os.setuid(65534)  # nobody, who may not walk down to this folder
        os.umask(0)
        os.mkdir("node-compile-cache", dir_fd=shared)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.close(shared)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    start("exec", "vite", "--", "--version")
    assert os.listdir(tmp_path / "node-compile-cache") == []
