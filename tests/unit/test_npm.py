"""What notebook 05 says where npm fails; the npm is one that does as the real one's tools do."""

import sys

import pytest

from chatlab import LabError
from chatlab.page.npm import npm

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
